import Dispatch
import Synchronization
import Threads

/// Lets go of domains and vifs on a thread of its own: stopping a vhost-net instance waits for the kernel some 15 ms, and
/// other guests' doorbells must not wait with it.
final class Retirement: Sendable {
  /// Hands something to the thread. The server has dropped it, so that nobody else uses it any more.
  private struct Retired: @unchecked Sendable {
    let object: AnyObject
  }

  private let waiting = Mutex<[Retired]>([])
  private let wake = DispatchSemaphore(value: 0)

  init() throws(BackendError) {
    do throws(BackgroundThread.Failure) { try start() } catch { throw BackendError(error) }
  }

  private func start() throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-retire") { [self] in
      while true {
        wake.wait()
        // Dropped here, outside the lock.
        _ = waiting.withLock { $0.isEmpty ? nil : $0.removeFirst() }
      }
    }
  }

  /// - Parameter object: the last reference to a ``DomainBackend`` or to a vif of one.
  func retire(_ object: consuming AnyObject) {
    let retired = Retired(object: object)
    waiting.withLock { $0.append(retired) }
    wake.signal()
  }
}
