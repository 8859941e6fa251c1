import CDecompress

/// A format whose blocks are unpacked each as a whole.
protocol PackedBlocks: AnyObject {
  /// The next block's bytes, until the next call; none at the end.
  func nextBlock<Content>(_ source: PackedBytes<Content>) throws(KernelImageError) -> UnsafeRawBufferPointer
}

final class BlockDecoder: Decoder {
  private let blocks: any PackedBlocks
  /// What of a block has not been handed out; it is the blocks' memory.
  private var rest = UnsafeRawBufferPointer(start: nil, count: 0)

  init(_ blocks: any PackedBlocks) { self.blocks = blocks }

  func fill<Content>(
    _ buffer: UnsafeMutableRawBufferPointer, from source: PackedBytes<Content>
  ) throws(KernelImageError) -> Int {
    if rest.isEmpty { rest = try blocks.nextBlock(source) }
    let part = UnsafeRawBufferPointer(rebasing: rest.prefix(buffer.count))
    buffer.copyMemory(from: part)
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
    return part.count
  }
}

/// Memory for one block, packed and unpacked, of the largest size; what is not used of it costs nothing.
private final class BlockMemory {
  let packed, unpacked: UnsafeMutableRawBufferPointer

  init(packed: Int, unpacked: Int) {
    self.packed = .allocate(byteCount: packed, alignment: 16)
    self.unpacked = .allocate(byteCount: unpacked, alignment: 16)
  }

  deinit {
    packed.deallocate()
    unpacked.deallocate()
  }
}

/// Legacy frames of LZ4: a magic number, then blocks, each with its packed size before it, until there are no more
/// (lz4_Frame_format.md; Linux, lib/decompress_unlz4.c).
final class LZ4Blocks: PackedBlocks {
  private static let magic: UInt32 = 0x184c_2102
  /// Bytes that a block unpacks to at most: 8 MiB.
  private static let largest = 8 << 20
  private let memory = BlockMemory(packed: Int(LZ4_compressBound(Int32(largest))), unpacked: largest)

  func nextBlock<Content>(_ source: PackedBytes<Content>) throws(KernelImageError) -> UnsafeRawBufferPointer {
    while !source.isAtEnd {
      let size = try source.integer(UInt32.self)
      // Another frame may follow.
      if size == Self.magic { continue }
      guard size > 0, size <= memory.packed.count else { throw .unpacking(.lz4, "damaged") }
      let packed = UnsafeMutableRawBufferPointer(rebasing: memory.packed[..<Int(size)])
      try source.read(into: packed)
      let count = LZ4_decompress_safe(
        packed.baseAddress?.assumingMemoryBound(to: CChar.self),
        memory.unpacked.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(packed.count),
        Int32(memory.unpacked.count))
      // A block of nothing would look like the end.
      guard count > 0 else { throw .unpacking(.lz4, "damaged") }
      return UnsafeRawBufferPointer(rebasing: memory.unpacked[..<Int(count)])
    }
    return UnsafeRawBufferPointer(start: nil, count: 0)
  }
}

/// Files of lzop (lzop's conf.h and lzop.c tell the format, as does Linux, lib/decompress_unlzo.c).
final class LZOBlocks: PackedBlocks {
  private enum Flag {
    static let adler32OfUnpacked: UInt32 = 0x1
    static let adler32OfPacked: UInt32 = 0x2
    static let crc32OfUnpacked: UInt32 = 0x100
    static let crc32OfPacked: UInt32 = 0x200
    static let filter: UInt32 = 0x800
  }

  /// Bytes that a block unpacks to at most: 256 KiB, the size that lzop uses and that Linux takes.
  private static let largest = 256 << 10
  private let memory = BlockMemory(packed: largest, unpacked: largest)
  private var flags: UInt32?

  func nextBlock<Content>(_ source: PackedBytes<Content>) throws(KernelImageError) -> UnsafeRawBufferPointer {
    if flags == nil { flags = try readHeader(source) }
    guard let flags else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let size = try source.integer(UInt32.self).byteSwapped
    if size == 0 { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let packedSize = try source.integer(UInt32.self).byteSwapped
    guard size <= Self.largest, packedSize > 0, packedSize <= size else { throw .unpacking(.lzo, "damaged") }
    let adler = try sum(Flag.adler32OfUnpacked, flags, source)
    let crc = try sum(Flag.crc32OfUnpacked, flags, source)
    let block = UnsafeMutableRawBufferPointer(rebasing: memory.unpacked[..<Int(size)])
    if packedSize < size {
      // Sums of what is packed say nothing that those of what comes out do not.
      _ = try sum(Flag.adler32OfPacked, flags, source)
      _ = try sum(Flag.crc32OfPacked, flags, source)
      let packed = UnsafeMutableRawBufferPointer(rebasing: memory.packed[..<Int(packedSize)])
      try source.read(into: packed)
      try unpack(packed, into: block)
    } else {
      try source.read(into: block)
    }
    let bytes = block.baseAddress?.assumingMemoryBound(to: Bytef.self)
    let isSound =
      (adler == nil || adler == UInt32(truncatingIfNeeded: adler32(1, bytes, size)))
      && (crc == nil || crc == UInt32(truncatingIfNeeded: crc32(0, bytes, size)))
    guard isSound else { throw .unpacking(.lzo, "damaged") }
    return UnsafeRawBufferPointer(block)
  }

  /// The next checksum, if the flags say that it is there.
  private func sum<Content>(
    _ flag: UInt32, _ flags: UInt32, _ source: PackedBytes<Content>
  ) throws(KernelImageError) -> UInt32? {
    guard flags & flag != 0 else { return nil }
    return try source.integer(UInt32.self).byteSwapped
  }

  private func unpack(
    _ packed: UnsafeMutableRawBufferPointer, into block: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) {
    var count = lzo_uint(block.count)
    let result = lzo1x_decompress_safe(
      packed.baseAddress?.assumingMemoryBound(to: UInt8.self), lzo_uint(packed.count),
      block.baseAddress?.assumingMemoryBound(to: UInt8.self), &count, nil)
    guard result == LZO_E_OK, count == block.count else { throw .unpacking(.lzo, "damaged") }
  }

  /// Reads up to the first block; integers are big-endian.
  private func readHeader<Content>(_ source: PackedBytes<Content>) throws(KernelImageError) -> UInt32 {
    // The magic number.
    try source.ignore(9)
    let version = try source.integer(UInt16.self).byteSwapped
    // The library's version, the version needed to unpack.
    _ = try source.integer(UInt32.self)
    let method = try source.integer(UInt8.self)
    guard (1...3).contains(method) else { throw .unpacking(.lzo, "method \(method) is unknown") }
    let hasLevel = version >= 0x0940
    if hasLevel { _ = try source.integer(UInt8.self) }
    let flags = try source.integer(UInt32.self).byteSwapped
    guard flags & Flag.filter == 0 else { throw .unpacking(.lzo, "it is filtered") }
    // The file's mode and time.
    try source.ignore(hasLevel ? 12 : 8)
    let nameLength = try source.integer(UInt8.self)
    // The file's name, the header's checksum.
    try source.ignore(Int(nameLength) + 4)
    return flags
  }
}
