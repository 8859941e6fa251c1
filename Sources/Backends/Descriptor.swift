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
