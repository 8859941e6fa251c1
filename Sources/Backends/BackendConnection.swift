import Glibc
import Xen

/// One connection to a back-end, in the version of the protocol that both speak.
///
/// Replies come in the order of the requests, and nothing else tells them apart: after a failure the connection must be
/// dropped, or a late reply would be taken for another's.
struct BackendConnection: ~Copyable, Sendable {
  let version: ControlProtocol.Version
  private let socket: ControlSocket

  /// Connects, and learns the back-end's version.
  ///
  /// - Parameter limit: how long each of connecting and asking may take.
  init(path: String, within limit: Duration) throws(BackendError) {
    let socket = try Self.connect(path, limit)
    let probe = ControlProtocol.Request.list(from: DomainID(rawValue: .max)).encoded()
    version = try Self.version(of: try Self.exchange(socket, probe, []))
    self.socket = socket
  }

  private static func connect(_ path: String, _ limit: Duration) throws(BackendError) -> ControlSocket {
    do { return try ControlSocket.connect(to: path, within: limit) } catch { throw unavailable(error) }
  }

  /// Sends a request and waits for its reply, at most `limit`. The descriptors stay the caller's.
  func perform(
    _ request: ControlProtocol.Request, descriptors: [Int32], within limit: Duration
  ) throws(BackendError) -> ControlProtocol.Reply {
    socket.setLimit(limit)
    let reply = try Self.exchange(socket, request.encoded(for: version), descriptors)
    guard let decoded = try? ControlProtocol.Reply(decoding: reply) else {
      throw BackendError("chaos-backend gave an answer that makes no sense", errno: EPROTO, kind: .unavailable)
    }
    return decoded
  }

  /// Turns the connection into one on which events come.
  consuming func subscribe() throws(BackendError) -> ControlSocket {
    guard let bytes = ControlProtocol.Request.subscribe.encoded(for: version) else { throw Self.unsupported }
    do { try socket.send(bytes) } catch { throw Self.unavailable(error) }
    // Between events any time may pass.
    socket.setLimit(nil)
    return socket
  }

  private static func exchange(
    _ socket: borrowing ControlSocket, _ bytes: [UInt8]?, _ descriptors: [Int32]
  ) throws(BackendError) -> [UInt8] {
    guard let bytes else { throw unsupported }
    do {
      try socket.send(bytes, descriptors: descriptors)
      if let (reply, strays) = try socket.receive() {
        for descriptor in strays { close(descriptor) }
        return reply
      }
    } catch {
      throw unavailable(error)
    }
    throw BackendError("chaos-backend closed the connection", errno: EPIPE, kind: .unavailable)
  }

  private static func version(of reply: [UInt8]) throws(BackendError) -> ControlProtocol.Version {
    let stated = ControlProtocol.statedVersion(of: reply) ?? 0
    if let version = ControlProtocol.Version(rawValue: stated) { return version }
    throw BackendError(
      "chaos-backend speaks version \(stated) of the control protocol, this chaosd \(ControlProtocol.Version.current.rawValue)"
        + " and older: install the chaosd of the same release, or end chaos-backend so that this one's is started",
      errno: EPROTONOSUPPORT, kind: .unavailable)
  }

  static let unsupported = BackendError(
    "chaos-backend is an older one without this request: end it, and chaosd starts the new one", errno: EOPNOTSUPP,
    kind: .unsupported)

  static let silent = BackendError("chaos-backend does not answer", errno: ETIMEDOUT, kind: .unavailable)

  /// A wait that ended by itself comes as EAGAIN.
  private static func unavailable(_ error: BackendError) -> BackendError {
    error.errno == EAGAIN ? silent : BackendError(error.operation, errno: error.errno, kind: .unavailable)
  }
}
