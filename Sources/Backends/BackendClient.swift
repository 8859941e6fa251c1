import Glibc
import Synchronization
import Xen

/// chaosd's side of the control protocol. Requests from different threads take turns.
public final class BackendClient: Sendable {
  private let connection: Mutex<Connection>

  private struct Connection: ~Copyable {
    let socket: ControlSocket
  }

  /// Connects to the back-end listening at `path`.
  public init(path: String) throws(BackendError) {
    connection = Mutex(Connection(socket: try ControlSocket.connect(to: path)))
  }

  /// Sends a request and waits for its reply. The descriptors stay the caller's.
  ///
  /// - Throws: ``BackendError``: what the back-end answered, or EPIPE when it is gone.
  @discardableResult
  public func perform(
    _ request: ControlProtocol.Request, descriptors: [Int32] = []
  ) throws(BackendError) -> ControlProtocol.Reply {
    let reply = try connection.withLock { connection throws(BackendError) in
      try connection.socket.send(request.encoded(), descriptors: descriptors)
      guard let (bytes, _) = try connection.socket.receive() else {
        throw BackendError("chaos-backend closed the connection", errno: EPIPE)
      }
      return bytes
    }
    guard let decoded = try? ControlProtocol.Reply(decoding: reply) else {
      throw BackendError("chaos-backend speaks another protocol version", errno: EPROTO)
    }
    if case .failed(let errno, let message) = decoded { throw BackendError(message, errno: errno) }
    return decoded
  }

  /// Every domain the back-end serves.
  public func domains() throws(BackendError) -> [ControlProtocol.Status] {
    var result: [ControlProtocol.Status] = []
    var from = DomainID.dom0
    while true {
      guard case .domains(let part) = try perform(.list(from: from)), let last = part.last else { return result }
      result += part
      // The back-end runs with fewer rights than this process: it must not lead it round in circles.
      let number = last.key.domain.rawValue
      if part.count < 1000 || number < from.rawValue || number == .max { return result }
      from = DomainID(rawValue: number + 1)
    }
  }
}

/// A connection on which the back-end tells of powerctl changes.
public struct BackendEvents: ~Copyable, Sendable {
  private let socket: ControlSocket

  public init(path: String) throws(BackendError) {
    let socket = try ControlSocket.connect(to: path)
    try socket.send(ControlProtocol.Request.subscribe.encoded())
    self.socket = socket
  }

  /// Waits for the next event; nil when the back-end is gone.
  public func next() -> ControlProtocol.Event? {
    while true {
      guard let (bytes, _) = try? socket.receive() else { return nil }
      if let event = try? ControlProtocol.Event(decodingEvent: bytes) { return event }
    }
  }
}
