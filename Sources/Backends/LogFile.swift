import Glibc

/// The file of a guest's console log, which chaosd opened: bounded, keeping the newest output. Its calls can block as
/// long as its file system does.
struct LogFile: ~Copyable {
  /// The file grows to this many bytes and then keeps its newest half.
  static let capacity = 128 << 10

  private let file: Descriptor
  private var size: Int

  init(adopting file: consuming Descriptor) {
    let length = lseek(file.raw, 0, SEEK_END)
    self.file = file
    size = max(0, Int(length))
  }

  /// Appends; output that cannot be stored (a full disk) is lost to the log, not to attached consoles.
  ///
  /// - Returns: how many bytes were stored.
  mutating func append(_ bytes: [UInt8]) -> Int {
    if size + bytes.count > Self.capacity { dropOldHalf() }
    let written = max(0, pwrite(file.raw, bytes, bytes.count, off_t(size)))
    size += written
    return written
  }

  /// Everything kept.
  func contents() -> [UInt8] { read(from: 0) }

  private func read(from offset: Int) -> [UInt8] {
    let count = max(0, size - offset)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = max(0, pread(file.raw, buffer.baseAddress, count, off_t(offset)))
    }
  }

  private mutating func dropOldHalf() {
    let kept = read(from: max(0, size - Self.capacity / 2))
    guard ftruncate(file.raw, 0) == 0 else { return }
    size = max(0, pwrite(file.raw, kept, kept.count, 0))
  }
}
