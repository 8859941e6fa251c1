import Glibc

/// A lock between processes on this host (flock(2)): held until dropped, and let go by the kernel when its holder
/// dies, however that comes about.
public struct FileLock: ~Copyable, Sendable {
  private let descriptor: Int32

  private init(locked descriptor: Int32) { self.descriptor = descriptor }

  /// Takes a lock, waiting for whoever holds it.
  ///
  /// - Parameter path: made when it is missing, and never removed: a lock file that goes and comes could be
  ///   held twice.
  public static func take(_ path: String) throws(StateFile.Failure) -> FileLock {
    let descriptor = try open(path)
    while flock(descriptor, LOCK_EX) < 0 {
      if errno == EINTR { continue }
      let code = errno
      close(descriptor)
      throw StateFile.Failure(operation: "lock", path: path, errno: code)
    }
    return FileLock(locked: descriptor)
  }

  /// Takes a lock if nobody holds it; nil if somebody does.
  public static func takeUnlessHeld(_ path: String) throws(StateFile.Failure) -> FileLock? {
    let descriptor = try open(path)
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      return nil
    }
    return FileLock(locked: descriptor)
  }

  private static func open(_ path: String) throws(StateFile.Failure) -> Int32 {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw StateFile.Failure(operation: "open", path: path, errno: errno) }
    return descriptor
  }

  deinit { close(descriptor) }
}
