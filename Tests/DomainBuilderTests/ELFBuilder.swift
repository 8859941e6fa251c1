import DomainBuilder

/// Writes small ELF files, well-formed unless told otherwise: a file header, program headers, the segments'
/// bytes, notes, and a section header for the notes when they are to stand in a section only.
struct ELFBuilder {
  struct Segment {
    var address: UInt64
    var bytes: [UInt8]
    /// Defaults to the bytes' count.
    var memorySize: UInt64?
  }

  struct Note {
    var name: String
    var type: UInt32
    var body: [UInt8]
  }

  enum NotePlace { case segment, section }

  var is64 = true
  var machine: UInt16 = 62
  var segments: [Segment] = []
  var notes: [Note] = []
  var notePlace = NotePlace.segment
  /// PT_NOTE segments, all of the same notes.
  var noteSegments = 1
  /// p_align of the PT_NOTE segment.
  var noteAlignment: UInt64 = 4
  /// What names and bodies are padded to; as the segment is aligned where nothing is said.
  var notePadding: Int?
  /// Bytes that stand before the notes, so that they start anywhere.
  var noteShift = 0

  /// A kernel with one segment at 1 MiB and its entry there.
  static func kernel(is64: Bool = true) -> ELFBuilder {
    ELFBuilder(
      is64: is64, machine: is64 ? 62 : 3,
      segments: [Segment(address: 0x10_0000, bytes: Array(0..<32))], notes: [.entry(0x10_0010)])
  }

  // Where the fields that tests spoil stand.
  var headerSize: Int { is64 ? 64 : 52 }
  var programHeaderSize: Int { is64 ? 56 : 32 }
  func programHeader(_ number: Int) -> Int { headerSize + number * programHeaderSize }

  func bytes() -> [UInt8] {
    let noteBytes = encodedNotes()
    let hasNoteSegment = notePlace == .segment && !notes.isEmpty
    let programCount = segments.count + (hasNoteSegment ? noteSegments : 0)
    var at = aligned(headerSize + programCount * programHeaderSize, 8)
    var programs: [UInt8] = []
    for segment in segments {
      programs += program(
        type: 1, offset: at, address: segment.address, fileSize: segment.bytes.count,
        memorySize: segment.memorySize ?? UInt64(segment.bytes.count), alignment: 8)
      at = aligned(at + segment.bytes.count, 8)
    }
    let noteOffset = at + noteShift
    for _ in 0..<(hasNoteSegment ? noteSegments : 0) {
      programs += program(
        type: 4, offset: noteOffset, address: 0, fileSize: noteBytes.count, memorySize: UInt64(noteBytes.count),
        alignment: noteAlignment)
    }
    let hasSection = notePlace == .section && !notes.isEmpty
    let sectionOffset = aligned(noteOffset + noteBytes.count, 8)
    var file = header(
      programCount: programCount, sectionOffset: hasSection ? sectionOffset : 0, sectionCount: hasSection ? 2 : 0)
    file += programs
    for segment in segments {
      file += [UInt8](repeating: 0, count: aligned(file.count, 8) - file.count) + segment.bytes
    }
    file += [UInt8](repeating: 0, count: noteOffset - file.count) + noteBytes
    if hasSection {
      file += [UInt8](repeating: 0, count: sectionOffset - file.count)
      // Section 0 is the null section.
      file += [UInt8](repeating: 0, count: is64 ? 64 : 40) + section(offset: noteOffset, size: noteBytes.count)
    }
    return file
  }

  private func aligned(_ value: Int, _ alignment: Int) -> Int { (value + alignment - 1) / alignment * alignment }

  private func encodedNotes() -> [UInt8] {
    let alignment = notePadding ?? (noteAlignment == 8 ? 8 : 4)
    var bytes: [UInt8] = []
    for note in notes {
      let name = Array(note.name.utf8) + [0]
      bytes += little(UInt32(name.count)) + little(UInt32(note.body.count)) + little(note.type) + name
      bytes += [UInt8](repeating: 0, count: aligned(bytes.count, alignment) - bytes.count) + note.body
      bytes += [UInt8](repeating: 0, count: aligned(bytes.count, alignment) - bytes.count)
    }
    return bytes
  }

  private func header(programCount: Int, sectionOffset: Int, sectionCount: Int) -> [UInt8] {
    let sectionSize = is64 ? 64 : 40
    var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    bytes += little(UInt16(2)) + little(machine) + little(UInt32(1))  // ET_EXEC
    bytes += word(0) + word(UInt64(headerSize)) + word(UInt64(sectionOffset))
    bytes += little(UInt32(0)) + little(UInt16(headerSize))
    bytes += little(UInt16(programHeaderSize)) + little(UInt16(programCount))
    bytes += little(UInt16(sectionSize)) + little(UInt16(sectionCount)) + little(UInt16(0))
    return bytes
  }

  private func program(
    type: UInt32, offset: Int, address: UInt64, fileSize: Int, memorySize: UInt64, alignment: UInt64
  ) -> [UInt8] {
    let flags = little(UInt32(7))
    return little(type) + (is64 ? flags : []) + word(UInt64(offset)) + word(0xffff_8000) + word(address)
      + word(UInt64(fileSize)) + word(memorySize) + (is64 ? [] : flags) + word(alignment)
  }

  private func section(offset: Int, size: Int) -> [UInt8] {
    little(UInt32(0)) + little(UInt32(7)) + word(0) + word(0) + word(UInt64(offset)) + word(UInt64(size))
      + little(UInt32(0)) + little(UInt32(0)) + word(4) + word(0)
  }

  private func word(_ value: UInt64) -> [UInt8] { is64 ? little(value) : little(UInt32(truncatingIfNeeded: value)) }
}

extension ELFBuilder.Note {
  /// XEN_ELFNOTE_PHYS32_ENTRY with a descriptor of 4 or 8 bytes.
  static func entry(_ address: UInt64, size: Int = 8) -> Self {
    Self(name: "Xen", type: 18, body: Array(little(address).prefix(size)))
  }

  /// The runtime note of images built for the device page.
  static func runtime(abi: UInt32, features: UInt64) -> Self {
    Self(name: "chaos", type: 1, body: little(abi) + little(UInt32(0)) + little(features))
  }
}

/// A value's bytes, the lowest first.
func little(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

/// Repeatable noise (splitmix64).
struct Noise: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
