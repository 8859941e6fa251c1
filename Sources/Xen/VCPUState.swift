import CXen
import Glibc

/// What a vCPU does: the registers of a Xen HVM context's CPU record (xen/include/public/arch-x86/hvm/save.h,
/// struct hvm_hw_cpu). Guest-controlled, all of it.
public struct VCPUState: Equatable, Sendable {
  /// Which vCPU, from 0.
  public var number: Int
  public var rax, rbx, rcx, rdx, rbp, rsi, rdi, rsp: UInt64
  public var r8, r9, r10, r11, r12, r13, r14, r15: UInt64
  public var rip, rflags: UInt64
  public var cr0, cr3, cr4, efer: UInt64
  /// Segment selectors.
  public var cs, ds, es, fs, gs, ss: UInt32
  public var fsBase, gsBase: UInt64
  /// What FXSAVE writes, 512 bytes.
  public var fpu: [UInt8]

  /// One whose registers are all zero.
  public init(number: Int) { self.init(number: number, hvm_hw_cpu()) }

  init(number: Int, _ raw: hvm_hw_cpu) {
    self.number = number
    (rax, rbx, rcx, rdx) = (raw.rax, raw.rbx, raw.rcx, raw.rdx)
    (rbp, rsi, rdi, rsp) = (raw.rbp, raw.rsi, raw.rdi, raw.rsp)
    (r8, r9, r10, r11) = (raw.r8, raw.r9, raw.r10, raw.r11)
    (r12, r13, r14, r15) = (raw.r12, raw.r13, raw.r14, raw.r15)
    (rip, rflags) = (raw.rip, raw.rflags)
    (cr0, cr3, cr4, efer) = (raw.cr0, raw.cr3, raw.cr4, raw.msr_efer)
    (cs, ds, es) = (raw.cs_sel, raw.ds_sel, raw.es_sel)
    (fs, gs, ss) = (raw.fs_sel, raw.gs_sel, raw.ss_sel)
    (fsBase, gsBase) = (raw.fs_base, raw.gs_base)
    fpu = withUnsafeBytes(of: raw.fpu_regs) { Array($0) }
  }

  /// The vCPUs of an HVM context, which are those that were started.
  ///
  /// - Throws: ``XenError`` (EINVAL) for what is no context, or one of another layout.
  public static func all(inContext context: [UInt8]) throws(XenError) -> [VCPUState] {
    var found: [VCPUState] = []
    var position = 0
    while true {
      var raw = hvm_hw_cpu()
      let number = cxen_next_vcpu(context, context.count, &position, &raw)
      if number >= 0 {
        found.append(VCPUState(number: Int(number), raw))
        continue
      }
      let error = XenError.last("read vCPU context records")
      if error.errno == ENOENT { return found }
      throw error
    }
  }
}
