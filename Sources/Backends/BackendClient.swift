import CBackends
import Glibc
import Synchronization
import Xen

/// chaosd's side of the control protocol: a connection that is made when first needed and again after it was lost, on
/// which requests from different threads take turns.
///
/// No call waits for ever. While the back-end is known not to answer, callers are told so at once, but for one at a time
/// that looks whether it does again.
public final class BackendClient: Sendable {
  /// How long a caller waits.
  public struct Limits: Sendable {
    /// For a turn, and again for the reply.
    public var request = Duration.seconds(5)
    /// For a back-end that was started to listen.
    public var start = Duration.seconds(5)
    /// Between two starts, where the first ended at once: the one before it had not let go of the socket's lock.
    public var startAgain = Duration.milliseconds(200)
    /// For a sign of life of a back-end that is known not to answer, and between two looks.
    public var look = Duration.milliseconds(500)

    public init() {}
  }

  private let path: String
  private let limits: Limits
  private let start: (@Sendable () throws(BackendError) -> Void)?
  private let turns = ConnectionTurns()
  private let connected = Atomic<Int>(0)

  /// - Parameters:
  ///   - path: where the back-end listens.
  ///   - start: starts one, called when none listens; nil where that is somebody else's to do.
  public init(
    path: String, limits: Limits = Limits(), start: (@Sendable () throws(BackendError) -> Void)? = nil
  ) {
    self.path = path
    self.limits = limits
    self.start = start
  }

  /// How often a connection was made: as long as that is the same, so is the back-end.
  public var connections: Int { connected.load(ordering: .sequentiallyConsistent) }

  /// Sends a request and waits for its reply. The descriptors stay the caller's.
  ///
  /// - Parameter only: the connection (``connections``) that the request makes sense on; no other is tried.
  /// - Throws: ``BackendError``: what the back-end answered, or that it is unavailable. A request that meets a dead
  ///   back-end is made once more, to the next: whatever the dead one did of it is gone with it.
  @discardableResult
  public func perform(
    _ request: ControlProtocol.Request, descriptors: [Int32] = [], on only: Int? = nil
  ) throws(BackendError) -> ControlProtocol.Reply {
    let reply: ControlProtocol.Reply
    do throws(BackendError) {
      reply = try performOnce(request, descriptors, only)
    } catch {
      guard only == nil, error.kind == .unavailable, Self.meansNoneListens(error.errno) else { throw error }
      reply = try performOnce(request, descriptors, nil)
    }
    if case .failed(let errno, let message) = reply { throw BackendError(message, errno: errno) }
    return reply
  }

  private func performOnce(
    _ request: ControlProtocol.Request, _ descriptors: [Int32], _ only: Int?
  ) throws(BackendError) -> ControlProtocol.Reply {
    try perform(request, descriptors, only, try turns.take(within: limits.request))
  }

  private func perform(
    _ request: ControlProtocol.Request, _ descriptors: [Int32], _ only: Int?,
    _ turn: consuming ConnectionTurns.Turn
  ) throws(BackendError) -> ControlProtocol.Reply {
    var turn = turn
    // Nobody else connects during this turn.
    if let only, only != connections || !turn.hasConnection {
      let open = turn.takeConnection()
      turns.end(turn, keeping: open)
      throw BackendError("chaos-backend is another by now", errno: EPIPE, kind: .unavailable)
    }
    let connection: BackendConnection
    do throws(BackendError) {
      if let open = turn.takeConnection() {
        connection = open
      } else {
        connection = try connect(isDoubtful: turn.isDoubtful)
      }
    } catch {
      turns.end(turn, outage: error, for: limits.look)
      throw error
    }
    do throws(BackendError) {
      let reply = try connection.perform(request, descriptors: descriptors, within: limits.request)
      turns.end(turn, keeping: connection)
      return reply
    } catch {
      switch (error.kind, error.errno) {
      case (.unsupported, _): turns.end(turn, keeping: connection)
      case (_, ETIMEDOUT): turns.end(turn, outage: error, for: limits.look)
      default: turns.end(turn)
      }
      throw error
    }
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

  /// - Parameter isDoubtful: the last one did not answer, so that this is not worth a long wait.
  private func connect(isDoubtful: Bool) throws(BackendError) -> BackendConnection {
    let answer = isDoubtful ? limits.look : limits.request
    let end = ContinuousClock.now + (isDoubtful ? limits.look : limits.start)
    var nextStart = ContinuousClock.now
    while true {
      do {
        let connection = try BackendConnection(path: path, within: answer)
        connected.add(1, ordering: .sequentiallyConsistent)
        return connection
      } catch {
        guard let start, Self.meansNoneListens(error.errno) else { throw error }
        if ContinuousClock.now >= nextStart {
          try start()
          nextStart = .now + limits.startAgain
        }
        // It listens within milliseconds; the limit is for a host under heavy load.
        guard ContinuousClock.now < end else {
          throw BackendError("chaos-backend does not listen on \(path)", errno: ETIMEDOUT, kind: .unavailable)
        }
        usleep(5000)
      }
    }
  }

  /// The last two come from one that just ends.
  private static func meansNoneListens(_ code: Int32) -> Bool {
    [ENOENT, ECONNREFUSED, EPIPE, ECONNRESET].contains(code)
  }
}

/// A connection on which the back-end tells of powerctl changes and broken vifs.
public struct BackendEvents: ~Copyable, Sendable {
  private let socket: ControlSocket
  private let process: Descriptor

  public init(path: String) throws(BackendError) {
    let socket = try BackendConnection(path: path, within: BackendClient.Limits().request).subscribe()
    // Asked while it lives: nobody else has its number.
    let raw = cbackends_open_peer(socket.raw)
    if raw < 0 { throw BackendError.last("watch chaos-backend's process") }
    self.socket = socket
    process = Descriptor(adopting: raw)
  }

  /// Waits until the process is gone, with all that it had open; false when it is not after `limit`.
  public func awaitEnd(within limit: Duration) -> Bool {
    let deadline = ContinuousClock.now + limit
    var wanted = pollfd(fd: process.raw, events: Int16(POLLIN), revents: 0)
    while true {
      let (seconds, attoseconds) = max(.zero, deadline - .now).components
      let found = poll(&wanted, 1, Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000))
      if found > 0 { return true }
      if found == 0 || errno != EINTR { return false }
    }
  }

  /// Waits for the next event; nil when the back-end is gone.
  public func next() -> ControlProtocol.Event? {
    while true {
      guard let (bytes, descriptors) = try? socket.receive() else { return nil }
      for descriptor in descriptors { close(descriptor) }
      if let event = try? ControlProtocol.Event(decodingEvent: bytes) { return event }
    }
  }
}
