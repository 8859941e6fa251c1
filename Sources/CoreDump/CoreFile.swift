/// A dump of a guest as a file: what stands before the guest's frames, in what order they come, and what stands behind
/// them. All of it is known before the first frame is read, so that it can be written as a stream.
public struct CoreFile: Sendable {
  /// Up to the first frame.
  public let head: [UInt8]
  /// Guest frame numbers, in the order of the file.
  public let frames: [Range<UInt64>]
  /// Of the whole file, in bytes.
  public let length: Int
  /// Frames that the guest lacks are left out, and zeros follow in their place; otherwise zeros are where they were.
  let leavesOutWhatIsMissing: Bool
  /// What follows the frames, made of the numbers of those that were there.
  let tail: @Sendable (_ there: [UInt64]) -> [UInt8]

  init(
    head: [UInt8], frames: [Range<UInt64>], tailBytes: Int, leavesOutWhatIsMissing: Bool,
    tail: @escaping @Sendable ([UInt64]) -> [UInt8]
  ) {
    self.head = head
    self.frames = frames
    self.tail = tail
    self.leavesOutWhatIsMissing = leavesOutWhatIsMissing
    length = head.count + frames.reduce(0) { $0 + $1.count } * frameBytes + tailBytes
  }
}

/// Bytes of a guest frame.
let frameBytes = 4096

/// Makes a dump's bytes piece by piece.
public struct CoreStream: Sendable {
  private enum Part {
    case head, frames, padding, tail, end
  }

  /// Frames copied at a time: 1 MiB, which a client is sent before the next are read.
  private static let framesAtOnce = 256

  private let file: CoreFile
  private var part = Part.head
  private var frames: [Range<UInt64>]
  private var there: [UInt64] = []
  private var missing = 0

  public init(_ file: CoreFile) {
    self.file = file
    frames = file.frames.reversed()
  }

  /// The next bytes of the file; nil at its end.
  ///
  /// - Parameter copy: copies guest frames: 4 KiB each, zeros for what the guest lacks, and which it has.
  public mutating func next<Failure>(
    copy: ([UInt64]) throws(Failure) -> (bytes: [UInt8], isThere: [Bool])
  ) throws(Failure) -> [UInt8]? {
    while true {
      switch part {
      case .head:
        part = .frames
        return file.head
      case .frames:
        guard let numbers = takeNumbers() else {
          part = .padding
          continue
        }
        let copied = try copy(numbers)
        let bytes = keep(numbers, copied)
        if !bytes.isEmpty { return bytes }
      case .padding:
        guard file.leavesOutWhatIsMissing, missing > 0 else {
          part = .tail
          continue
        }
        let count = min(missing, Self.framesAtOnce)
        missing -= count
        return [UInt8](repeating: 0, count: count * frameBytes)
      case .tail:
        part = .end
        let tail = file.tail(there)
        if !tail.isEmpty { return tail }
      case .end: return nil
      }
    }
  }

  private mutating func takeNumbers() -> [UInt64]? {
    guard let range = frames.popLast() else { return nil }
    let taken = range.prefix(Self.framesAtOnce)
    if taken.endIndex < range.upperBound { frames.append(taken.endIndex..<range.upperBound) }
    return Array(taken)
  }

  private mutating func keep(_ numbers: [UInt64], _ copied: (bytes: [UInt8], isThere: [Bool])) -> [UInt8] {
    guard file.leavesOutWhatIsMissing else { return copied.bytes }
    there += zip(numbers, copied.isThere).filter(\.1).map(\.0)
    let gone = copied.isThere.count { !$0 }
    guard gone > 0 else { return copied.bytes }
    missing += gone
    var kept: [UInt8] = []
    for (place, isThere) in copied.isThere.enumerated() where isThere {
      kept += copied.bytes[place * frameBytes..<(place + 1) * frameBytes]
    }
    return kept
  }
}

// MARK: - Bytes

/// Bytes of a file, little-endian.
struct FileBytes {
  private(set) var bytes: [UInt8] = []

  var count: Int { bytes.count }

  mutating func put(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
  }

  mutating func put(_ more: [UInt8]) { bytes += more }

  mutating func zeros(_ count: Int) { bytes += [UInt8](repeating: 0, count: count) }

  /// Zeros up to the next multiple.
  mutating func align(to boundary: Int) { zeros((boundary - bytes.count % boundary) % boundary) }
}

/// The header of a 64-bit little-endian ELF core file for x86-64 (System V ABI, figure 4-3), 64 bytes.
struct ELFHeader {
  static let bytes = 64
  static let programHeaderBytes = 56
  static let sectionHeaderBytes = 64

  var programHeaders: UInt16 = 0
  var sectionHeaders: UInt16 = 0
  var namesSection: UInt16 = 0

  func put(in file: inout FileBytes) {
    file.put([0x7f] + Array("ELF".utf8) + [2, 1, 1, 0])  // ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV
    file.put(UInt64(sectionHeaders > 0 ? 1 : 0))  // EI_ABIVERSION, as libxc sets it; padding
    file.put(UInt16(4))  // ET_CORE
    file.put(UInt16(62))  // EM_X86_64
    file.put(UInt32(1))  // EV_CURRENT
    file.put(UInt64(0))
    file.put(UInt64(programHeaders > 0 ? Self.bytes : 0))
    file.put(UInt64(sectionHeaders > 0 ? Self.bytes : 0))
    file.put(UInt32(0))
    file.put(UInt16(Self.bytes))
    file.put(UInt16(Self.programHeaderBytes))
    file.put(programHeaders)
    file.put(UInt16(sectionHeaders > 0 ? Self.sectionHeaderBytes : 0))
    file.put(sectionHeaders)
    file.put(namesSection)
  }
}
