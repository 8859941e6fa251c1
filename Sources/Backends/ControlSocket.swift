import CBackends
import Glibc

/// One end of the control connection (SOCK_SEQPACKET).
public struct ControlSocket: ~Copyable, Sendable {
  private let descriptor: Descriptor

  public init(adopting descriptor: consuming Descriptor) { self.descriptor = descriptor }

  public var raw: Int32 { descriptor.raw }

  /// Connects to a back-end. Fails with ECONNREFUSED or ENOENT when none listens, and with EAGAIN when one does that
  /// takes no connection in time.
  public static func connect(to path: String, within limit: Duration) throws(BackendError) -> ControlSocket {
    let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | cloexec, 0)
    if raw < 0 { throw BackendError.last("open a socket for \(path)") }
    let result = ControlSocket(adopting: Descriptor(adopting: raw))
    result.setLimit(limit)
    if withAddress(path, { Glibc.connect(raw, $0, $1) }) < 0 { throw BackendError.last("connect to \(path)") }
    return result
  }

  /// How long each call may wait from now on, after which it fails with EAGAIN; nil waits for ever.
  public func setLimit(_ limit: Duration?) {
    let (seconds, attoseconds) = (limit ?? .zero).components
    // Zero would wait for ever.
    let least = limit == nil ? 0 : 1
    var time = timeval(
      tv_sec: Int(seconds), tv_usec: max(Int(attoseconds / 1_000_000_000_000), seconds > 0 ? 0 : least))
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(raw, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// Listens at `path`, replacing a socket file a dead process left, readable by root only. A lock beside it,
  /// held until the process ends, keeps a second back-end from taking a living one's place.
  public static func listen(at path: String) throws(BackendError) -> ControlSocket {
    let lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    if lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0 { throw BackendError.last("lock \(path).lock") }
    let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | cloexec | nonblocking, 0)
    if raw < 0 { throw BackendError.last("open a socket for \(path)") }
    let descriptor = Descriptor(adopting: raw)
    unlink(path)
    if withAddress(path, { bind(descriptor.raw, $0, $1) }) < 0 { throw BackendError.last("bind \(path)") }
    if chmod(path, 0o600) < 0 || Glibc.listen(descriptor.raw, 16) < 0 {
      throw BackendError.last("listen at \(path)")
    }
    return ControlSocket(adopting: descriptor)
  }

  /// The next waiting connection; nil when there is none. Fails when there is one that cannot be taken, which then waits
  /// on.
  public func accept() throws(BackendError) -> Descriptor? {
    while true {
      let accepted = cbackends_accept(raw)
      if accepted >= 0 { return Descriptor(adopting: accepted) }
      switch errno {
      case EINTR, ECONNABORTED: continue
      case EAGAIN: return nil
      default: throw BackendError.last("take a connection to the control socket")
      }
    }
  }

  public func send(_ bytes: [UInt8], descriptors: [Int32] = []) throws(BackendError) {
    while cbackends_send(raw, bytes, bytes.count, descriptors, descriptors.count) < 0 {
      if errno != EINTR { throw BackendError.last("send to the control socket") }
    }
  }

  /// A message and its descriptors, which the caller owns; nil at the end of the connection.
  public func receive() throws(BackendError) -> (bytes: [UInt8], descriptors: [Int32])? {
    var bytes = [UInt8](repeating: 0, count: ControlProtocol.maxMessage)
    var descriptors = [Int32](repeating: -1, count: Int(CBACKENDS_MAX_DESCRIPTORS))
    var count = descriptors.count
    var received: Int
    repeat {
      count = descriptors.count
      received = cbackends_receive(raw, &bytes, bytes.count, &descriptors, &count)
    } while received < 0 && errno == EINTR
    if received < 0 { throw BackendError.last("receive from the control socket") }
    if received == 0 {
      // The end, or an empty message, which says nothing: nobody would close what came with it.
      for descriptor in descriptors.prefix(count) { close(descriptor) }
      return nil
    }
    return (Array(bytes.prefix(received)), Array(descriptors.prefix(count)))
  }

  private static let cloexec = Int32(SOCK_CLOEXEC.rawValue)
  private static let nonblocking = Int32(SOCK_NONBLOCK.rawValue)
}

/// Calls `body` with the unix-socket address of `path`. A path too long for it (107 bytes) is cut, so that the
/// call fails with the kernel's own error.
private func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { buffer in
    for (index, byte) in path.utf8.prefix(buffer.count - 1).enumerated() { buffer[index] = byte }
  }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}
