import CoreDump
import Xen

extension Target {
  /// What a guest's page tables map, whatever they are, is some whole pages, at most as much as may be; a dump by them has
  /// a head that its length and the frames account for.
  static let dump = Target(name: "dump", seeds: [tables], longest: 2048) { bytes in
    let words = (0..<bytes.count / 8).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    guard words.count >= 2 else { return }
    var vcpu = VCPUState(number: 0)
    (vcpu.cr0, vcpu.efer, vcpu.cr4) = (1 << 31, 1 << 10, words[0])
    // The guest has 64 frames: others are not there.
    vcpu.cr3 = words[1] & 0x3f_fff
    let limit = PageTables.Limit(tables: 512, mappings: 4096)
    var reads = 0
    let found = PageTables(vcpu)?.mappings(limit: limit) { frame in
      reads += 1
      return frame < 64 ? table(words.dropFirst(2), frame) : nil
    }
    expect(reads <= limit.tables, "\(reads) tables")
    guard let found else { return }
    expect(found.count <= limit.mappings, "\(found.count) mappings")
    for mapping in found {
      expect((mapping.virtual | mapping.physical | mapping.length) & 0xfff == 0 && mapping.length > 0, "\(mapping)")
    }
    let file = CoreFile.elf(memory: [0..<64, 0xe0000..<0xe0006], vcpus: [vcpu], mappings: found)
    expect(file.head.count % 4096 == 0 && file.length == file.head.count + 70 * 4096, "\(file.length) bytes")
  }

  /// Eight entries, from a place that the first of them says, of the words from the frame's on.
  private static func table(_ words: ArraySlice<UInt64>, _ frame: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let entries = words.dropFirst(Int(frame) * 8).prefix(8)
    guard let first = entries.first else { return bytes }
    let at = Int(first >> 52) % 505 * 8
    bytes.replaceSubrange(at..<at + entries.count * 8, with: entries.flatMap { little($0) })
    return bytes
  }

  /// Four tables, of which the last maps a page.
  private static var tables: [UInt8] {
    var words = [UInt64](repeating: 0, count: 2 + 4 * 8)
    for (table, entry) in [0x1003, 0x2003, 0x3003, 0x5003].enumerated() { words[2 + table * 8] = UInt64(entry) }
    return words.flatMap { little($0) }
  }
}
