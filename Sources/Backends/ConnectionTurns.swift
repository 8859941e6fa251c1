import Dispatch
import Glibc
import Synchronization

/// Whose turn it is on the one connection to a back-end: first come, first served. The lock is held only to look, never
/// while somebody waits for the back-end.
final class ConnectionTurns: Sendable {
  /// The right to use the connection. It must be given back by one of the `end`s.
  struct Turn: ~Copyable {
    /// The connection; nil when there is none yet.
    private var connection: BackendConnection?
    /// Whether the back-end was last known not to answer.
    let isDoubtful: Bool

    fileprivate init(_ connection: consuming BackendConnection?, isDoubtful: Bool) {
      self.connection = connection
      self.isDoubtful = isDoubtful
    }

    var hasConnection: Bool {
      switch connection {
      case .some: true
      case .none: false
      }
    }

    mutating func takeConnection() -> BackendConnection? { connection.take() }
  }

  private struct State: ~Copyable {
    /// The connection while nobody uses it.
    var connection: BackendConnection?
    var isTaken = false
    var waiting: [Waiter] = []
    var outage: Outage?
  }

  private struct Outage {
    let error: BackendError
    /// When somebody may look again.
    let until: ContinuousClock.Instant
  }

  private final class Waiter: Sendable {
    enum Outcome {
      case waiting, granted
      case failed(BackendError)
    }

    let wake = DispatchSemaphore(value: 0)
    let outcome = Mutex(Outcome.waiting)

    func settle(_ result: Outcome) {
      outcome.withLock { $0 = result }
      wake.signal()
    }
  }

  private let state = Mutex(State())

  /// Waits for a turn. Fails at once during an outage, unless it is time to look whether that is over.
  func take(within limit: Duration) throws(BackendError) -> Turn {
    let waiter = try state.withLock { state throws(BackendError) -> Waiter? in
      if let outage = state.outage, state.isTaken || ContinuousClock.now < outage.until { throw outage.error }
      if !state.isTaken {
        state.isTaken = true
        return nil
      }
      let waiter = Waiter()
      state.waiting.append(waiter)
      return waiter
    }
    if let waiter { try wait(for: waiter, limit) }
    return state.withLock { state in Turn(state.connection.take(), isDoubtful: state.outage != nil) }
  }

  private func wait(for waiter: Waiter, _ limit: Duration) throws(BackendError) {
    if waiter.wake.wait(timeout: .now() + .nanoseconds(Int(limit / .nanoseconds(1)))) == .timedOut {
      // Settled at the last moment counts: a turn that was granted must be taken.
      let isLate = state.withLock { state in
        guard let index = state.waiting.firstIndex(where: { $0 === waiter }) else { return false }
        state.waiting.remove(at: index)
        return true
      }
      if isLate { throw BackendConnection.silent }
      waiter.wake.wait()
    }
    if case .failed(let error) = waiter.outcome.withLock({ $0 }) { throw error }
  }

  /// Gives the turn to the next, with a connection that works or none.
  func end(_ turn: consuming Turn, keeping connection: consuming BackendConnection? = nil) {
    state.withLock { state in
      state.connection = connection.take()
      state.outage = nil
      if state.waiting.isEmpty { state.isTaken = false } else { state.waiting.removeFirst().settle(.granted) }
    }
  }

  /// Ends the turn and tells everybody who waits that the back-end does not answer.
  func end(_ turn: consuming Turn, outage error: BackendError, for time: Duration) {
    state.withLock { state in
      state.isTaken = false
      state.outage = Outage(error: error, until: .now + time)
      for waiter in state.waiting { waiter.settle(.failed(error)) }
      state.waiting = []
    }
  }
}
