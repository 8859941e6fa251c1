import Glibc
import Synchronization

/// The images chaosd holds: files named by their digest, and names that point at digests.
///
/// Named images live under the store's own folder; anonymous ones (uploaded for one create) under a folder on
/// tmpfs and only as long as something uses them. A name is a symbolic link, so that giving it another image is
/// one rename.
public final class ImageStore: Sendable {
  /// Largest image taken, in bytes.
  public static let maxSize = 1 << 30

  private let named, anonymous: String
  private let state = Mutex(State())

  private struct State {
    /// Images mapped so far.
    var loaded: [Key: StoredImage] = [:]
    /// When an anonymous image was last uploaded or asked for, in monotonic seconds.
    var touched: [ImageDigest: Int] = [:]
    var uploads = 0
  }

  private struct Key: Hashable {
    let digest: ImageDigest
    let isKernel: Bool
  }

  /// An image with a name.
  public struct Entry: Sendable {
    public let name: String
    public let image: StoredImage
    /// Seconds since 1970.
    public let added: Int
  }

  /// - Parameters:
  ///   - named: folder for images with names (created when missing).
  ///   - anonymous: folder for the others; emptied of unfinished uploads.
  public init(named: String, anonymous: String) throws(ImageStoreError) {
    self.named = named
    self.anonymous = anonymous
    for folder in [named, anonymous] { try Self.makeFolders(folder) }
    for folder in [named, anonymous] {
      for file in Self.files(in: folder) where file.hasPrefix(".upload-") { unlink("\(folder)/\(file)") }
    }
  }

  private static func makeFolders(_ path: String) throws(ImageStoreError) {
    var partial = ""
    for part in path.split(separator: "/") {
      partial += "/\(part)"
      if mkdir(partial, 0o755) < 0 && errno != EEXIST { throw .file("create folder", partial, errno) }
    }
  }

  private static func files(in folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  // MARK: Finding

  /// The image a request means: a name of the store, or `sha256:` and a digest.
  public func find(_ reference: String, isKernel: Bool = true) throws(ImageStoreError) -> StoredImage {
    if reference.hasPrefix("sha256:") {
      guard let digest = ImageDigest(reference) else { throw .unknown(reference) }
      return try load(digest, isKernel: isKernel, reference: reference)
    }
    guard let digest = digest(ofName: reference) else { throw .unknown(reference) }
    return try load(digest, isKernel: isKernel, reference: reference)
  }

  /// Whether a name can stand in the named folder beside images and unfinished uploads.
  private static func isName(_ name: String) -> Bool {
    guard let first = name.utf8.first, first != UInt8(ascii: "."), ImageDigest(name) == nil else { return false }
    return !name.utf8.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
  }

  private func digest(ofName name: String) -> ImageDigest? {
    guard Self.isName(name) else { return nil }
    var buffer = [CChar](repeating: 0, count: 128)
    let length = readlink("\(named)/\(name)", &buffer, buffer.count)
    guard length > 0 else { return nil }
    return ImageDigest(String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self))
  }

  private func load(
    _ digest: ImageDigest, isKernel: Bool, reference: String
  ) throws(ImageStoreError) -> StoredImage {
    let key = Key(digest: digest, isKernel: isKernel)
    return try state.withLock { state throws(ImageStoreError) in
      if state.touched[digest] != nil { state.touched[digest] = Self.now() }
      if let image = state.loaded[key] { return image }
      guard let path = path(of: digest) else { throw .unknown(reference) }
      let image = try StoredImage(path: path, digest: digest, isKernel: isKernel)
      state.loaded[key] = image
      return image
    }
  }

  private func path(of digest: ImageDigest) -> String? {
    ["\(named)/\(digest.hexadecimal)", "\(anonymous)/\(digest.hexadecimal)"].first { access($0, F_OK) == 0 }
  }

  /// The named images, by name.
  public func list() -> [Entry] {
    Self.files(in: named).compactMap { name in
      guard let digest = digest(ofName: name), let image = try? load(digest, isKernel: true, reference: name)
      else { return nil }
      var status = stat()
      lstat("\(named)/\(name)", &status)
      return Entry(name: name, image: image, added: status.st_mtim.tv_sec)
    }
  }

  // MARK: Adding

  /// An image on its way in. Nothing of it stays unless it is committed.
  public final class Upload {
    fileprivate let file: Int32
    fileprivate let path: String
    fileprivate var digest = DigestBuilder()
    private var size = 0

    fileprivate init(folder: String, number: Int) throws(ImageStoreError) {
      path = "\(folder)/.upload-\(getpid())-\(number)"
      file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
      if file < 0 { throw .file("create", path, errno) }
    }

    deinit {
      close(file)
      unlink(path)
    }

    public func append(_ bytes: UnsafeRawBufferPointer) throws(ImageStoreError) {
      size += bytes.count
      if size > ImageStore.maxSize { throw .tooLarge(limit: ImageStore.maxSize) }
      digest.append(bytes)
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
  }

  /// - Parameter isNamed: whether the image will get a name, which decides where it is kept.
  public func beginUpload(isNamed: Bool) throws(ImageStoreError) -> Upload {
    let number = state.withLock { state in
      state.uploads += 1
      return state.uploads
    }
    return try Upload(folder: isNamed ? named : anonymous, number: number)
  }

  /// Takes an uploaded image in, under a name if one is given.
  ///
  /// - Throws: `.notAKernel` when a kernel was announced and the bytes are none, `.file` with EINVAL when the
  ///   name is no file name; nothing is kept then.
  public func commit(
    _ upload: Upload, name: String?, isKernel: Bool
  ) throws(ImageStoreError) -> StoredImage {
    if let name, !Self.isName(name) { throw .file("name image", name, EINVAL) }
    let digest = upload.digest.finish()
    let image = try StoredImage(path: upload.path, digest: digest, isKernel: isKernel)
    let folder = name == nil ? anonymous : named
    let path = "\(folder)/\(digest.hexadecimal)"
    try state.withLock { state throws(ImageStoreError) in
      if rename(upload.path, path) < 0 { throw .file("store image", path, errno) }
      let key = Key(digest: digest, isKernel: isKernel)
      if state.loaded[key] == nil { state.loaded[key] = image }
      if let name {
        try link(name, to: digest, number: state.uploads)
        removeUnnamed(&state)
      } else {
        state.touched[digest] = Self.now()
      }
    }
    return image
  }

  private func link(_ name: String, to digest: ImageDigest, number: Int) throws(ImageStoreError) {
    let temporary = "\(named)/.upload-link-\(getpid())-\(number)"
    unlink(temporary)
    if symlink(digest.hexadecimal, temporary) < 0 || rename(temporary, "\(named)/\(name)") < 0 {
      let code = errno
      unlink(temporary)
      throw .file("name image", name, code)
    }
  }

  // MARK: Removing

  /// Forgets a name, and the image when no other name has it.
  public func remove(_ name: String) throws(ImageStoreError) {
    guard digest(ofName: name) != nil else { throw .unknown(name) }
    try state.withLock { state throws(ImageStoreError) in
      if unlink("\(named)/\(name)") < 0 { throw .file("remove image", name, errno) }
      removeUnnamed(&state)
    }
  }

  /// Removes files of the named folder that no name points at.
  private func removeUnnamed(_ state: inout State) {
    let files = Self.files(in: named)
    let used = Set(files.compactMap { digest(ofName: $0) })
    for file in files {
      if let digest = ImageDigest(file), !used.contains(digest) {
        unlink("\(named)/\(file)")
        Self.forget(digest, &state)
      }
    }
  }

  private static func forget(_ digest: ImageDigest, _ state: inout State) {
    state.loaded[Key(digest: digest, isKernel: true)] = nil
    state.loaded[Key(digest: digest, isKernel: false)] = nil
  }

  /// Removes anonymous images that nothing uses and that nobody asked for in the last minute.
  public func removeUnused(inUse: Set<ImageDigest>) {
    for file in Self.files(in: anonymous) {
      guard let digest = ImageDigest(file), !inUse.contains(digest) else { continue }
      state.withLock { state in
        if let touched = state.touched[digest], Self.now() - touched < 60 { return }
        unlink("\(anonymous)/\(file)")
        state.touched[digest] = nil
        Self.forget(digest, &state)
      }
    }
  }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec
  }
}
