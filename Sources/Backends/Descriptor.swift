import Glibc

/// Owner of a file descriptor: closed when dropped, never copied.
public struct Descriptor: ~Copyable, Sendable {
  public let raw: Int32

  /// - Parameter raw: an open descriptor, owned from now on.
  public init(adopting raw: Int32) { self.raw = raw }

  deinit { close(raw) }

  /// Gives up ownership without closing.
  public consuming func release() -> Int32 {
    let raw = raw
    discard self
    return raw
  }
}

/// What the kernel refused a back-end.
public struct BackendError: Error, CustomStringConvertible {
  /// What was being done, to what.
  public let operation: String
  public let errno: Int32

  public init(_ operation: String, errno: Int32) {
    self.operation = operation
    self.errno = errno
  }

  /// Reads errno; call it right after the call that failed.
  static func last(_ operation: String) -> BackendError { BackendError(operation, errno: Glibc.errno) }

  public var description: String { "\(operation): \(String(cString: strerror(errno)))" }
}
