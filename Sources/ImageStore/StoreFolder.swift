import Glibc
import Synchronization

/// What images without a name may take together, in bytes.
final class Quota: Sendable {
  let limit: Int
  private let used = Mutex(0)

  init(limit: Int) { self.limit = limit }

  /// Counts what is there already, however much it is.
  func note(_ bytes: Int) { used.withLock { $0 += bytes } }

  func take(_ bytes: Int) throws(ImageStoreError) {
    try used.withLock { used throws(ImageStoreError) in
      guard used <= limit - bytes else { throw .quotaUsed(limit: limit) }
      used += bytes
    }
  }

  func check(_ bytes: Int) throws(ImageStoreError) {
    guard used.withLock({ $0 }) <= limit - bytes else { throw .quotaUsed(limit: limit) }
  }

  func giveBack(_ bytes: Int) { used.withLock { $0 -= bytes } }
}

/// A folder of the store, and what may still be put there.
struct StoreFolder: Sendable {
  let path: String
  /// Nil where only the disk sets a limit.
  let quota: Quota?
  /// Bytes that a packed kernel may unpack to.
  let mostUnpacked: Int

  /// Refuses what there is no room for.
  func check(_ bytes: Int) throws(ImageStoreError) {
    try checkDisk(bytes)
    try quota?.check(bytes)
  }

  /// Takes room for bytes that are about to be written.
  ///
  /// - Returns: what of it the quota has to be given back.
  func reserve(_ bytes: Int) throws(ImageStoreError) -> Int {
    try checkDisk(bytes)
    guard let quota else { return 0 }
    try quota.take(bytes)
    return bytes
  }

  private func checkDisk(_ bytes: Int) throws(ImageStoreError) {
    var disk = statvfs()
    guard statvfs(path, &disk) == 0 else { throw .file("read free space of", path, errno) }
    // What has no size, such as the ramfs of an initramfs, says 0. Blocks are counted, as bytes might overflow.
    guard disk.f_blocks > 0, disk.f_frsize > 0 else { return }
    let left = min(UInt64(ImageStore.leftFree) / UInt64(disk.f_frsize), UInt64(disk.f_blocks) / 16)
    guard UInt64(disk.f_bavail) >= UInt64(bytes) / UInt64(disk.f_frsize) + left else { throw .diskFull(path) }
  }
}

/// A file of a folder that has no name: gone when nobody has it open any more, be it by a crash.
final class NamelessFile {
  private static let made = Atomic(0)
  /// -1 when it was taken away.
  private(set) var descriptor: Int32
  private(set) var reserved = 0
  private let folder: StoreFolder

  init(in folder: StoreFolder) throws(ImageStoreError) {
    self.folder = folder
    // Named as an upload until it has no name: the next daemon removes it should this one end in between.
    let number = Self.made.add(1, ordering: .relaxed).newValue
    let path = "\(folder.path)/.upload-unpacked-\(getpid())-\(number)"
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .file("create", path, errno) }
    unlink(path)
  }

  deinit {
    guard descriptor >= 0 else { return }
    close(descriptor)
    folder.quota?.giveBack(reserved)
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws(ImageStoreError) {
    reserved += try folder.reserve(bytes.count)
    try writeAll(bytes, to: descriptor, "a file in \(folder.path)")
  }

  /// Leaves descriptor and what was reserved to the caller.
  func release() -> Int32 {
    defer { descriptor = -1 }
    return descriptor
  }
}

/// - Parameter path: what an error says was written to.
func writeAll(_ bytes: UnsafeRawBufferPointer, to file: Int32, _ path: String) throws(ImageStoreError) {
  var rest = bytes
  while !rest.isEmpty {
    let written = write(file, rest.baseAddress, rest.count)
    if written < 0 {
      if errno == EINTR { continue }
      throw .file("write", path, errno)
    }
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
  }
}
