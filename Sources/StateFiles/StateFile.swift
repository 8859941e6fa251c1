import Glibc

/// Small files in which facts outlive a process: read whole, replaced whole.
public enum StateFile {
  /// A file operation failed. The description is one line.
  public struct Failure: Error, Hashable, CustomStringConvertible {
    /// What was being done: "create", "write", "replace".
    public let operation: String
    public let path: String
    public let errno: Int32

    public init(operation: String, path: String, errno: Int32) {
      self.operation = operation
      self.path = path
      self.errno = errno
    }

    public var description: String { "\(operation) \(path): \(String(cString: strerror(errno)))" }
  }

  /// Whether a fact must survive a power cut, which costs a write to the disk, or only the death of a process.
  public enum Durability: Sendable {
    case powerCut
    case processDeath
  }

  /// The largest file that is read.
  public static let longest = 1 << 20
  /// How a file that is being written is told from a finished one.
  public static let unfinishedSuffix = ".new"

  /// Replaces a file; whoever reads sees the old content or the new one whole.
  public static func replace(
    _ path: String, with bytes: [UInt8], mode: mode_t, durability: Durability
  ) throws(Failure) {
    let temporary = path + unfinishedSuffix
    do throws(Failure) {
      try write(bytes, to: temporary, mode: mode, durability: durability)
      guard rename(temporary, path) == 0 else { throw Failure(operation: "replace", path: path, errno: errno) }
    } catch {
      unlink(temporary)
      throw error
    }
    if durability == .powerCut { syncFolder(of: path) }
  }

  private static func write(
    _ bytes: [UInt8], to path: String, mode: mode_t, durability: Durability
  ) throws(Failure) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard file >= 0 else { throw Failure(operation: "create", path: path, errno: errno) }
    let written = Glibc.write(file, bytes, bytes.count)
    var code = written < 0 ? errno : written == bytes.count ? 0 : ENOSPC
    if code == 0, durability == .powerCut, fsync(file) < 0 { code = errno }
    close(file)
    if code != 0 { throw Failure(operation: "write", path: path, errno: code) }
  }

  /// Makes a rename or a removal in the file's folder last.
  private static func syncFolder(of path: String) {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    let descriptor = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }

  /// The file's bytes; nil when there is none.
  public static func read(_ path: String) throws(Failure) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      if errno == ENOENT { return nil }
      throw Failure(operation: "open", path: path, errno: errno)
    }
    defer { close(file) }
    var bytes: [UInt8] = []
    while bytes.count <= longest {
      var code: Int32 = 0
      let piece = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, count in
        let length = Glibc.read(file, buffer.baseAddress, buffer.count)
        code = length < 0 ? errno : 0
        count = max(0, length)
      }
      if code == EINTR { continue }
      if code != 0 { throw Failure(operation: "read", path: path, errno: code) }
      if piece.isEmpty { return bytes }
      bytes += piece
    }
    throw Failure(operation: "read", path: path, errno: EFBIG)
  }

  /// Removes a file that may be gone already.
  public static func remove(_ path: String, durability: Durability) throws(Failure) {
    guard unlink(path) == 0 || errno == ENOENT else {
      throw Failure(operation: "remove", path: path, errno: errno)
    }
    if durability == .powerCut { syncFolder(of: path) }
  }

  /// The names of a folder's files, hidden ones left out; none when it cannot be read, which does for what is no more
  /// than a help.
  public static func names(in folder: String) -> [String] { (try? list(folder)) ?? [] }

  /// The names of a folder's files, hidden ones left out; none when there is no such folder.
  ///
  /// - Throws: `Failure` when it cannot be read, which is something else than empty.
  public static func list(_ folder: String) throws(Failure) -> [String] {
    guard let directory = opendir(folder) else {
      if errno == ENOENT { return [] }
      throw Failure(operation: "open", path: folder, errno: errno)
    }
    defer { closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        guard errno == 0 else { throw Failure(operation: "list", path: folder, errno: errno) }
        break
      }
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names
  }

  /// Makes a folder and those above it, as far as they are missing.
  public static func makeFolder(_ path: String, mode: mode_t) throws(Failure) {
    // A disk that is frozen holds up mkdir(2), whether there is anything to make or not.
    if access(path, F_OK) == 0 { return }
    if mkdir(path, mode) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
      throw Failure(operation: "create folder", path: path, errno: errno)
    }
    try makeFolder(String(path[..<slash]), mode: 0o755)
    if mkdir(path, mode) < 0 && errno != EEXIST {
      throw Failure(operation: "create folder", path: path, errno: errno)
    }
  }
}
