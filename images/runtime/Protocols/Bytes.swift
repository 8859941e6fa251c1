/// A run of memory whose contents somebody else chose.
///
/// Access is total: what lies outside reads as zero and is not written. Parsers still check every length
/// first; this is what keeps a mistake in one of them from ending the guest or leaving the buffer.
struct Bytes {
  private let start: UnsafeMutableRawPointer
  let count: Int

  init(start: UnsafeMutableRawPointer, count: Int) {
    self.start = start
    self.count = count
  }

  @inline(__always)
  private func holds(_ offset: Int, _ length: Int) -> Bool {
    offset >= 0 && length >= 0 && length <= count && offset <= count &- length
  }

  @inline(__always)
  private func load<Value: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, _: Value.Type
  ) -> Value {
    guard holds(offset, MemoryLayout<Value>.size) else { return 0 }
    return start.loadUnaligned(fromByteOffset: offset, as: Value.self)
  }

  @inline(__always)
  private func store<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ value: Value) {
    guard holds(offset, MemoryLayout<Value>.size) else { return }
    start.storeBytes(of: value, toByteOffset: offset, as: Value.self)
  }

  // Network order.
  func byte(_ offset: Int) -> UInt8 { load(offset, UInt8.self) }
  func big16(_ offset: Int) -> UInt16 { load(offset, UInt16.self).bigEndian }
  func big32(_ offset: Int) -> UInt32 { load(offset, UInt32.self).bigEndian }
  func big64(_ offset: Int) -> UInt64 { load(offset, UInt64.self).bigEndian }
  func setByte(_ offset: Int, _ value: UInt8) { store(offset, value) }
  func setBig16(_ offset: Int, _ value: UInt16) { store(offset, value.bigEndian) }
  func setBig32(_ offset: Int, _ value: UInt32) { store(offset, value.bigEndian) }
  func setBig64(_ offset: Int, _ value: UInt64) { store(offset, value.bigEndian) }

  // The device page's order.
  func little16(_ offset: Int) -> UInt16 { load(offset, UInt16.self).littleEndian }
  func little32(_ offset: Int) -> UInt32 { load(offset, UInt32.self).littleEndian }
  func little64(_ offset: Int) -> UInt64 { load(offset, UInt64.self).littleEndian }

  /// The bytes from `offset` on, at most `length` of them.
  func part(from offset: Int, length: Int = .max) -> Bytes {
    let first = min(max(offset, 0), count)
    return Bytes(start: start + first, count: min(max(length, 0), count - first))
  }

  /// Moves `length` bytes within the run; nothing happens unless both places lie inside.
  func move(from source: Int, to target: Int, length: Int) {
    guard holds(source, length), holds(target, length) else { return }
    (start + target).copyMemory(from: start + source, byteCount: length)
  }

  /// The sum that Internet checksums are made of (RFC 1071), not yet folded. Bytes are taken in memory
  /// order: the sum is byte-order independent, and `Checksum.finish` puts it right.
  func internetSum(from offset: Int, length: Int) -> UInt64 {
    guard holds(offset, length) else { return 0 }
    var sum: UInt64 = 0
    var position = offset
    let end = offset &+ length
    while end &- position >= 4 {
      sum &+= UInt64(start.loadUnaligned(fromByteOffset: position, as: UInt32.self))
      position &+= 4
    }
    if end &- position >= 2 {
      sum &+= UInt64(start.loadUnaligned(fromByteOffset: position, as: UInt16.self))
      position &+= 2
    }
    if position < end {
      sum &+= UInt64(UInt16(byte(position)).littleEndian)
    }
    return sum
  }
}
