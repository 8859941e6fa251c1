import CDevicePage

extension KernelImage {
  /// Program headers that a file may have. Kernels have a handful; each costs work here and at every load.
  public static let mostProgramHeaders = 256
  /// Notes that are looked at in a file, however often its headers name the same ones.
  public static let mostNotes = 4096

  /// Parses an ELF64 or ELF32 x86 executable. Total: any bytes give an image or an error, in a time that the limits
  /// above bound.
  ///
  /// Source: ELF-64 Object File Format 1.5; xen/elfnote.h for the note. Notes are looked for in PT_NOTE
  /// segments and, when none has the entry, in SHT_NOTE sections, as Xen's libelf does.
  public init(parsing content: some ImageContent) throws(KernelImageError) {
    let file = IntegerReader(content)
    do throws(KernelImageError) {
      try self.init(file)
    } catch {
      // What could not be read looks as if it was not there.
      if let failure = file.failure { throw .unreadable(failure) }
      throw error
    }
    // Notes that could not be read would only be missing.
    if let failure = file.failure { throw .unreadable(failure) }
  }

  /// As ``init(parsing:)``, of bytes in memory.
  public init(parsing bytes: borrowing RawSpan) throws(KernelImageError) {
    self = try bytes.withUnsafeBytes { bytes throws(KernelImageError) in try KernelImage(parsing: bytes) }
  }

  private init(_ file: IntegerReader<some ImageContent>) throws(KernelImageError) {
    let header = try ELFHeader(file)
    let programs = try header.programHeaders(file)
    var loads: [Segment] = []
    var notes = Notes()
    for program in programs {
      switch program.type {
      case ELFConstant.load:
        if program.memorySize > 0 { loads.append(try program.segment(fileLength: file.byteCount)) }
      case ELFConstant.note:
        try notes.scan(file, from: program.fileOffset, count: program.fileSize, alignment: program.alignment)
      default: break
      }
    }
    if notes.entry == nil { try header.scanNoteSections(file, into: &notes) }
    guard !loads.isEmpty else { throw .malformed("no loadable segment") }
    try Self.refuseOverlaps(loads)
    guard let entry = notes.entry else { throw notes.isParavirtual ? .paravirtual : .noPVHEntry }
    guard let entry32 = UInt32(exactly: entry), loads.contains(where: { $0.range.contains(entry) }) else {
      throw .malformed("PVH entry 0x\(String(entry, radix: 16)) lies in no segment")
    }
    self.init(segments: loads, entry: entry32, runtime: notes.runtime)
  }

  /// What overlaps would be written twice: few bytes of a file could ask for any amount of memory to be zeroed.
  private static func refuseOverlaps(_ segments: [Segment]) throws(KernelImageError) {
    let ranges = segments.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
    for (range, next) in zip(ranges, ranges.dropFirst()) where next.lowerBound < range.upperBound {
      throw .malformed("segments overlap at 0x\(String(next.lowerBound, radix: 16))")
    }
  }
}

private enum ELFConstant {
  static let load: UInt32 = 1  // PT_LOAD
  static let note: UInt32 = 4  // PT_NOTE
  static let noteSection: UInt32 = 7  // SHT_NOTE
  static let x86: UInt16 = 3  // EM_386
  static let x8664: UInt16 = 62  // EM_X86_64
  static let phys32Entry: UInt32 = 18  // XEN_ELFNOTE_PHYS32_ENTRY
}

// MARK: - Reading

/// The file header and where its tables are.
private struct ELFHeader {
  let is64: Bool
  private let programOffset, sectionOffset: UInt64
  private let programEntrySize, programCount, sectionEntrySize, sectionCount: UInt64

  init(_ file: IntegerReader<some ImageContent>) throws(KernelImageError) {
    guard file.integer(0, as: UInt32.self) == 0x464c_457f, file.byteCount >= 52 else { throw .notELF }
    let is64: Bool
    switch file.integer(4, as: UInt8.self) {
    case 1: is64 = false
    case 2: is64 = true
    case let other: throw .unsupported("class \(other ?? 0)")
    }
    self.is64 = is64
    guard file.integer(5, as: UInt8.self) == 1 else { throw .unsupported("not little-endian") }
    let machine = file.integer(18, as: UInt16.self) ?? 0
    guard machine == ELFConstant.x86 || machine == ELFConstant.x8664 else {
      throw .unsupported("machine \(machine), not x86")
    }
    guard file.byteCount >= (is64 ? 64 : 52) else { throw .malformed("truncated header") }
    func half(_ at64: UInt64, _ at32: UInt64) -> UInt64 {
      UInt64(file.integer(is64 ? at64 : at32, as: UInt16.self) ?? 0)
    }
    func word(_ at64: UInt64, _ at32: UInt64) -> UInt64 {
      is64
        ? file.integer(at64, as: UInt64.self) ?? 0 : UInt64(file.integer(at32, as: UInt32.self) ?? 0)
    }
    programOffset = word(32, 28)
    sectionOffset = word(40, 32)
    programEntrySize = half(54, 42)
    programCount = half(56, 44)
    sectionEntrySize = half(58, 46)
    sectionCount = half(60, 48)
    // Among them PN_XNUM, which says that the count stands elsewhere as it is too high for its field.
    guard programCount <= KernelImage.mostProgramHeaders else {
      throw .unsupported("more than \(KernelImage.mostProgramHeaders) program headers")
    }
  }

  /// Reads all program headers; one that lies outside the file is an error.
  func programHeaders(_ file: IntegerReader<some ImageContent>) throws(KernelImageError) -> [ProgramHeader] {
    guard programCount > 0 else { throw .malformed("no program headers") }
    guard programEntrySize >= (is64 ? 56 : 32) else {
      throw .malformed("program header size \(programEntrySize)")
    }
    var headers: [ProgramHeader] = []
    for number in 0..<programCount {
      let (offset, overflow) = programOffset.addingReportingOverflow(number * programEntrySize)
      guard !overflow, let header = ProgramHeader(file, at: offset, is64: is64) else {
        throw .malformed("program header \(number) lies outside the file")
      }
      headers.append(header)
    }
    return headers
  }

  /// Looks for notes in SHT_NOTE sections. A malformed section table just has none.
  func scanNoteSections(_ file: IntegerReader<some ImageContent>, into notes: inout Notes) throws(KernelImageError)
  {
    guard sectionEntrySize >= (is64 ? 64 : 40) else { return }
    for number in 0..<sectionCount {
      let (start, overflow) = sectionOffset.addingReportingOverflow(number * sectionEntrySize)
      guard !overflow, start < UInt64(file.byteCount),
        file.integer(start + 4, as: UInt32.self) == ELFConstant.noteSection
      else { continue }
      func word(_ at64: UInt64, _ at32: UInt64) -> UInt64? {
        is64
          ? file.integer(start + at64, as: UInt64.self)
          : file.integer(start + at32, as: UInt32.self).map { UInt64($0) }
      }
      guard let offset = word(24, 16), let size = word(32, 20) else { continue }
      try notes.scan(file, from: offset, count: size, alignment: 4)
    }
  }
}

private struct ProgramHeader {
  let type: UInt32
  let fileOffset, address, fileSize, memorySize, alignment: UInt64

  /// Nil when the entry does not lie in the file.
  init?(_ file: IntegerReader<some ImageContent>, at start: UInt64, is64: Bool) {
    guard start < UInt64(file.byteCount), let type = file.integer(start, as: UInt32.self) else { return nil }
    func word(_ at64: UInt64, _ at32: UInt64) -> UInt64? {
      is64
        ? file.integer(start + at64, as: UInt64.self)
        : file.integer(start + at32, as: UInt32.self).map { UInt64($0) }
    }
    guard let offset = word(8, 4), let address = word(24, 12), let inFile = word(32, 16),
      let inMemory = word(40, 20), let alignment = word(48, 28)
    else { return nil }
    self.type = type
    fileOffset = offset
    self.address = address
    fileSize = inFile
    memorySize = inMemory
    self.alignment = alignment
  }

  func segment(fileLength: Int) throws(KernelImageError) -> KernelImage.Segment {
    guard fileSize <= memorySize else {
      throw .malformed("a segment has more bytes in the file than in memory")
    }
    let (fileEnd, fileOverflow) = fileOffset.addingReportingOverflow(fileSize)
    guard !fileOverflow, fileEnd <= UInt64(fileLength) else {
      throw .malformed("a segment lies outside the file")
    }
    let (memoryEnd, memoryOverflow) = address.addingReportingOverflow(memorySize)
    guard !memoryOverflow, memoryEnd <= 1 << 32 else {
      throw .unsupported("a segment is loaded above 4 GiB")
    }
    return KernelImage.Segment(
      address: address, fileOffset: Int(fileOffset), fileSize: Int(fileSize), memorySize: memorySize)
  }
}

/// The notes that matter, collected from a file.
private struct Notes {
  private var found = Found()
  private var seen = 0

  var entry: UInt64? { found.entry }
  var runtime: KernelImage.Runtime? { found.runtime }
  var isParavirtual: Bool { found.isParavirtual }

  struct Found {
    var entry: UInt64?
    var runtime: KernelImage.Runtime?
    /// There is a note of Xen's that tells something else than the PVH entry.
    var isParavirtual = false
    /// The last note ended where the range does.
    var isWhole = false

    /// How much speaks for having read the notes as they were written.
    var worth: Int { (entry == nil ? 0 : 2) + (isWhole ? 1 : 0) }
  }

  /// Takes the notes of a file range.
  ///
  /// Names and bodies are padded to 4 bytes, counted from where the range starts, as Xen's libelf reads them. Only a
  /// segment that asks for 8 may have them padded to 8 (gABI), and often has not (GNU): of the two readings the one
  /// counts that has the entry and comes out even.
  mutating func scan(
    _ file: IntegerReader<some ImageContent>, from offset: UInt64, count: UInt64, alignment: UInt64
  ) throws(KernelImageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(file.byteCount) else { return }
    var best = try walk(file, offset..<end, paddedTo: 4)
    if alignment == 8, best.worth < 3 {
      let other = try walk(file, offset..<end, paddedTo: 8)
      if other.worth > best.worth { best = other }
    }
    if let entry = best.entry { found.entry = entry }
    if let runtime = best.runtime { found.runtime = runtime }
    if best.isParavirtual { found.isParavirtual = true }
  }

  /// Reads notes up to the end of a range, or the first that does not fit.
  private mutating func walk(
    _ file: IntegerReader<some ImageContent>, _ range: Range<UInt64>, paddedTo padding: UInt64
  ) throws(KernelImageError) -> Found {
    var found = Found()
    // Relative to the range: where it stands in the file is nothing to its notes.
    func padded(_ count: UInt64) -> UInt64 { (count + padding - 1) & ~(padding - 1) }
    let size = range.upperBound - range.lowerBound
    var at: UInt64 = 0
    while at <= size, size - at >= 12 {
      let start = range.lowerBound + at
      guard let nameSize = file.integer(start, as: UInt32.self),
        let bodySize = file.integer(start + 4, as: UInt32.self),
        let type = file.integer(start + 8, as: UInt32.self)
      else { return found }
      let body = padded(at + 12 + UInt64(nameSize))
      guard body <= size, UInt64(bodySize) <= size - body else { return found }
      seen += 1
      guard seen <= KernelImage.mostNotes else { throw .unsupported("more than \(KernelImage.mostNotes) notes") }
      found.take(
        file, name: start + 12, nameSize: nameSize, type: type, body: range.lowerBound + body, bodySize: bodySize)
      at = padded(body + UInt64(bodySize))
    }
    found.isWhole = at >= size
    return found
  }
}

extension Notes.Found {
  mutating func take(
    _ file: IntegerReader<some ImageContent>, name: UInt64, nameSize: UInt32, type: UInt32, body: UInt64,
    bodySize: UInt32
  ) {
    if nameSize == 4, file.integer(name, as: UInt32.self) == 0x006e_6558 {  // "Xen\0"
      guard type == ELFConstant.phys32Entry else {
        isParavirtual = true
        return
      }
      if bodySize == 8 { entry = file.integer(body, as: UInt64.self) }
      if bodySize == 4 { entry = file.integer(body, as: UInt32.self).map { UInt64($0) } }
    }
    let isOurs =
      nameSize == 6 && file.integer(name, as: UInt32.self) == 0x6f61_6863  // "chao"
      && file.integer(name + 4, as: UInt16.self) == 0x0073  // "s\0"
    if isOurs, type == UInt32(CHAOS_NOTE_RUNTIME), bodySize == UInt32(CHAOS_NOTE_LENGTH) {
      guard let version = file.integer(body + UInt64(CHAOS_NOTE_ABI_VERSION), as: UInt32.self),
        let features = file.integer(body + UInt64(CHAOS_NOTE_VIF_FEATURES), as: UInt64.self)
      else { return }
      runtime = KernelImage.Runtime(abiVersion: version, vifFeatures: features)
    }
  }
}
