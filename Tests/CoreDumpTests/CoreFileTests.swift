import Testing
import Xen

@testable import CoreDump

/// Reads little-endian numbers.
private struct Reader {
  let bytes: [UInt8]

  func number(_ offset: Int, _ size: Int) -> Int {
    bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | Int($1) }
  }
}

private struct Segment: Equatable {
  var type, offset, virtual, physical, fileSize, memorySize: Int
}

extension Reader {
  var segments: [Segment] {
    (0..<number(56, 2)).map { place in
      let at = number(32, 8) + place * 56
      return Segment(
        type: number(at, 4), offset: number(at + 8, 8), virtual: number(at + 16, 8), physical: number(at + 24, 8),
        fileSize: number(at + 32, 8), memorySize: number(at + 40, 8))
    }
  }

  /// Name, offset, size, entry size.
  var sections: [(name: String, offset: Int, size: Int, entry: Int)] {
    let names = number(40, 8) + number(62, 2) * 64
    let namesAt = number(names + 24, 8)
    return (0..<number(60, 2)).map { place in
      let at = number(40, 8) + place * 64
      let name = bytes[(namesAt + number(at, 4))...].prefix { $0 != 0 }
      return (
        String(decoding: name, as: UTF8.self), number(at + 24, 8), number(at + 32, 8), number(at + 56, 8)
      )
    }
  }
}

/// A guest's frames: each is full of its number; some are missing.
private func whole(_ file: CoreFile, missing: Set<UInt64> = []) -> [UInt8] {
  var stream = CoreStream(file)
  var all: [UInt8] = []
  while let bytes = stream.next(copy: { numbers in
    let isThere = numbers.map { !missing.contains($0) }
    return (
      zip(numbers, isThere).flatMap { [UInt8](repeating: $1 ? UInt8(truncatingIfNeeded: $0) : 0, count: 4096) },
      isThere
    )
  }) {
    #expect(!bytes.isEmpty)
    all += bytes
  }
  return all
}

@Suite struct CoreFileTests {
  private let memory: [Range<UInt64>] = [0..<300, 0xe0000..<0xe0006]

  private func vcpu(_ number: Int, rip: UInt64 = 0x10_0123) -> VCPUState {
    var state = VCPUState(number: number)
    (state.rip, state.rsp, state.rax, state.r15) = (rip, 0x8000, 7, 15)
    (state.cs, state.fsBase) = (0x10, 0xf5)
    state.fpu = [UInt8](repeating: 0xf0, count: 512)
    return state
  }

  @Test("a debugger's file has a segment for each range, and its bytes there")
  func segments() {
    let file = CoreFile.elf(memory: memory, vcpus: [vcpu(0)], mappings: [])
    let bytes = whole(file, missing: [3])
    #expect(bytes.count == file.length)
    let read = Reader(bytes: bytes)
    #expect(Array(bytes[..<20]) == [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 62, 0])
    let loads = read.segments.filter { $0.type == 1 }
    #expect(loads.map(\.physical) == [0, 0xe000_0000] && loads.map(\.virtual) == [0, 0xe000_0000])
    #expect(loads.map(\.fileSize) == [300 * 4096, 6 * 4096] && loads.map(\.memorySize) == loads.map(\.fileSize))
    for load in loads {
      #expect(load.offset % 4096 == 0)
      #expect(bytes[load.offset] == UInt8(truncatingIfNeeded: load.physical >> 12))
    }
    // What the guest lacks is zero where it would be.
    #expect(bytes[loads[0].offset + 3 * 4096] == 0 && bytes[loads[0].offset + 4 * 4096] == 4)
  }

  @Test("each vCPU is a thread, with its registers where Linux has them")
  func threads() {
    let bytes = whole(CoreFile.elf(memory: memory, vcpus: [vcpu(0), vcpu(3, rip: 9)], mappings: []))
    let read = Reader(bytes: bytes)
    let notes = read.segments[0]
    #expect(notes.type == 4 && notes.fileSize == 2 * (20 + 336 + 20 + 512))
    for (place, rip, thread) in [(0, 0x10_0123, 1), (1, 9, 4)] {
      let status = notes.offset + place * notes.fileSize / 2
      #expect(read.number(status + 4, 4) == 336 && read.number(status + 8, 4) == 1)
      let content = status + 20
      #expect(read.number(content + 32, 4) == thread)
      #expect(read.number(content + 112, 8) == 15 && read.number(content + 112 + 10 * 8, 8) == 7)
      #expect(read.number(content + 112 + 16 * 8, 8) == rip && read.number(content + 112 + 19 * 8, 8) == 0x8000)
      #expect(read.number(content + 112 + 21 * 8, 8) == 0xf5)
      #expect(bytes[content + 336 + 20] == 0xf0)
    }
  }

  @Test("memory that the guest sees elsewhere is there by that address too, and first")
  func mappings() {
    let kernel = VirtualMapping(virtual: 0xffff_ffff_8000_0000, physical: 0x2000, length: 0x3000)
    let across = VirtualMapping(virtual: 0x7000_0000, physical: 0xe000_4000, length: 0x10_0000)
    let nowhere = VirtualMapping(virtual: 0x9000_0000, physical: 0xfee0_0000, length: 0x1000)
    let identity = VirtualMapping(virtual: 0, physical: 0, length: 1 << 32)
    let file = CoreFile.elf(memory: memory, vcpus: [vcpu(0)], mappings: [identity, across, nowhere, kernel])
    let bytes = whole(file)
    let loads = Reader(bytes: bytes).segments.filter { $0.type == 1 }
    #expect(loads.map { UInt64(bitPattern: Int64($0.virtual)) } == [0x7000_0000, kernel.virtual, 0, 0xe000_0000])
    #expect(loads[0].fileSize == 0x2000 && bytes[loads[0].offset] == 4)
    #expect(loads[1].fileSize == 0x3000 && bytes[loads[1].offset] == 2)
  }

  @Test("there are never more segments than the header can count")
  func manyMappings() {
    let many = (0..<40_000).map {
      VirtualMapping(virtual: 1 << 40 + UInt64($0) * 0x4000, physical: 0, length: $0 == 39_999 ? 0x2000 : 0x1000)
    }
    let read = Reader(bytes: whole(CoreFile.elf(memory: memory, vcpus: [vcpu(0)], mappings: many)))
    let loads = read.segments.filter { $0.type == 1 }
    #expect(loads.count == CoreFile.mostMappings + 2)
    #expect(loads.contains { $0.fileSize == 0x2000 })
  }

  @Test(
    "xl's file has its sections, and leaves out what the guest lacks", arguments: [[], [3, 0xe0005], Set(0..<300)])
  func xen(missing: Set<UInt64>) throws {
    let version = [UInt8](repeating: 0x56, count: 1280)
    let file = CoreFile.xen(
      memory: memory, contexts: [[UInt8](repeating: 1, count: 64), [UInt8](repeating: 2, count: 64)],
      sharedInfo: [UInt8](repeating: 3, count: 4096), version: version)
    let bytes = whole(file, missing: missing)
    #expect(bytes.count == file.length)
    let read = Reader(bytes: bytes)
    let sections = read.sections
    #expect(
      sections.map(\.name) == [
        "", ".shstrtab", ".note.Xen", ".xen_prstatus", ".xen_shared_info", ".xen_pages", ".xen_pfn",
      ])
    let status = sections[3]
    #expect(status.size == 128 && status.entry == 64 && bytes[status.offset] == 1 && bytes[status.offset + 64] == 2)
    #expect(bytes[sections[4].offset] == 3)
    let (pages, numbers) = (sections[5], sections[6])
    #expect(pages.size == 306 * 4096 && pages.offset % 4096 == 0 && numbers.size == 306 * 8)
    let there = memory.joined().filter { !missing.contains($0) }
    for (place, number) in there.enumerated() {
      #expect(read.number(numbers.offset + place * 8, 8) == Int(number))
      #expect(bytes[pages.offset + place * 4096] == UInt8(truncatingIfNeeded: number))
    }
    for place in there.count..<306 {
      #expect(read.number(numbers.offset + place * 8, 8) == -1)
      #expect(bytes[pages.offset + place * 4096] == 0)
    }
    let note = sections[2]
    #expect(read.number(note.offset + 16 + 16, 8) == 0xf00f_ebee && read.number(note.offset + 16 + 24, 8) == 2)
    #expect(note.size == 4 * 16 + 32 + version.count + 8)
  }
}

@Suite struct PageTablesTests {
  /// Frames of tables: entries by place.
  private final class Tables {
    var frames: [UInt64: [Int: UInt64]] = [:]
    var reads = 0

    func read(_ frame: UInt64) -> [UInt8]? {
      reads += 1
      guard let entries = frames[frame] else { return nil }
      var bytes = [UInt8](repeating: 0, count: 4096)
      for (place, entry) in entries {
        withUnsafeBytes(of: entry.littleEndian) { bytes.replaceSubrange(place * 8..<place * 8 + 8, with: $0) }
      }
      return bytes
    }
  }

  private func vcpu(cr3: UInt64, la57: Bool = false) -> VCPUState {
    var state = VCPUState(number: 0)
    (state.cr0, state.cr3, state.cr4, state.efer) = (1 << 31 | 1, cr3, la57 ? 1 << 12 | 1 << 5 : 1 << 5, 1 << 10)
    return state
  }

  @Test("pages of all sizes are found, neighbours are one, and addresses are canonical")
  func sizes() throws {
    let tables = Tables()
    tables.frames[1] = [0: 0x2003, 511: 0x5003]
    tables.frames[2] = [0: 0x3003, 1: 0x8000_0083]
    tables.frames[3] = [0: 0x4003, 1: 0x60_0083, 2: 0x80_0083]
    tables.frames[4] = [0: 0x9003, 1: 0xa003, 3: 0xc003, 4: 0x8000_0000_0000_d003]
    tables.frames[5] = [510: 0x3003]
    let found = try #require(PageTables(vcpu(cr3: 0x1018))).mappings { tables.read($0) }
    #expect(
      try #require(found) == [
        VirtualMapping(virtual: 0, physical: 0x9000, length: 0x2000),
        VirtualMapping(virtual: 0x3000, physical: 0xc000, length: 0x2000),
        VirtualMapping(virtual: 0x20_0000, physical: 0x60_0000, length: 0x40_0000),
        VirtualMapping(virtual: 0x4000_0000, physical: 0x8000_0000, length: 0x4000_0000),
        VirtualMapping(virtual: 0xffff_ffff_8000_0000, physical: 0x9000, length: 0x2000),
        VirtualMapping(virtual: 0xffff_ffff_8000_3000, physical: 0xc000, length: 0x2000),
        VirtualMapping(virtual: 0xffff_ffff_8020_0000, physical: 0x60_0000, length: 0x40_0000),
      ])
  }

  @Test("five levels have addresses of 57 bits")
  func fiveLevels() throws {
    let tables = Tables()
    tables.frames[1] = [511: 0x2001]
    tables.frames[2] = [511: 0x3001]
    tables.frames[3] = [511: 0x4000_0081]
    let found = try #require(PageTables(vcpu(cr3: 0x1000, la57: true))).mappings { tables.read($0) }
    #expect(found == [VirtualMapping(virtual: 0xffff_ffff_c000_0000, physical: 0x4000_0000, length: 0x4000_0000)])
  }

  @Test("tables that contain themselves end")
  func loops() throws {
    let tables = Tables()
    tables.frames[1] = Dictionary(uniqueKeysWithValues: (0..<512).map { ($0, 0x1003) })
    let walk = try #require(PageTables(vcpu(cr3: 0x1000)))
    #expect(walk.mappings(limit: .init(tables: 1000)) { tables.read($0) } == nil)
    #expect(tables.reads == 1000)
    tables.frames[1] = Dictionary(uniqueKeysWithValues: (0..<512).map { ($0, 0x1003 + UInt64($0) << 45) })
    #expect(walk.mappings(limit: .init(tables: 1 << 20, mappings: 1000)) { tables.read($0) } == nil)
  }

  @Test("a table that is nowhere maps nothing, and without paging there is none")
  func nothing() throws {
    #expect(try #require(PageTables(vcpu(cr3: 0x7000))).mappings { _ in nil } == [])
    #expect(PageTables(VCPUState(number: 0)) == nil)
  }
}
