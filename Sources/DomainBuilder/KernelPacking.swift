/// How a kernel's ELF file is packed in the file that people have: compressed as a whole (vmlinux.gz), or as the
/// payload of a Linux bzImage.
public struct KernelPacking: Equatable, Sendable {
  public enum Format: String, CaseIterable, Sendable {
    case gzip, bzip2, lzma, xz
    /// As lzop writes it.
    case lzo
    /// The legacy frames, which have no end mark (`lz4 -l`).
    case lz4
    case zstd
    /// A bzImage's payload that is the ELF file itself.
    case uncompressed
  }

  public let format: Format
  /// The bytes of the file that are packed.
  public let range: Range<Int>
  /// How many bytes they unpack to, as a bzImage says; anything may stand there.
  public let statedSize: Int?

  /// Nil when the file is not packed in a way that is known: then it is an ELF file, or nothing that could be booted.
  ///
  /// - Throws: ``KernelImageError`` when it is a bzImage that cannot be unpacked, or cannot be read.
  public init?(of content: some ImageContent) throws(KernelImageError) {
    let file = IntegerReader(content)
    let packing: KernelPacking?
    if file.integer(0x1fe, as: UInt16.self) == 0xaa55, file.integer(0x202, as: UInt32.self) == 0x5372_6448 {
      packing = try Self(bzImage: file)
    } else {
      packing = Format(file, at: 0).map {
        KernelPacking(format: $0, range: 0..<file.byteCount, statedSize: nil)
      }
    }
    if let failure = file.failure { throw .unreadable(failure) }
    guard let packing, packing.format != .uncompressed || packing.range.lowerBound > 0 else { return nil }
    self = packing
  }

  private init(format: Format, range: Range<Int>, statedSize: Int?) {
    self.format = format
    self.range = range
    self.statedSize = statedSize
  }

  /// Finds the payload by the boot protocol's header (Linux, Documentation/arch/x86/boot.rst): `boot_flag` at 0x1fe,
  /// "HdrS" at 0x202. The kernel's build puts the unpacked size behind what it packs (scripts/Makefile.lib, size_append);
  /// in gzip it is the last field anyway.
  private init(bzImage file: IntegerReader<some ImageContent>) throws(KernelImageError) {
    guard let version = file.integer(0x206, as: UInt16.self), version >= 0x0208 else {
      throw .bzImage("its boot protocol is older than 2.08 and does not say where the kernel is")
    }
    guard let sectors = file.integer(0x1f1, as: UInt8.self), let offset = file.integer(0x248, as: UInt32.self),
      let length = file.integer(0x24c, as: UInt32.self)
    else { throw .bzImage("the header is cut short") }
    // Zero means four (setup_sects); the boot sector comes before them.
    let start = (Int(sectors == 0 ? 4 : sectors) + 1) * 512 + Int(offset)
    let end = start + Int(length)
    guard length > 4, end <= file.byteCount else { throw .bzImage("the payload lies outside the file") }
    guard let format = Format(file, at: start) else { throw .bzImage("the payload is packed in an unknown way") }
    let stated = file.integer(UInt64(end - 4), as: UInt32.self).map { Int($0) }
    switch format {
    case .uncompressed: self.init(format: format, range: start..<end, statedSize: nil)
    case .gzip: self.init(format: format, range: start..<end, statedSize: stated)
    default: self.init(format: format, range: start..<end - 4, statedSize: stated)
    }
  }
}

extension KernelPacking.Format {
  /// The format whose magic number stands at an offset.
  fileprivate init?(_ file: IntegerReader<some ImageContent>, at offset: Int) {
    var head: [UInt8] = []
    while head.count < 9, let byte = file.integer(UInt64(offset + head.count), as: UInt8.self) { head.append(byte) }
    guard let format = Self.allCases.first(where: { head.starts(with: $0.magic) }) else { return nil }
    self = format
  }

  /// The first bytes: RFC 1952 for gzip, RFC 8878 for zstd, the libraries' file formats for the others.
  private var magic: [UInt8] {
    switch self {
    case .gzip: [0x1f, 0x8b]
    case .bzip2: [0x42, 0x5a, 0x68]  // "BZh"
    case .lzma: [0x5d, 0, 0]  // the properties that everybody uses, and a dictionary of whole 64 KiB
    case .xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]
    case .lzo: [0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d, 0x0a, 0x1a, 0x0a]
    case .lz4: [0x02, 0x21, 0x4c, 0x18]
    case .zstd: [0x28, 0xb5, 0x2f, 0xfd]
    case .uncompressed: [0x7f, 0x45, 0x4c, 0x46]
    }
  }
}
