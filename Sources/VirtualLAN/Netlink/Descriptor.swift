import Glibc

/// The owner of a file descriptor: open from the moment it is made until it is closed, once, by `deinit`, or
/// given away by `take()`. Nothing else in this room closes descriptors.
struct Descriptor: ~Copyable {
  let rawValue: CInt

  /// Takes ownership of an open descriptor that nobody else owns.
  init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  deinit {
    close(rawValue)
  }

  /// Gives the descriptor away: closing it is the caller's business from here on.
  consuming func take() -> CInt {
    let rawValue = rawValue
    discard self
    return rawValue
  }

  /// Sets a socket option that is an integer; the result is `setsockopt`'s.
  borrowing func setOption(_ level: CInt, _ option: CInt, _ value: CInt) -> CInt {
    withUnsafeBytes(of: value) {
      setsockopt(rawValue, level, option, $0.baseAddress, socklen_t($0.count))
    }
  }
}
