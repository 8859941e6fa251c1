import Xen

extension CoreFile {
  /// PT_LOADs that a dump may have for where the guest sees its memory; what is more is the smallest and left out. The
  /// number of program headers has 16 bits.
  static let mostMappings = 32_768

  /// What debuggers open.
  ///
  /// Each range of memory is there by its guest-physical address, and once more, before it, by each virtual address at
  /// which the guest has it elsewhere. The threads are the vCPUs, counted from 1.
  ///
  /// - Parameters:
  ///   - memory: guest frame numbers, ascending.
  ///   - vcpus: at least one.
  ///   - mappings: where the guest sees its memory; ``PageTables/mappings(limit:read:)``.
  public static func elf(memory: [Range<UInt64>], vcpus: [VCPUState], mappings: [VirtualMapping]) -> CoreFile {
    let segments = segments(memory, mappings)
    var notes = FileBytes()
    for vcpu in vcpus { vcpu.putNotes(in: &notes) }
    let notesAt = ELFHeader.bytes + (segments.count + 1) * ELFHeader.programHeaderBytes
    let memoryAt = (notesAt + notes.count + frameBytes - 1) / frameBytes * frameBytes
    var file = FileBytes()
    ELFHeader(programHeaders: UInt16(segments.count + 1)).put(in: &file)
    programHeader(in: &file, type: 4, flags: 0, at: notesAt, virtual: 0, physical: 0, size: notes.count, align: 4)
    for segment in segments {
      programHeader(
        in: &file, type: 1, flags: 7, at: memoryAt + segment.offset, virtual: segment.virtual,
        physical: segment.physical, size: segment.length, align: frameBytes)
    }
    file.put(notes.bytes)
    file.align(to: frameBytes)
    return CoreFile(head: file.bytes, frames: memory, tailBytes: 0, leavesOutWhatIsMissing: false) { _ in [] }
  }

  private struct Segment {
    var virtual, physical: UInt64
    /// Bytes, behind the first frame in the file.
    var offset: Int
    var length: Int

    /// The part of it that a mapping shows, where it shows it.
    func seen(by mapping: VirtualMapping) -> Segment? {
      let start = max(physical, mapping.physical)
      let end = min(physical + UInt64(length), mapping.physical + mapping.length)
      guard start < end else { return nil }
      return Segment(
        virtual: mapping.virtual &+ (start - mapping.physical), physical: start,
        offset: offset + Int(start - physical), length: Int(end - start))
    }
  }

  /// What the guest sees elsewhere comes first: debuggers take the first segment that has an address.
  private static func segments(_ memory: [Range<UInt64>], _ mappings: [VirtualMapping]) -> [Segment] {
    let ranges = physicalSegments(memory)
    var seen = mappings.filter { !$0.isIdentity }.flatMap { mapping in ranges.compactMap { $0.seen(by: mapping) } }
    if seen.count > mostMappings {
      seen = Array(seen.sorted { $0.length > $1.length }.prefix(mostMappings)).sorted { $0.virtual < $1.virtual }
    }
    return seen + ranges
  }

  private static func physicalSegments(_ memory: [Range<UInt64>]) -> [Segment] {
    var offset = 0
    return memory.map { frames in
      let address = frames.lowerBound * UInt64(frameBytes)
      defer { offset += frames.count * frameBytes }
      return Segment(virtual: address, physical: address, offset: offset, length: frames.count * frameBytes)
    }
  }

  private static func programHeader(
    in file: inout FileBytes, type: UInt32, flags: UInt32, at offset: Int, virtual: UInt64, physical: UInt64,
    size: Int, align: Int
  ) {
    file.put(type)
    file.put(flags)
    for value in [UInt64(offset), virtual, physical, UInt64(size), UInt64(size), UInt64(align)] { file.put(value) }
  }
}

extension VCPUState {
  /// A thread's registers as Linux has them in core files for x86-64 (struct elf_prstatus of linux/elfcore.h with struct
  /// user_regs_struct of asm/user_64.h; struct user_i387_struct, which is FXSAVE's).
  fileprivate func putNotes(in file: inout FileBytes) {
    var status = FileBytes()
    status.zeros(32)
    status.put(UInt32(number + 1))  // pr_pid
    status.zeros(76)
    for register in [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi] {
      status.put(register)
    }
    status.put(UInt64.max)  // orig_rax: in no system call
    for register in [rip, UInt64(cs), rflags, rsp, UInt64(ss), fsBase, gsBase] { status.put(register) }
    for selector in [ds, es, fs, gs] { status.put(UInt64(selector)) }
    status.put(UInt64(1))  // pr_fpvalid; padding
    Self.note(in: &file, type: 1, status.bytes)  // NT_PRSTATUS
    Self.note(in: &file, type: 2, fpu)  // NT_FPREGSET
  }

  private static func note(in file: inout FileBytes, type: UInt32, _ content: [UInt8]) {
    file.put(UInt32(5))
    file.put(UInt32(content.count))
    file.put(type)
    file.put(Array("CORE\0\0\0\0".utf8))
    file.put(content)
    file.align(to: 4)
  }
}
