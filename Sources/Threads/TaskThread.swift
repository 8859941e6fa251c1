import Dispatch
import Synchronization

/// A thread for tasks that wait for something: they look, and are suspended again.
///
/// Swift's co-operative pool makes threads when they are needed, and whoever wakes a task while the system has none to
/// give waits until it has (libdispatch tries again each second): an event loop, or the thread that tells of an event.
/// Tasks that prefer this executor need no other thread.
public final class TaskThread: TaskExecutor, Sendable {
  private struct State {
    var jobs = Fifo<UnownedJob>()
    var sleepers: [Int: Sleeper] = [:]
    var lastSleeper = 0
  }

  private struct Sleeper {
    let due: ContinuousClock.Instant
    let continuation: CheckedContinuation<Void, any Error>
  }

  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)

  /// - Parameter name: of the thread, for the system's tools.
  public init(name: String) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: name) { [self] in
      while true {
        waitForWork()
        while let job = state.withLock({ $0.jobs.popFirst() }) {
          job.runSynchronously(on: asUnownedTaskExecutor())
        }
        for sleeper in takeDue() { sleeper.continuation.resume() }
      }
    }
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    state.withLock { $0.jobs.append(job) }
    wake.signal()
  }

  /// Suspends the task for so long, or until it is cancelled.
  public func sleep(for time: Duration) async throws {
    let number = state.withLock { state in
      state.lastSleeper += 1
      return state.lastSleeper
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        state.withLock { $0.sleepers[number] = Sleeper(due: .now + time, continuation: continuation) }
        // Cancelled before there was anything to end.
        if Task.isCancelled { cancel(number) }
        wake.signal()
      }
    } onCancel: {
      cancel(number)
    }
  }

  private func cancel(_ number: Int) {
    let sleeper = state.withLock { $0.sleepers.removeValue(forKey: number) }
    sleeper?.continuation.resume(throwing: CancellationError())
  }

  private func waitForWork() {
    guard let due = state.withLock({ $0.sleepers.values.map(\.due).min() }) else { return wake.wait() }
    _ = wake.wait(timeout: .now() + .nanoseconds(max(0, (due - .now).nanoseconds)))
  }

  private func takeDue() -> [Sleeper] {
    let now = ContinuousClock.now
    return state.withLock { state in
      let due = state.sleepers.filter { $0.value.due <= now }
      for number in due.keys { state.sleepers[number] = nil }
      return Array(due.values)
    }
  }
}
