import Glibc
import Threads

/// What a back-end, or the way to it, refused.
public struct BackendError: Error, CustomStringConvertible {
  public enum Kind: Sendable {
    /// The system or the back-end said no; nothing was done.
    case refused
    /// The back-end is an older one that has no such request; nothing was done.
    case unsupported
    /// The back-end is gone, does not answer or cannot be spoken with. Whether the request was carried out is not known;
    /// one that did not get its turn before the connection closed is not carried out later.
    case unavailable
  }

  /// What was being done, to what.
  public let operation: String
  public let errno: Int32
  public let kind: Kind

  public init(_ operation: String, errno: Int32, kind: Kind = .refused) {
    self.operation = operation
    self.errno = errno
    self.kind = kind
  }

  /// Reads errno; call it right after the call that failed.
  static func last(_ operation: String) -> BackendError { BackendError(operation, errno: Glibc.errno) }

  public init(_ failure: BackgroundThread.Failure) {
    self.init("start thread \(failure.name)", errno: failure.errno)
  }

  public var description: String { "\(operation): \(String(cString: strerror(errno)))" }
}
