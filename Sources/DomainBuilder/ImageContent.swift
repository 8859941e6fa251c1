/// The bytes of an image, read as they are needed: an image may be larger than the memory to spare, and a file that
/// is mapped kills its reader when somebody cuts it short.
public protocol ImageContent {
  var byteCount: Int { get }

  /// Fills `buffer` with the bytes from `offset` on, all of which lie in the content.
  func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(ImageReadError)
}

/// Why an image's bytes are not there.
public struct ImageReadError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What the system answered; nil when the file has become shorter than it was.
  public let errno: Int32?
  public let description: String

  public init(errno: Int32?, _ description: String) {
    self.errno = errno
    self.description = description
  }
}

extension UnsafeRawBufferPointer: ImageContent {
  public var byteCount: Int { count }

  public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(ImageReadError) {
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: self[offset..<offset + buffer.count]))
  }
}

/// Integers of an image, read a block at a time.
final class IntegerReader<Content: ImageContent> {
  private let content: Content
  private let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
  /// What of the content the block holds, from the block's start.
  private var held = 0..<0
  /// The first read that failed: what is missing then does not mean that the image is malformed.
  private(set) var failure: ImageReadError?

  init(_ content: Content) { self.content = content }

  deinit { block.deallocate() }

  var byteCount: Int { content.byteCount }

  /// A little-endian integer at a byte offset; nil when it does not lie in the image, or cannot be read.
  func integer<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: UInt64, as type: Value.Type) -> Value? {
    let size = MemoryLayout<Value>.size
    guard let start = Int(exactly: offset), start <= byteCount - size, hold(start..<start + size) else {
      return nil
    }
    return Value(littleEndian: block.loadUnaligned(fromByteOffset: start - held.lowerBound, as: type))
  }

  /// Has the block hold a range, which is shorter than it and lies in the content.
  private func hold(_ range: Range<Int>) -> Bool {
    if held.lowerBound <= range.lowerBound, range.upperBound <= held.upperBound { return true }
    guard failure == nil else { return false }
    let count = min(block.count, byteCount - range.lowerBound)
    do throws(ImageReadError) {
      try content.read(at: range.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: block[..<count]))
    } catch {
      failure = error
      return false
    }
    held = range.lowerBound..<range.lowerBound + count
    return true
  }
}
