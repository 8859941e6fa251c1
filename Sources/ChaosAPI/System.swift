#if canImport(Glibc)
  import Glibc
#else
  import CPosix

  var errno: Int32 { cposix_errno() }

  /// What `Double(_: String)` calls. Its own runtime library is not linked in Embedded Swift; the C library's
  /// function is the same, as a program that never sets a locale is in the C locale.
  @c(_swift_stdlib_strtod_clocale)
  public func parseDouble(
    _ text: UnsafePointer<CChar>, _ value: UnsafeMutablePointer<Double>
  ) -> UnsafePointer<CChar>? {
    var end: UnsafeMutablePointer<CChar>?
    value.pointee = strtod(text, &end)
    return UnsafePointer(end)
  }
#endif

/// What the system says of an error number.
func errorText(_ code: Int32) -> String {
  String(cString: strerror(code))
}

// Calls that a method of the same name would hide; interrupted ones begin again.

func systemRead(_ file: Int32, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int) -> Int {
  while true {
    let count = read(file, buffer, capacity)
    if count >= 0 || errno != EINTR { return count }
  }
}

func systemSend(_ socket: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
  while true {
    let count = send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
    if count >= 0 || errno != EINTR { return count }
  }
}

/// The path has been found to fit and to have no NUL.
func systemConnect(_ socket: Int32, _ path: String) -> Int32 {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}

/// What a socket's path may take: `sun_path` has 108 bytes (unix(7)), the last for its NUL.
let longestSocketPath = 107
