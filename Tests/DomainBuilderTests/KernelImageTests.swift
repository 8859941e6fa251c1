import DomainBuilder
import Testing

private func parse(_ bytes: [UInt8]) throws(KernelImageError) -> KernelImage {
  try KernelImage(parsing: bytes.span.bytes)
}

@Suite struct KernelImageTests {
  @Test(arguments: [true, false])
  func aKernelIsRead(is64: Bool) throws {
    let builder = ELFBuilder.kernel(is64: is64)
    let file = builder.bytes()
    let image = try parse(file)
    #expect(image.entry == 0x10_0010)
    #expect(image.end == 0x10_0020)
    #expect(image.runtime == nil)
    let segment = try #require(image.segments.first)
    #expect(image.segments.count == 1)
    #expect(segment.address == 0x10_0000 && segment.fileSize == 32 && segment.memorySize == 32)
    #expect(Array(file[segment.fileOffset...].prefix(32)) == Array(0..<32))
  }

  @Test func a32BitKernelMayHoldA64BitOnesMachine() throws {
    var builder = ELFBuilder.kernel(is64: false)
    builder.machine = 62  // x32: Mini-OS objects are linked so
    #expect(try parse(builder.bytes()).entry == 0x10_0010)
  }

  @Test(arguments: [4, 8], [true, false])
  func theEntryHas4Or8Bytes(size: Int, is64: Bool) throws {
    var builder = ELFBuilder.kernel(is64: is64)
    builder.notes = [.entry(0x10_0008, size: size)]
    #expect(try parse(builder.bytes()).entry == 0x10_0008)
  }

  @Test(arguments: [0, 2, 7])
  func anEntryOfAnotherLengthIsNone(size: Int) {
    var builder = ELFBuilder.kernel()
    builder.notes = [.entry(0x10_0008, size: size)]
    #expect(throws: KernelImageError.noPVHEntry) { try parse(builder.bytes()) }
  }

  @Test(arguments: [ELFBuilder.NotePlace.segment, .section], [true, false])
  func notesAreFoundInASegmentOrASection(place: ELFBuilder.NotePlace, is64: Bool) throws {
    var builder = ELFBuilder.kernel(is64: is64)
    builder.notePlace = place
    builder.notes = [.runtime(abi: 1, features: 3), .entry(0x10_0010)]
    let image = try parse(builder.bytes())
    #expect(image.entry == 0x10_0010)
    #expect(image.runtime?.abiVersion == 1 && image.runtime?.vifFeatures == 3)
  }

  @Test(arguments: [UInt64(0), 1, 4, 8])
  func notesAreAlignedAsTheirSegmentIs(alignment: UInt64) throws {
    var builder = ELFBuilder.kernel()
    builder.noteAlignment = alignment
    // Names and bodies of awkward lengths before the one that counts.
    builder.notes = [
      ELFBuilder.Note(name: "GNU", type: 1, body: [1, 2, 3]),
      ELFBuilder.Note(name: "Linux", type: 2, body: [1, 2, 3, 4, 5]),
      .runtime(abi: 1, features: 0x1883), .entry(0x10_0004, size: 4),
    ]
    let image = try parse(builder.bytes())
    #expect(image.entry == 0x10_0004)
    #expect(image.runtime?.vifFeatures == 0x1883)
  }

  @Test func othersNotesAreNotTaken() {
    var builder = ELFBuilder.kernel()
    builder.notes = [
      ELFBuilder.Note(name: "Xem", type: 18, body: little(UInt64(0x10_0000))),
      ELFBuilder.Note(name: "Xen4", type: 18, body: little(UInt64(0x10_0000))),
    ]
    #expect(throws: KernelImageError.noPVHEntry) { try parse(builder.bytes()) }
  }

  /// As `.section .note.Xen` without an alignment gives it.
  @Test(arguments: 1...7, [true, false])
  func notesMayStartAnywhereInTheFile(shift: Int, is64: Bool) throws {
    for place in [ELFBuilder.NotePlace.segment, .section] {
      var builder = ELFBuilder.kernel(is64: is64)
      builder.notePlace = place
      builder.noteShift = shift
      builder.noteAlignment = 1
      builder.notes = [
        ELFBuilder.Note(name: "Linux", type: 2, body: [1, 2, 3]), .runtime(abi: 1, features: 3),
        .entry(0x10_0010, size: 4),
      ]
      let image = try parse(builder.bytes())
      #expect(image.entry == 0x10_0010 && image.runtime?.vifFeatures == 3)
    }
  }

  @Test(arguments: [4, 8], [0, 4])
  func aSegmentThatAsksFor8MayPadTo4(padding: Int, shift: Int) throws {
    let gnu = ELFBuilder.Note(name: "GNU", type: 3, body: Array(repeating: 7, count: 20))
    let notes: [[ELFBuilder.Note]] = [
      [.entry(0x10_0004, size: 4), .runtime(abi: 1, features: 0x1883)],
      [.runtime(abi: 1, features: 0x1883), .entry(0x10_0004, size: 4)],
      [gnu, .entry(0x10_0004), .runtime(abi: 1, features: 0x1883), gnu],
    ]
    for notes in notes {
      var builder = ELFBuilder.kernel()
      builder.noteAlignment = 8
      builder.notePadding = padding
      builder.noteShift = shift
      builder.notes = notes
      let image = try parse(builder.bytes())
      #expect(image.entry == 0x10_0004)
      #expect(image.runtime?.abiVersion == 1 && image.runtime?.vifFeatures == 0x1883)
    }
  }

  @Test func aKernelForPVOnlyIsRefusedAsThat() {
    var builder = ELFBuilder.kernel()
    builder.notes = [
      ELFBuilder.Note(name: "Xen", type: 6, body: Array("linux\0".utf8)),  // XEN_ELFNOTE_GUEST_OS
      ELFBuilder.Note(name: "Xen", type: 1, body: little(UInt64(0x10_0000))),  // XEN_ELFNOTE_ENTRY
    ]
    let error = #expect(throws: KernelImageError.paravirtual) { try parse(builder.bytes()) }
    #expect(
      error?.description == "a PV kernel, without an entry for PVH (no XEN_ELFNOTE_PHYS32_ENTRY note)")
    builder.notePlace = .section
    #expect(throws: KernelImageError.paravirtual) { try parse(builder.bytes()) }
  }

  @Test func aRuntimeNoteOfAnotherLengthIsNone() throws {
    var builder = ELFBuilder.kernel()
    builder.notes.append(ELFBuilder.Note(name: "chaos", type: 1, body: little(UInt64(1))))
    #expect(try parse(builder.bytes()).runtime == nil)
  }

  @Test func severalSegmentsAreKeptInOrder() throws {
    var builder = ELFBuilder.kernel()
    builder.segments = [
      ELFBuilder.Segment(address: 0x1000, bytes: [1, 2, 3]),  // below 1 MiB
      ELFBuilder.Segment(address: 0x20_0000, bytes: [4, 5], memorySize: 0x3000),  // bss behind the file's bytes
      ELFBuilder.Segment(address: 0x10_0000, bytes: Array(0..<32)),
      ELFBuilder.Segment(address: 0x30_0000, bytes: [], memorySize: 0x1000),  // bss only
      ELFBuilder.Segment(address: 0x40_0000, bytes: []),  // nothing at all
    ]
    let image = try parse(builder.bytes())
    #expect(image.segments.map(\.address) == [0x1000, 0x20_0000, 0x10_0000, 0x30_0000])
    #expect(image.segments.map(\.fileSize) == [3, 2, 32, 0])
    #expect(image.segments.map(\.memorySize) == [3, 0x3000, 32, 0x1000])
    #expect(image.end == 0x30_1000)
  }

  @Test func memoryMayReachUpTo4GiB() throws {
    var builder = ELFBuilder.kernel()
    builder.segments.append(ELFBuilder.Segment(address: 0xffff_f000, bytes: [1], memorySize: 0x1000))
    #expect(try parse(builder.bytes()).end == 1 << 32)
  }
}

@Suite struct KernelRefusalTests {
  /// A sound file with these bytes at `offset` instead.
  private func spoilt(_ offset: Int, _ bytes: [UInt8], _ builder: ELFBuilder = .kernel()) -> [UInt8] {
    var file = builder.bytes()
    file.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    return file
  }

  @Test func whatIsNoELFFileIsRefused() {
    #expect(throws: KernelImageError.notELF) { try parse([]) }
    #expect(throws: KernelImageError.notELF) { try parse(Array("#!/bin/sh\n".utf8)) }
    #expect(throws: KernelImageError.notELF) { try parse([0x7f, 0x45, 0x4c, 0x46]) }
    #expect(throws: KernelImageError.notELF) { try parse(spoilt(3, [0x47])) }
  }

  @Test func otherMachinesAreRefused() {
    #expect(throws: KernelImageError.unsupported("class 3")) { try parse(spoilt(4, [3])) }
    #expect(throws: KernelImageError.unsupported("not little-endian")) {
      try parse(spoilt(5, [2], .kernel(is64: false)))
    }
    #expect(throws: KernelImageError.unsupported("machine 183, not x86")) { try parse(spoilt(18, [183, 0])) }
  }

  /// Every byte of these files is of use to the parser: the notes are what comes last.
  @Test(arguments: [true, false], [ELFBuilder.NotePlace.segment, .section])
  func everyTruncationIsRefused(is64: Bool, place: ELFBuilder.NotePlace) {
    var builder = ELFBuilder.kernel(is64: is64)
    builder.notePlace = place
    let file = builder.bytes()
    // Of a section header the fields from 40 (24 in a 32-bit file) on are not looked at.
    let unread = place == .segment ? 0 : is64 ? 24 : 16
    for length in 0..<file.count - unread {
      #expect(throws: KernelImageError.self, "\(length) bytes") { try parse(Array(file[..<length])) }
    }
  }

  @Test func programHeadersMustLieInTheFile() {
    let kernel = ELFBuilder.kernel()
    #expect(throws: KernelImageError.malformed("no program headers")) { try parse(spoilt(56, [0, 0])) }
    #expect(throws: KernelImageError.malformed("program header size 55")) { try parse(spoilt(54, [55, 0])) }
    #expect(throws: KernelImageError.malformed("program header 0 lies outside the file")) {
      try parse(spoilt(32, little(UInt64(kernel.bytes().count - 55))))
    }
    #expect(throws: KernelImageError.malformed("program header 0 lies outside the file")) {
      try parse(spoilt(32, little(UInt64.max - 20)))
    }
    // What follows the two headers is read as a third; there is no fourth.
    #expect(throws: KernelImageError.malformed("program header 3 lies outside the file")) {
      try parse(spoilt(56, [0, 1]))
    }
    // One more than are taken, and PN_XNUM: the count stands elsewhere.
    for count in [[1, 1], [0xff, 0xff]] as [[UInt8]] {
      #expect(throws: KernelImageError.unsupported("more than 256 program headers")) {
        try parse(spoilt(56, count))
      }
    }
  }

  @Test func asManySegmentsAsAreTakenAreTaken() throws {
    var builder = ELFBuilder.kernel()
    for number in 1..<KernelImage.mostProgramHeaders - 1 {
      builder.segments.append(ELFBuilder.Segment(address: 0x10_0000 + UInt64(number) * 0x1000, bytes: [1]))
    }
    #expect(try parse(builder.bytes()).segments.count == 255)
    builder.segments += Array(repeating: builder.segments[0], count: 65_000)
    #expect(throws: KernelImageError.unsupported("more than 256 program headers")) { try parse(builder.bytes()) }
  }

  @Test(arguments: [ELFBuilder.NotePlace.segment, .section])
  func moreNotesThanAreLookedAtAreRefused(place: ELFBuilder.NotePlace) throws {
    var builder = ELFBuilder.kernel()
    builder.notePlace = place
    let other = ELFBuilder.Note(name: "GNU", type: 1, body: [])
    builder.notes = Array(repeating: other, count: KernelImage.mostNotes - 1) + builder.notes
    #expect(try parse(builder.bytes()).entry == 0x10_0010)
    builder.notes = Array(repeating: other, count: 65_000) + builder.notes
    #expect(throws: KernelImageError.unsupported("more than 4096 notes")) { try parse(builder.bytes()) }
  }

  /// A few bytes of headers that name the same notes again and again.
  @Test func notesNamedByManyHeadersAreCountedEachTime() {
    var builder = ELFBuilder.kernel()
    builder.notes += Array(repeating: ELFBuilder.Note(name: "GNU", type: 1, body: []), count: 40)
    builder.noteSegments = 101
    #expect(throws: KernelImageError.unsupported("more than 4096 notes")) { try parse(builder.bytes()) }
  }

  @Test func segmentsThatOverlapAreRefused() throws {
    var builder = ELFBuilder.kernel()
    builder.segments += [
      ELFBuilder.Segment(address: 0x20_0000, bytes: [], memorySize: 0x8000_0000),
      ELFBuilder.Segment(address: 0x8020_0000, bytes: [1]),
    ]
    #expect(try parse(builder.bytes()).segments.count == 3)
    builder.segments.append(ELFBuilder.Segment(address: 0x801f_ffff, bytes: [1]))
    #expect(throws: KernelImageError.malformed("segments overlap at 0x801fffff")) { try parse(builder.bytes()) }
    // Gibibytes to be zeroed, hundreds of times.
    builder.segments = [builder.segments[0]]
    builder.segments += Array(
      repeating: ELFBuilder.Segment(address: 0x20_0000, bytes: [], memorySize: 0xe000_0000), count: 200)
    #expect(throws: KernelImageError.malformed("segments overlap at 0x200000")) { try parse(builder.bytes()) }
  }

  /// Fields of the first program header (ELF64): offset 8, address 24, file size 32, memory size 40.
  @Test func segmentsMustMakeSense() {
    let segment = ELFBuilder.kernel().programHeader(0)
    let outside = KernelImageError.malformed("a segment lies outside the file")
    let tooHigh = KernelImageError.unsupported("a segment is loaded above 4 GiB")
    #expect(throws: outside) { try parse(spoilt(segment + 8, little(UInt64(1000)))) }
    #expect(throws: outside) { try parse(spoilt(segment + 8, little(UInt64.max - 4))) }
    #expect(throws: outside) { try parse(spoilt(segment + 32, little(UInt64(1000)) + little(UInt64(1000)))) }
    #expect(throws: KernelImageError.malformed("a segment has more bytes in the file than in memory")) {
      try parse(spoilt(segment + 40, little(UInt64(31))))
    }
    #expect(throws: tooHigh) { try parse(spoilt(segment + 24, little(UInt64(1) << 32))) }
    #expect(throws: tooHigh) { try parse(spoilt(segment + 24, little(UInt64.max - 4))) }
    #expect(throws: tooHigh) { try parse(spoilt(segment + 40, little(UInt64.max))) }
  }

  @Test func aFileWithoutSegmentsIsRefused() {
    var builder = ELFBuilder.kernel()
    builder.segments = []
    #expect(throws: KernelImageError.malformed("no loadable segment")) { try parse(builder.bytes()) }
  }

  @Test(arguments: [UInt64(0), 0xf_ffff, 0x10_0020, 1 << 32, 1 << 32 | 0x10_0000, .max])
  func theEntryMustLieInASegment(entry: UInt64) {
    var builder = ELFBuilder.kernel()
    builder.notes = [.entry(entry)]
    #expect(throws: KernelImageError.malformed("PVH entry 0x\(String(entry, radix: 16)) lies in no segment")) {
      try parse(builder.bytes())
    }
  }

  @Test func aFileWithoutTheNoteIsRefused() {
    var builder = ELFBuilder.kernel()
    builder.notes = []
    #expect(throws: KernelImageError.noPVHEntry) { try parse(builder.bytes()) }
    // A note whose lengths lead out of its segment, and a segment of notes that leads out of the file.
    builder = .kernel()
    let note = builder.bytes().count - 24
    #expect(throws: KernelImageError.noPVHEntry) { try parse(spoilt(note, little(UInt32.max))) }
    #expect(throws: KernelImageError.noPVHEntry) { try parse(spoilt(note + 4, little(UInt32(9)))) }
    #expect(throws: KernelImageError.noPVHEntry) {
      try parse(spoilt(builder.programHeader(1) + 8, little(UInt64.max - 3)))
    }
  }

  @Test func noBytesTrap() {
    var noise = Noise(seed: 2)
    var files: [[UInt8]] = []
    for is64 in [true, false] {
      for place in [ELFBuilder.NotePlace.segment, .section] {
        var builder = ELFBuilder.kernel(is64: is64)
        builder.notePlace = place
        builder.notes = [.runtime(abi: 1, features: 3), .entry(0x10_0010)]
        files.append(builder.bytes())
      }
    }
    var (read, refused) = (0, 0)
    for round in 0..<50_000 {
      var file = files[round % files.count]
      for _ in 0..<Int.random(in: 1...6, using: &noise) {
        let edge: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
        let offset = Int.random(in: 0..<file.count, using: &noise)
        file[offset] = UInt8.random(in: 0...255, using: &noise)
        if noise.next() % 2 == 0 { file[offset] = edge.randomElement(using: &noise)! }
      }
      do {
        let image = try parse(file)
        read += 1
        let isSound = image.segments.allSatisfy {
          $0.fileOffset >= 0 && $0.fileSize >= 0 && $0.fileOffset + $0.fileSize <= file.count
            && UInt64($0.fileSize) <= $0.memorySize && $0.range.upperBound <= 1 << 32
        }
        if !isSound || !image.segments.contains(where: { $0.range.contains(UInt64(image.entry)) }) {
          Issue.record("\(image)")
        }
      } catch {
        refused += 1
      }
    }
    #expect(read > 1000 && refused > 1000)
  }
}
