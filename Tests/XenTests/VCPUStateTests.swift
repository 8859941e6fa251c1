import CXen
import Testing

@testable import Xen

@Suite struct VCPUStateTests {
  /// A record of an HVM context.
  private func record(_ type: UInt16, _ instance: UInt16, _ content: [UInt8], length: UInt32? = nil) -> [UInt8] {
    let descriptor = hvm_save_descriptor(
      typecode: type, instance: instance, length: length ?? UInt32(content.count))
    return withUnsafeBytes(of: descriptor) { Array($0) } + content
  }

  private func cpu(rip: UInt64) -> [UInt8] {
    var raw = hvm_hw_cpu()
    raw.rip = rip
    raw.msr_efer = 0x500
    return withUnsafeBytes(of: raw) { Array($0) }
  }

  /// HEADER, CPU, END (xen/arch-x86/hvm/save.h).
  private let header: UInt16 = 1
  private let cpu: UInt16 = 2
  private let end: UInt16 = 0

  @Test("vCPUs are read by their numbers, and what else is in a context is passed over")
  func reads() throws {
    let context =
      record(header, 0, [1, 2, 3]) + record(cpu, 0, cpu(rip: 7)) + record(14, 0, []) + record(cpu, 5, cpu(rip: 8))
      + record(end, 0, []) + record(cpu, 9, cpu(rip: 9))
    let found = try VCPUState.all(inContext: context)
    #expect(found.map(\.number) == [0, 5] && found.map(\.rip) == [7, 8] && found[0].efer == 0x500)
    #expect(found[0].fpu.count == 512)
  }

  @Test("what is no whole context is refused")
  func refuses() {
    let whole = record(cpu, 0, cpu(rip: 7))
    for context in [
      [], whole, Array(whole.dropLast()) + record(end, 0, []), record(cpu, 0, [1, 2]) + record(end, 0, []),
      record(header, 0, [], length: UInt32.max), [1, 0, 0],
    ] {
      #expect(throws: XenError.self) { try VCPUState.all(inContext: context) }
    }
  }
}
