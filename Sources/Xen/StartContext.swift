import CXen

/// The state in which a PVH guest's first vCPU starts (Xen's docs/misc/pvh.pandoc: 32-bit flat protected mode,
/// paging off, %ebx = physical address of the start info).
public struct StartContext: Sendable {
  /// A context of this host to take the HEADER and MTRR records from; any new domain's will do.
  private let template: [UInt8]

  public init(template: [UInt8]) { self.template = template }

  /// The records that set vCPU 0 to `entry`, for ``Hypervisor/setContext(of:_:)``.
  ///
  /// - Parameters:
  ///   - entry: guest-physical address of the first instruction.
  ///   - startInfo: guest-physical address of the hvm_start_info.
  /// - Throws: ``XenError`` (EINVAL) when the template lacks a record, as on a hypervisor with another layout.
  public func bytes(entry: UInt32, startInfo: UInt32) throws(XenError) -> [UInt8] {
    var context = cxen_vcpu_context()
    if cxen_vcpu_context_init(&context, template, template.count) < 0 {
      throw XenError.last("read vCPU context records")
    }
    Self.setFlatProtectedMode(&context.cpu)
    context.cpu.rip = UInt64(entry)
    context.cpu.rbx = UInt64(startInfo)
    // Without this, memory would be uncached by default (MTRRdefType: enabled, write-back).
    context.mtrr.msr_mtrr_def_type = 0x800 | 0x6
    return withUnsafeBytes(of: context) { Array($0) }
  }

  private static func setFlatProtectedMode(_ cpu: inout hvm_hw_cpu) {
    cpu.cr0 = 0x11  // PE, ET
    cpu.rflags = 0x2
    cpu.dr6 = 0xffff_0ff0
    cpu.dr7 = 0x400
    cpu.cs_limit = 0xffff_ffff
    cpu.ds_limit = 0xffff_ffff
    cpu.es_limit = 0xffff_ffff
    cpu.ss_limit = 0xffff_ffff
    cpu.tr_limit = 0x67
    // Segment attributes as the VMCB packs them: type, S, DPL, P, AVL, L, D, G.
    cpu.cs_arbytes = 0xc9b  // execute/read, accessed, 32-bit, 4 KiB granularity
    cpu.ds_arbytes = 0xc93  // read/write, accessed
    cpu.es_arbytes = 0xc93
    cpu.ss_arbytes = 0xc93
    cpu.tr_arbytes = 0x8b  // busy 32-bit TSS
  }
}
