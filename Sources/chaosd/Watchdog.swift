import Dispatch
import NIOCore
import Threads

/// Tells the service manager that the daemon lives, as long as every event loop answers and no operation has waited
/// long for a thread. When it stops the manager kills and restarts the daemon; guests do not notice.
struct Watchdog: Sendable {
  let manager: ServiceManager
  let loops: [any EventLoop]
  let pool: BlockingPool
  let report: @Sendable (String) -> Void

  /// Starts to tell, where somebody wants to hear it.
  func start() throws(BackgroundThread.Failure) {
    guard let period = manager.watchdog else { return }
    try BackgroundThread.start(name: "chaos-watchdog") {
      while true {
        if let problem = problem(within: period / 4) {
          report("watchdog: \(problem)")
        } else {
          manager.tell("WATCHDOG=1")
        }
        DispatchSemaphore(value: 0).wait(for: period / 4)
      }
    }
  }

  /// What does not make progress, if anything; found out within that time.
  func problem(within time: Duration) -> String? {
    let answered = DispatchSemaphore(value: 0)
    for loop in loops { loop.execute { answered.signal() } }
    let end = DispatchTime.now() + time.interval
    for _ in loops where answered.wait(timeout: end) == .timedOut { return "an event loop does not answer" }
    let load = pool.load
    if load.longestWait > time { return "operations wait for a thread; \(load.busy) are at work" }
    return nil
  }
}

extension DispatchSemaphore {
  fileprivate func wait(for time: Duration) { _ = wait(timeout: .now() + time.interval) }
}

extension Duration {
  fileprivate var interval: DispatchTimeInterval {
    .microseconds(Int(components.seconds) * 1_000_000 + Int(components.attoseconds / 1_000_000_000_000))
  }
}
