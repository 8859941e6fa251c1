import Glibc

/// A lock between processes on this host (flock(2)): held until dropped, and let go by the kernel when its holder
/// dies, however that comes about.
///
/// Nobody waits for one without end: whoever holds it may be stopped, or another program altogether.
public struct FileLock: ~Copyable, Sendable {
  private let descriptor: Int32

  /// Why a lock could not be had. The description is one line.
  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    case system(StateFile.Failure)
    /// Somebody kept it until the deadline.
    case held(path: String, by: Holder?)

    public var description: String {
      switch self {
      case .system(let failure): failure.description
      case .held(let path, let holder): "lock \(path): held by \(holder?.description ?? "another process")"
      }
    }
  }

  /// The process that took a lock, as far as the kernel tells: it may have left the lock to a child since.
  public struct Holder: Hashable, Sendable, CustomStringConvertible {
    public let process: Int32
    /// Nil when it is gone, or hidden from this one.
    public let command: String?

    public var description: String { "process \(process)" + (command.map { " (\($0))" } ?? "") }
  }

  private init(locked descriptor: Int32) { self.descriptor = descriptor }

  /// Takes a lock, waiting for whoever holds it, but not for longer than `patience`.
  ///
  /// - Parameter path: made when it is missing, and never removed: a lock file that goes and comes could be
  ///   held twice.
  public static func take(_ path: String, within patience: Duration) throws(Failure) -> FileLock {
    let deadline = ContinuousClock.now + patience
    let descriptor = try open(path)
    // flock has no deadline of its own, and a signal to end it would be anybody's.
    var pauseMicroseconds: useconds_t = 200
    while try !tryToLock(descriptor, path) {
      guard ContinuousClock.now < deadline else {
        let holder = holder(of: descriptor)
        close(descriptor)
        throw .held(path: path, by: holder)
      }
      usleep(pauseMicroseconds)
      pauseMicroseconds = min(2 * pauseMicroseconds, 10_000)
    }
    return FileLock(locked: descriptor)
  }

  /// Takes a lock if nobody holds it; nil if somebody does.
  public static func takeUnlessHeld(_ path: String) throws(Failure) -> FileLock? {
    let descriptor = try open(path)
    guard try tryToLock(descriptor, path) else {
      close(descriptor)
      return nil
    }
    return FileLock(locked: descriptor)
  }

  /// Whether the lock was free; closes the descriptor when that cannot be told.
  private static func tryToLock(_ descriptor: Int32, _ path: String) throws(Failure) -> Bool {
    while flock(descriptor, LOCK_EX | LOCK_NB) < 0 {
      switch errno {
      case EINTR: continue
      case EWOULDBLOCK: return false
      default:
        let code = errno
        close(descriptor)
        throw .system(StateFile.Failure(operation: "lock", path: path, errno: code))
      }
    }
    return true
  }

  private static func open(_ path: String) throws(Failure) -> Int32 {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw .system(StateFile.Failure(operation: "open", path: path, errno: errno))
    }
    return descriptor
  }

  deinit { close(descriptor) }
}

// MARK: - Who holds it

extension FileLock {
  /// Who holds the lock on an open file by the kernel's list of locks, which is nothing more than a help to whoever
  /// reads the error.
  private static func holder(of descriptor: Int32) -> Holder? {
    var file = stat()
    guard fstat(descriptor, &file) == 0, let list = try? StateFile.read("/proc/locks"),
      let process = process(holding: file.st_ino, in: String(decoding: list, as: UTF8.self))
    else { return nil }
    let command = (try? StateFile.read("/proc/\(process)/comm")).flatMap { $0 }
    return Holder(
      process: process, command: command.map { String(decoding: $0.prefix { $0 != 10 }, as: UTF8.self) })
  }

  /// The process that holds a flock on a file, by the text of /proc/locks: lines of number, kind, mode, access,
  /// process, MAJOR:MINOR:INODE and range, those who wait with "->" behind the number.
  ///
  /// The device is not compared: for some file systems stat(2) names another than the kernel does there.
  static func process(holding inode: UInt, in list: String) -> Int32? {
    for line in list.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count >= 6, fields[1] == "FLOCK", let process = Int32(fields[4]), process > 0,
        let number = fields[5].split(separator: ":").last, UInt(number) == inode
      else { continue }
      return process
    }
    return nil
  }
}
