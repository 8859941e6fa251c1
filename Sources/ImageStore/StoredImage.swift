import DomainBuilder
import Glibc
import Synchronization

/// An image of the store.
///
/// Files of the store are written only once, before they have their digest's name; but a disk fails, and root can
/// write anything. So bytes are read and never mapped, their digest is checked when the file is first opened, and
/// again when its status says that it was written since.
///
/// Digest and size are those of the file as people have it. A kernel that is packed in it is unpacked once, when the
/// image is opened, into a file without a name beside it.
public final class StoredImage: Sendable {
  public let digest: ImageDigest
  public let size: Int
  /// What the image is as a kernel; nil for a ramdisk, and for a packed kernel that is only listed.
  public let kernel: KernelImage?
  private let file: ImageFile
  /// What a packed kernel unpacked to, and how that file was when it had.
  private let unpacked: Unpacked?
  /// How the file was when its bytes were last known to be those of the digest.
  private let sound: Mutex<FileStatus>

  private typealias Unpacked = (file: ImageFile, status: FileStatus)

  /// - Parameters:
  ///   - isKnown: the bytes are known to be those of the digest, and are not read to find out.
  ///   - folder: where a packed kernel is unpacked; nil when nobody is going to need what it holds.
  /// - Throws: ``ImageStoreError`` when the file cannot be read, is damaged or, for a kernel, cannot be booted, or
  ///   cannot be unpacked for want of room.
  init(
    path: String, digest: ImageDigest, isKernel: Bool, isKnown: Bool = false, unpackingIn folder: StoreFolder?
  ) throws(ImageStoreError) {
    let file = try ImageFile(path)
    let status = try file.status()
    if !isKnown { try Self.check(file, digest) }
    self.digest = digest
    self.file = file
    size = file.byteCount
    (kernel, unpacked) = isKernel ? try Self.open(file, digest, unpackingIn: folder) : (nil, nil)
    // What was parsed is what was checked.
    sound = Mutex(try Self.statusOfSame(file, digest, since: status))
  }

  /// What a kernel's file holds; nothing is known of a packed one that has no folder to be unpacked in.
  private static func open(
    _ file: ImageFile, _ digest: ImageDigest, unpackingIn folder: StoreFolder?
  ) throws(ImageStoreError) -> (KernelImage?, Unpacked?) {
    let packing = try kernelResult(of: digest) { () throws(KernelImageError) in try KernelPacking(of: file) }
    guard let packing else {
      return (try kernelResult(of: digest) { () throws(KernelImageError) in try KernelImage(parsing: file) }, nil)
    }
    guard let folder else { return (nil, nil) }
    let whole = try ImageFile(unpacking: file, packing, digest, in: folder)
    let kernel = try kernelResult(of: digest) { () throws(KernelImageError) in try KernelImage(parsing: whole) }
    return (kernel, (whole, try whole.status()))
  }

  /// What was found out of a kernel, or why it was not, as the store says it.
  fileprivate static func kernelResult<Result>(
    of digest: ImageDigest, _ body: () throws(KernelImageError) -> Result
  ) throws(ImageStoreError) -> Result {
    do throws(KernelImageError) {
      return try body()
    } catch .unreadable(let error) {
      throw ImageStoreError(digest, error)
    } catch {
      throw .notAKernel(error)
    }
  }

  /// To be called when the file was renamed, which changes its status and not its bytes.
  func noteRename() throws(ImageStoreError) {
    let status = try file.status()
    sound.withLock { $0 = status }
  }

  /// Hands over the image's bytes, to be read as they are needed during `body`: those of the ELF file when it is a
  /// packed kernel.
  ///
  /// - Throws: what `body` throws, or ``ImageStoreError/damaged(_:)`` when the bytes are not, or may in the
  ///   meantime not have been, those of the image.
  public func withBytes<Result>(_ body: (ImageFile) throws -> Result) throws -> Result {
    let before = try checkedStatus()
    let result: Result
    do {
      result = try body(unpacked?.file ?? file)
    } catch let error as ImageReadError {
      throw ImageStoreError(digest, error)
    }
    let after = try Self.statusOfSame(file, digest, since: before)
    if after != before { sound.withLock { $0 = after } }
    if let unpacked, try unpacked.file.status() != unpacked.status { throw ImageStoreError.damaged(digest) }
    return result
  }

  /// The file's status, with its bytes known to be those of the digest.
  private func checkedStatus() throws(ImageStoreError) -> FileStatus {
    let status = try file.status()
    if sound.withLock({ $0 == status }) { return status }
    try Self.check(file, digest)
    sound.withLock { $0 = status }
    return status
  }

  /// The file's status now, nobody having written to it since it had that other one.
  ///
  /// One whose place another copy of the same image took meanwhile has lost its name, which its status tells too: then
  /// the bytes decide.
  private static func statusOfSame(
    _ file: ImageFile, _ digest: ImageDigest, since before: FileStatus
  ) throws(ImageStoreError) -> FileStatus {
    let now = try file.status()
    if now == before { return now }
    guard now.size == before.size, now.modified == before.modified else { throw .damaged(digest) }
    try check(file, digest)
    return now
  }

  private static func check(_ file: ImageFile, _ digest: ImageDigest) throws(ImageStoreError) {
    let found: ImageDigest
    do throws(ImageReadError) {
      found = try file.digest()
    } catch {
      throw ImageStoreError(digest, error)
    }
    guard found == digest else { throw .damaged(digest) }
  }
}

/// What of a file's status changes when somebody writes to it.
struct FileStatus: Equatable {
  let size: Int
  let modified, changed: [Int]

  init(_ status: stat) {
    size = Int(status.st_size)
    modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
  }
}

/// An open file of the store.
public final class ImageFile: ImageContent, Sendable {
  private let descriptor: Int32
  private let path: String
  /// When it was opened.
  public let byteCount: Int
  private let quota: Quota?
  /// What the file takes of the quota as long as it is open, in bytes.
  private let reserved: Int

  fileprivate init(_ path: String) throws(ImageStoreError) {
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { throw .file("open image", path, errno) }
    self.path = path
    quota = nil
    reserved = 0
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw .file("read size of image", path, code)
    }
    byteCount = Int(status.st_size)
  }

  /// What a packed kernel holds, unpacked into a file without a name.
  fileprivate init(
    unpacking packed: ImageFile, _ packing: KernelPacking, _ digest: ImageDigest, in folder: StoreFolder
  ) throws(ImageStoreError) {
    let target = try NamelessFile(in: folder)
    byteCount = try target.fill(unpacking: packed, packing, digest, limit: folder.mostUnpacked)
    path = "what \(packed.path) unpacked to"
    quota = folder.quota
    reserved = target.reserved
    descriptor = target.release()
  }

  deinit {
    close(descriptor)
    quota?.giveBack(reserved)
  }

  fileprivate func status() throws(ImageStoreError) -> FileStatus {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .file("read status of image", path, errno) }
    return FileStatus(status)
  }

  public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(ImageReadError) {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, offset + done)
      if count < 0 {
        if errno == EINTR { continue }
        throw ImageReadError(errno: errno, "read \(path): \(String(cString: strerror(errno)))")
      }
      if count == 0 { throw ImageReadError(errno: nil, "read \(path): the file has become shorter") }
      done += count
    }
  }

  fileprivate func digest() throws(ImageReadError) -> ImageDigest {
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { piece.deallocate() }
    var builder = DigestBuilder()
    for start in stride(from: 0, to: byteCount, by: piece.count) {
      let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, byteCount - start)])
      try read(at: start, into: part)
      builder.append(UnsafeRawBufferPointer(part))
    }
    return builder.finish()
  }
}

extension NamelessFile {
  /// - Returns: how many bytes came out.
  fileprivate func fill(
    unpacking packed: ImageFile, _ packing: KernelPacking, _ digest: ImageDigest, limit: Int
  ) throws(ImageStoreError) -> Int {
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { piece.deallocate() }
    let unpacker = try StoredImage.kernelResult(of: digest) { () throws(KernelImageError) in
      try KernelUnpacker(packed, packing, limit: limit)
    }
    var total = 0
    while true {
      let count = try StoredImage.kernelResult(of: digest) { () throws(KernelImageError) in
        try unpacker.read(into: piece)
      }
      if count == 0 { return total }
      try append(UnsafeRawBufferPointer(rebasing: piece[..<count]))
      total += count
    }
  }
}

/// Why an image was not taken or not found.
public enum ImageStoreError: Error, CustomStringConvertible {
  case file(String, String, Int32)
  case notAKernel(KernelImageError)
  case tooLarge(limit: Int)
  /// Images without a name take all that they may.
  case quotaUsed(limit: Int)
  /// So little would be left of the disk that others of its users would fail.
  case diskFull(String)
  case unknown(String)
  /// The stored bytes are not those that were stored.
  case damaged(ImageDigest)
  case unreadable(ImageDigest, ImageReadError)

  /// A file that ends early is damaged as one with other bytes is.
  fileprivate init(_ digest: ImageDigest, _ error: ImageReadError) {
    self = error.errno == nil ? .damaged(digest) : .unreadable(digest, error)
  }

  public var description: String {
    switch self {
    case .file(let operation, let path, let code): "\(operation) \(path): \(String(cString: strerror(code)))"
    case .notAKernel(let error): error.description
    case .tooLarge(let limit): "larger than \(limit >> 20) MiB"
    case .quotaUsed(let limit): "images without a name would take more than \(limit >> 20) MiB together"
    case .diskFull(let folder): "too little room is left on the disk of \(folder)"
    case .unknown(let reference): "no such image: '\(reference)'"
    case .damaged(let digest): "the stored image \(digest) is damaged: add it again"
    case .unreadable(let digest, let error): "the stored image \(digest) cannot be read: \(error)"
    }
  }
}
