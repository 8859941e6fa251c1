import Glibc

/// A guest's console log: a file that chaosd opened, bounded, keeping the newest output.
struct ConsoleLog: ~Copyable {
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
  mutating func append(_ bytes: [UInt8]) {
    if size + bytes.count > Self.capacity { dropOldHalf() }
    let written = pwrite(file.raw, bytes, bytes.count, off_t(size))
    if written > 0 { size += written }
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
    let kept = read(from: size - Self.capacity / 2)
    guard ftruncate(file.raw, 0) == 0 else { return }
    size = max(0, pwrite(file.raw, kept, kept.count, 0))
  }
}
