import Glibc
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
    /// For a sign of life of a back-end that is known not to answer, and between two looks.
    public var look = Duration.milliseconds(500)

    public init() {}
  }

  private let path: String
  private let limits: Limits
  private let start: (@Sendable () throws(BackendError) -> Void)?
  private let turns = ConnectionTurns()

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

  /// Sends a request and waits for its reply. The descriptors stay the caller's.
  ///
  /// - Throws: ``BackendError``: what the back-end answered, or that it is unavailable. The request that meets a dead
  ///   back-end fails; the next one starts another.
  @discardableResult
  public func perform(
    _ request: ControlProtocol.Request, descriptors: [Int32] = []
  ) throws(BackendError) -> ControlProtocol.Reply {
    let turn = try turns.take(within: limits.request)
    let reply = try perform(request, descriptors, turn)
    if case .failed(let errno, let message) = reply { throw BackendError(message, errno: errno) }
    return reply
  }

  private func perform(
    _ request: ControlProtocol.Request, _ descriptors: [Int32], _ turn: consuming ConnectionTurns.Turn
  ) throws(BackendError) -> ControlProtocol.Reply {
    var turn = turn
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
      guard case .domains(let part) = try list(from: from), let last = part.last else { return result }
      result += part
      // The back-end runs with fewer rights than this process: it must not lead it round in circles.
      let number = last.key.domain.rawValue
      if part.count < 1000 || number < from.rawValue || number == .max { return result }
      from = DomainID(rawValue: number + 1)
    }
  }

  /// Listing changes nothing, so that one that just died may be asked again, which starts another.
  private func list(from: DomainID) throws(BackendError) -> ControlProtocol.Reply {
    do {
      return try perform(.list(from: from))
    } catch {
      guard Self.meansNoneListens(error.errno) else { throw error }
      return try perform(.list(from: from))
    }
  }

  /// - Parameter isDoubtful: the last one did not answer, so that this is not worth a long wait.
  private func connect(isDoubtful: Bool) throws(BackendError) -> BackendConnection {
    let answer = isDoubtful ? limits.look : limits.request
    let end = ContinuousClock.now + (isDoubtful ? limits.look : limits.start)
    var isStarted = false
    while true {
      do {
        return try BackendConnection(path: path, within: answer)
      } catch {
        guard let start, Self.meansNoneListens(error.errno) else { throw error }
        if !isStarted { try start() }
        isStarted = true
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

  public init(path: String) throws(BackendError) {
    socket = try BackendConnection(path: path, within: BackendClient.Limits().request).subscribe()
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
