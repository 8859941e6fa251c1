import Synchronization

/// Wakes whoever waits for something to change. It says nothing of what changed: who is woken looks.
final class ChangeSignal: Sendable {
  private struct State {
    var next = 0
    var waiters: [Int: AsyncStream<Void>.Continuation] = [:]
  }

  private let state = Mutex(State())

  func fire() {
    for waiter in state.withLock({ Array($0.waiters.values) }) { waiter.yield() }
  }

  /// A stream that yields at once and then after changes, until it is stopped or dropped. Changes that come faster than
  /// they are looked at are one.
  func changes() -> (stream: AsyncStream<Void>, stop: @Sendable () -> Void) {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let id = state.withLock { state in
      state.next += 1
      state.waiters[state.next] = continuation
      return state.next
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { $0.waiters[id] = nil }
    }
    continuation.yield()
    return (stream, { continuation.finish() })
  }
}
