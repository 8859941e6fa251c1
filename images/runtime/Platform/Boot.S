/*
 * From PVH's start state (32-bit, flat, paging off, %ebx = start info) to Swift in long mode.
 * Nothing is computed here that the linker can lay out: page tables, GDT and IDT are data of the image.
 */
#include <chaos_device_page.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18

    .section .note.Xen, "a", @note
    .balign 4
    .long 2f - 1f, 4f - 3f, XEN_ELFNOTE_PHYS32_ENTRY
1:  .asciz "Xen"
2:  .balign 4
3:  .quad _start                        /* 8 bytes: QEMU reads 8 from an ELF64, libelf takes 4 or 8 */
4:

    .section .note.chaos, "a", @note
    .balign 4
    .long 2f - 1f, 4f - 3f, CHAOS_NOTE_RUNTIME
1:  .asciz "chaos"
2:  .balign 4
3:  .long CHAOS_PAGE_VERSION
    .long 0
    .quad 1 << 0 | 1 << 1               /* VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM */
4:  .if 4b - 3b - CHAOS_NOTE_LENGTH
    .error "the runtime note has another length than the ABI says"
    .endif

#define CR0_PE          (1 << 0)
#define CR0_MP          (1 << 1)
#define CR0_NE          (1 << 5)
#define CR0_PG          (1 << 31)
#define CR4_PAE         (1 << 5)
#define CR4_OSFXSR      (1 << 9)
#define CR4_OSXMMEXCPT  (1 << 10)
#define MSR_EFER        0xc0000080
#define EFER_LME        (1 << 8)

    .section .text.boot, "ax", @progbits
    .code32
    .globl _start
_start:
    movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    movl %eax, %cr4
    movl $page_map, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl $EFER_LME, %eax
    xorl %edx, %edx
    wrmsr
    movl $(CR0_PG | CR0_NE | CR0_MP | CR0_PE), %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $1f
    .code64
1:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    lidt idt_pointer
    movl $stack_top, %esp
    xorl %ebp, %ebp
    call main
2:  cli
    hlt
    jmp 2b

/* A processor exception is a defect of the image: say where, and let the toolstack see a crash. */
trap_with_code:
    addq $8, %rsp
trap:
    movq (%rsp), %rdi
    andq $-16, %rsp
    call guest_trapped
    jmp 2b

    .section .rodata.boot, "a", @progbits
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff         /* 64-bit code, already accessed */
gdt_pointer:
    .word . - gdt - 1
    .long gdt

/* An IDT entry holds its address in pieces; link.ld computes them. */
    .macro gate handler
    .short \handler\()_low, 8, 0x8e00, \handler\()_high
    .quad 0
    .endm
    .globl trap, trap_with_code
    .balign 16
idt:
    .set vector, 0
    .rept 32
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    gate trap_with_code
    .else
    gate trap
    .endif
    .set vector, vector + 1
    .endr
idt_pointer:
    .word . - idt - 1
    .quad idt

/* The low 4 GiB, one to one, in 2 MiB pages; accessed and dirty are set so that the processor need not. */
    .section .data.pages, "aw", @progbits
    .balign 4096
directories:
    .set address, 0
    .rept 2048
    .quad address | 0xe3                /* present, writable, accessed, dirty, large */
    .set address, address + 0x200000
    .endr
directory_pointers:
    .quad directories + 0x0023, directories + 0x1023, directories + 0x2023, directories + 0x3023
    .balign 4096
page_map:
    .quad directory_pointers + 0x23
    .balign 4096

    .section .bss.pages, "aw", @nobits
    .balign 4096
    .globl guest_hypercall_page
guest_hypercall_page:
    .skip 4096
stack:
    .skip 16384
stack_top:

    .section .bss.interfaces, "aw", @nobits
    .balign 64
    .globl guest_interfaces
guest_interfaces:
    .skip CHAOS_MAX_VIFS * 384
