import DomainBuilder
import Glibc

/// An image of the store, mapped read-only. Files of the store are never written again once they have their
/// digest's name, so that the mapping does not change under a reader.
///
/// Invariant: `base` points at `size` mapped bytes until `deinit` (nil when `size` is 0).
public final class StoredImage: @unchecked Sendable {
  public let digest: ImageDigest
  public let size: Int
  /// What the image is as a kernel; nil for a ramdisk.
  public let kernel: KernelImage?
  private let base: UnsafeMutableRawPointer?

  /// - Throws: ``ImageStoreError`` when the file cannot be mapped or, for a kernel, loaded.
  init(path: String, digest: ImageDigest, isKernel: Bool) throws(ImageStoreError) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw .file("open image", path, errno) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw .file("read size of image", path, errno) }
    size = Int(status.st_size)
    if size > 0 {
      let mapped = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0)
      guard mapped != MAP_FAILED else { throw .file("map image", path, errno) }
      base = mapped
    } else {
      base = nil
    }
    self.digest = digest
    let bytes = UnsafeRawBufferPointer(start: base, count: size)
    guard isKernel else {
      kernel = nil
      return
    }
    do {
      kernel = try KernelImage(parsing: bytes.bytes)
    } catch {
      if let base { munmap(base, size) }
      throw .notAKernel(error)
    }
  }

  deinit { if let base { munmap(base, size) } }

  /// The image's bytes, valid during `body`.
  public func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: base, count: size))
  }
}

/// Why an image was not taken or not found.
public enum ImageStoreError: Error, CustomStringConvertible {
  case file(String, String, Int32)
  case notAKernel(KernelImageError)
  case tooLarge(limit: Int)
  case unknown(String)

  public var description: String {
    switch self {
    case .file(let operation, let path, let code): "\(operation) \(path): \(String(cString: strerror(code)))"
    case .notAKernel(let error): error.description
    case .tooLarge(let limit): "larger than \(limit >> 20) MiB"
    case .unknown(let reference): "no such image: '\(reference)'"
    }
  }
}
