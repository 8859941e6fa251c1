import Dispatch
import Synchronization

/// Lets go of domains on a thread of its own: stopping a vhost-net instance waits for the kernel some 15 ms, and
/// other guests' doorbells must not wait with it.
final class Retirement: Sendable {
  /// Hands a domain to the thread. The server has dropped it, so that nobody else uses it any more.
  private struct Retired: @unchecked Sendable {
    let domain: DomainBackend
  }

  private let waiting = Mutex<[Retired]>([])
  private let wake = DispatchSemaphore(value: 0)

  init() {
    BackgroundThread.start(name: "chaos-retire") { [self] in
      while true {
        wake.wait()
        // Dropped here, outside the lock.
        _ = waiting.withLock { $0.isEmpty ? nil : $0.removeFirst() }
      }
    }
  }

  /// - Parameter domain: the last reference to it.
  func retire(_ domain: consuming DomainBackend) {
    let retired = Retired(domain: domain)
    waiting.withLock { $0.append(retired) }
    wake.signal()
  }
}
