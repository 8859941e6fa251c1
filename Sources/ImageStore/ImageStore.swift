import Glibc
import Synchronization

/// The images chaosd holds: files named by their digest, and names that point at digests.
///
/// Named images live under the store's own folder, and are on the disk before anybody hears that they were taken;
/// anonymous ones (uploaded for one create) under another, only as long as something uses them, and may take so
/// much together. A name is a symbolic link, so that giving it another image is one rename.
public final class ImageStore: Sendable {
  /// Largest image taken, in bytes.
  public static let maxSize = 1 << 30
  /// What anonymous images may take together where nobody says, in bytes.
  public static let usualQuota = 4 << 30
  /// What an upload leaves free on a disk, in bytes, or a sixteenth of a small one: a full disk is everybody's
  /// trouble.
  public static let leftFree = 64 << 20

  private let named, anonymous: String
  /// Where anonymous images were kept before: found there, and removed when nothing uses them, but never added.
  private let former: String?
  private let quota: Quota
  /// Bytes that a packed kernel may unpack to.
  private let mostUnpacked: Int
  private let flush: @Sendable (Int32) -> Int32
  private let state: Mutex<State>
  /// Held while names and the files they point at change, which may take as long as a disk does; how many names
  /// were given.
  private let naming = Mutex(0)
  /// Held while an image is opened: creates that want the same one would each read, and unpack, all of it.
  private let opening = Mutex(())

  private struct State {
    /// Images opened so far.
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
  ///   - former: another folder that still holds some of the others; nil for none.
  ///   - quota: bytes that the others may take together.
  public convenience init(
    named: String, anonymous: String, former: String? = nil, quota: Int = usualQuota
  ) throws(ImageStoreError) {
    try self.init(named: named, anonymous: anonymous, former: former, quota: quota, flush: { fsync($0) })
  }

  /// - Parameters:
  ///   - mostUnpacked: bytes that a packed kernel may unpack to.
  ///   - flush: fsync(2), which a test lets fail.
  init(
    named: String, anonymous: String, former: String? = nil, quota: Int = usualQuota,
    mostUnpacked: Int = maxSize, flush: @escaping @Sendable (Int32) -> Int32
  ) throws(ImageStoreError) {
    self.named = named
    self.anonymous = anonymous
    self.former = former
    self.mostUnpacked = mostUnpacked
    self.flush = flush
    self.quota = Quota(limit: quota)
    for folder in [named, anonymous] { try Self.makeFolders(folder) }
    for folder in [named, anonymous] {
      for file in Self.files(in: folder) where file.hasPrefix(".upload-") { unlink("\(folder)/\(file)") }
    }
    state = Mutex(State())
    self.quota.note(Self.files(in: anonymous).reduce(0) { $0 + Self.size("\(anonymous)/\($1)") })
  }

  /// 0 for what is not there.
  private static func size(_ path: String) -> Int {
    var status = stat()
    return lstat(path, &status) == 0 ? Int(status.st_size) : 0
  }

  private static func makeFolders(_ path: String) throws(ImageStoreError) {
    var partial = ""
    for part in path.split(separator: "/") {
      partial += "/\(part)"
      if mkdir(partial, 0o755) < 0 && errno != EEXIST { throw .file("create folder", partial, errno) }
    }
  }

  /// None when the folder cannot be read, which does for cleaning up.
  private static func files(in folder: String) -> [String] { (try? list(folder)) ?? [] }

  private static func list(_ folder: String) throws(ImageStoreError) -> [String] {
    guard let directory = opendir(folder) else { throw .file("open folder", folder, errno) }
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
    let known = state.withLock { state in
      if state.touched[digest] != nil { state.touched[digest] = Self.now() }
      return state.loaded[key]
    }
    if let known { return known }
    // Outside the state's lock, as all of the file is read to find out whether it is damaged.
    return try opening.withLock { _ throws(ImageStoreError) in
      // Another may have been quicker.
      if let image = state.withLock({ $0.loaded[key] }) { return image }
      let image = try open(digest, isKernel: isKernel, reference: reference)
      return state.withLock { state in
        // Or a good copy have come in.
        if let image = state.loaded[key] { return image }
        state.loaded[key] = image
        return image
      }
    }
  }

  /// The first of the digest's files that is sound; where none is, what is wrong with the first.
  private func open(_ digest: ImageDigest, isKernel: Bool, reference: String) throws(ImageStoreError) -> StoredImage
  {
    var problem: ImageStoreError?
    for path in paths(of: digest) {
      let folder = path.hasPrefix("\(named)/") ? namedFolder : anonymousFolder
      do throws(ImageStoreError) {
        return try StoredImage(path: path, digest: digest, isKernel: isKernel, unpackingIn: folder)
      } catch {
        problem = problem ?? error
      }
    }
    throw problem ?? .unknown(reference)
  }

  private func paths(of digest: ImageDigest) -> [String] {
    [named, anonymous, former].compactMap { $0.map { "\($0)/\(digest.hexadecimal)" } }.filter {
      access($0, F_OK) == 0
    }
  }

  private var namedFolder: StoreFolder { StoreFolder(path: named, quota: nil, mostUnpacked: mostUnpacked) }
  private var anonymousFolder: StoreFolder {
    StoreFolder(path: anonymous, quota: quota, mostUnpacked: mostUnpacked)
  }

  /// The named images, by name. Their bytes are not looked at, so that this takes no longer for large ones; one that
  /// is gone or cannot be parsed is left out. What a packed kernel holds is only known from when it was first asked for.
  ///
  /// - Throws: `.file` when the folder, or for want of descriptors an image, cannot be opened: that is not an empty store.
  public func list() throws(ImageStoreError) -> [Entry] {
    var entries: [Entry] = []
    for name in try Self.list(named) {
      guard let digest = digest(ofName: name), let image = try listed(digest) else { continue }
      var status = stat()
      lstat("\(named)/\(name)", &status)
      entries.append(Entry(name: name, image: image, added: status.st_mtim.tv_sec))
    }
    return entries
  }

  private func listed(_ digest: ImageDigest) throws(ImageStoreError) -> StoredImage? {
    if let image = state.withLock({ $0.loaded[Key(digest: digest, isKernel: true)] }) { return image }
    do throws(ImageStoreError) {
      return try StoredImage(
        path: "\(named)/\(digest.hexadecimal)", digest: digest, isKernel: true, isKnown: true, unpackingIn: nil)
    } catch .file(let operation, let path, let code) where [EMFILE, ENFILE].contains(code) {
      throw .file(operation, path, code)
    } catch {
      return nil
    }
  }

  // MARK: Adding

  /// An image on its way in. Nothing of it stays unless it is committed.
  public final class Upload {
    fileprivate let file: Int32
    fileprivate let path: String
    fileprivate var digest = DigestBuilder()
    fileprivate let isNamed: Bool
    private let store: ImageStore
    private var size = 0
    /// Of the store's quota, to be given back: what is stored of it stays reserved.
    fileprivate var reserved = 0

    fileprivate init(_ store: ImageStore, isNamed: Bool, number: Int) throws(ImageStoreError) {
      self.store = store
      self.isNamed = isNamed
      path = "\(isNamed ? store.named : store.anonymous)/.upload-\(getpid())-\(number)"
      file = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
      if file < 0 { throw .file("create", path, errno) }
    }

    deinit {
      close(file)
      unlink(path)
      store.quota.giveBack(reserved)
    }

    public func append(_ bytes: UnsafeRawBufferPointer) throws(ImageStoreError) {
      size += bytes.count
      if size > ImageStore.maxSize { throw .tooLarge(limit: ImageStore.maxSize) }
      let folder = isNamed ? store.namedFolder : store.anonymousFolder
      reserved += try folder.reserve(bytes.count)
      digest.append(bytes)
      try writeAll(bytes, to: file, path)
    }
  }

  /// - Parameters:
  ///   - isNamed: whether the image will get a name, which decides where it is kept.
  ///   - size: as far as it is announced; what cannot be taken is refused before any of it comes.
  public func beginUpload(isNamed: Bool, size: Int? = nil) throws(ImageStoreError) -> Upload {
    if let size {
      guard size <= Self.maxSize else { throw .tooLarge(limit: Self.maxSize) }
      try (isNamed ? namedFolder : anonymousFolder).check(size)
    }
    let number = state.withLock { state in
      state.uploads += 1
      return state.uploads
    }
    return try Upload(self, isNamed: isNamed, number: number)
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
    let image = try StoredImage(
      path: upload.path, digest: digest, isKernel: isKernel, isKnown: true,
      unpackingIn: name == nil ? anonymousFolder : namedFolder)
    let folder = name == nil ? anonymous : named
    let path = "\(folder)/\(digest.hexadecimal)"
    if let name {
      try storeNamed(upload, image, as: path, name)
    } else {
      try storeAnonymous(upload, image, as: path)
    }
    state.withLock { state in
      // What was opened before may have been damaged: it was sent again for a reason.
      Self.forget(digest, &state)
      state.loaded[Key(digest: digest, isKernel: isKernel)] = image
    }
    return image
  }

  /// The image is on the disk before its name is, and its name before anybody hears of it.
  private func storeNamed(
    _ upload: Upload, _ image: StoredImage, as path: String, _ name: String
  ) throws(ImageStoreError) {
    if flush(upload.file) < 0 { throw .file("write to the disk", upload.path, errno) }
    try naming.withLock { names throws(ImageStoreError) in
      if rename(upload.path, path) < 0 { throw .file("store image", path, errno) }
      try image.noteRename()
      try flushFolder()
      names += 1
      try link(name, to: image.digest, number: names)
      try flushFolder()
      removeUnnamed()
    }
  }

  /// Nobody expects it to outlive the host.
  private func storeAnonymous(_ upload: Upload, _ image: StoredImage, as path: String) throws(ImageStoreError) {
    state.withLock { $0.touched[image.digest] = Self.now() }
    let replaced = Self.size(path)
    if rename(upload.path, path) < 0 { throw .file("store image", path, errno) }
    try image.noteRename()
    upload.reserved = replaced
  }

  /// Has the disk know which files the named folder holds.
  private func flushFolder() throws(ImageStoreError) {
    let folder = Glibc.open(named, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw .file("open folder", named, errno) }
    defer { close(folder) }
    if flush(folder) < 0 { throw .file("write to the disk", named, errno) }
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
    try naming.withLock { _ throws(ImageStoreError) in
      if unlink("\(named)/\(name)") < 0 { throw .file("remove image", name, errno) }
      removeUnnamed()
    }
  }

  /// Removes files of the named folder that no name points at. Called with `naming` held.
  private func removeUnnamed() {
    let files = Self.files(in: named)
    let used = Set(files.compactMap { digest(ofName: $0) })
    for file in files {
      if let digest = ImageDigest(file), !used.contains(digest) {
        unlink("\(named)/\(file)")
        state.withLock { Self.forget(digest, &$0) }
      }
    }
  }

  private static func forget(_ digest: ImageDigest, _ state: inout State) {
    state.loaded[Key(digest: digest, isKernel: true)] = nil
    state.loaded[Key(digest: digest, isKernel: false)] = nil
  }

  /// Removes anonymous images that nothing uses and that nobody asked for in the last minute.
  public func removeUnused(inUse: Set<ImageDigest>) {
    for folder in [anonymous, former].compactMap({ $0 }) {
      for file in Self.files(in: folder) {
        guard let digest = ImageDigest(file), !inUse.contains(digest) else { continue }
        state.withLock { state in
          if let touched = state.touched[digest], Self.now() - touched < 60 { return }
          let size = Self.size("\(folder)/\(file)")
          unlink("\(folder)/\(file)")
          if folder == anonymous { quota.giveBack(size) }
          state.touched[digest] = nil
          Self.forget(digest, &state)
        }
      }
    }
  }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec
  }
}
