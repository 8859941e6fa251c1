/// Unpacks a kernel piece by piece, so that neither what is packed nor what comes out of it need be in memory as a
/// whole. Total: any bytes give others or an error. Takes at most ``mostMemory`` beside the caller's buffer.
public final class KernelUnpacker<Content: ImageContent> {
  private let packing: KernelPacking
  private let limit: Int
  private let source: PackedBytes<Content>
  private let decoder: any Decoder
  private var total = 0

  /// - Parameter limit: bytes that may come out.
  /// - Throws: ``KernelImageError/tooLarge(limit:)`` when more are announced, `.unpacking` when there is no memory.
  public init(_ content: Content, _ packing: KernelPacking, limit: Int) throws(KernelImageError) {
    if let size = packing.statedSize, size > limit { throw .tooLarge(limit: limit) }
    self.packing = packing
    self.limit = limit
    source = PackedBytes(content, packing.range, packing.format)
    decoder = try makeDecoder(packing.format)
  }

  /// Puts the next bytes into `buffer`, which has room for some, and says how many; 0 at the end.
  ///
  /// - Throws: ``KernelImageError``: `.unpacking` for what is cut short or damaged, `.tooLarge` when it does not end
  ///   before the limit, `.unreadable`. After an error nothing more comes.
  public func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelImageError) -> Int {
    let count = try decoder.fill(buffer, from: source)
    total += count
    if total > limit { throw .tooLarge(limit: limit) }
    if count == 0 { try checkEnd() }
    return count
  }

  private func checkEnd() throws(KernelImageError) {
    guard source.isAtEnd else { throw .unpacking(packing.format, "there is more behind its end") }
    guard total > 0 else { throw .unpacking(packing.format, "there is nothing in it") }
    if let size = packing.statedSize, size != total {
      throw .unpacking(packing.format, "\(total) bytes instead of \(size)")
    }
  }
}

/// Memory that a decoder may take for its dictionary, in bytes: Linux is packed with 128 MiB at most (scripts/xz_wrap.sh,
/// `zstd -22 --ultra`).
let mostMemory = 160 << 20

/// Brings out what bytes of one format hold.
protocol Decoder: AnyObject {
  /// As ``KernelUnpacker/read(into:)``.
  func fill<Content>(
    _ buffer: UnsafeMutableRawBufferPointer, from source: PackedBytes<Content>
  ) throws(KernelImageError) -> Int
}

private func makeDecoder(_ format: KernelPacking.Format) throws(KernelImageError) -> any Decoder {
  switch format {
  case .gzip: StreamDecoder(try GzipStream())
  case .bzip2: StreamDecoder(try Bzip2Stream())
  case .lzma, .xz: StreamDecoder(try LZMAStream(format))
  case .zstd: StreamDecoder(try ZstdStream())
  case .lz4: BlockDecoder(LZ4Blocks())
  case .lzo: BlockDecoder(LZOBlocks())
  case .uncompressed: PlainDecoder()
  }
}

/// The packed bytes, one after another.
final class PackedBytes<Content: ImageContent> {
  let format: KernelPacking.Format
  private let content: Content
  private let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
  /// What of the content is still to come, what the block holds of it included.
  private var rest: Range<Int>
  /// What of the block is still to be taken.
  private var held = 0..<0

  init(_ content: Content, _ range: Range<Int>, _ format: KernelPacking.Format) {
    self.content = content
    self.format = format
    rest = range
  }

  deinit { block.deallocate() }

  var isAtEnd: Bool { rest.isEmpty }
  /// Bytes still to come.
  var count: Int { rest.count }

  /// Some of the next bytes, until the next call; none at the end.
  func next() throws(KernelImageError) -> UnsafeRawBufferPointer {
    if held.isEmpty, !rest.isEmpty {
      let count = min(block.count, rest.count)
      do throws(ImageReadError) {
        try content.read(at: rest.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: block[..<count]))
      } catch {
        throw .unreadable(error)
      }
      held = 0..<count
    }
    return UnsafeRawBufferPointer(rebasing: block[held])
  }

  /// Goes on behind `count` of the bytes that `next` gave.
  func skip(_ count: Int) {
    held = held.lowerBound + count..<held.upperBound
    rest = rest.lowerBound + count..<rest.upperBound
  }

  /// The next bytes, as many as `buffer` holds.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(KernelImageError) {
    guard buffer.count <= rest.count else { throw .unpacking(format, "cut short") }
    var done = 0
    while done < buffer.count {
      let bytes = try next().prefix(buffer.count - done)
      UnsafeMutableRawBufferPointer(rebasing: buffer[done...]).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: bytes))
      done += bytes.count
      skip(bytes.count)
    }
  }

  /// Goes on behind the next `count` bytes.
  func ignore(_ count: Int) throws(KernelImageError) {
    guard count <= rest.count else { throw .unpacking(format, "cut short") }
    var left = count
    while left > 0 {
      let count = min(left, try next().count)
      skip(count)
      left -= count
    }
  }

  /// The next integer, the lowest byte first.
  func integer<Value: FixedWidthInteger & BitwiseCopyable>(_ type: Value.Type) throws(KernelImageError) -> Value {
    var value: Value = 0
    try withUnsafeMutableBytes(of: &value) { bytes throws(KernelImageError) in try read(into: bytes) }
    return Value(littleEndian: value)
  }
}

private final class PlainDecoder: Decoder {
  func fill<Content>(
    _ buffer: UnsafeMutableRawBufferPointer, from source: PackedBytes<Content>
  ) throws(KernelImageError) -> Int {
    let count = min(buffer.count, source.count)
    try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
    return count
  }
}
