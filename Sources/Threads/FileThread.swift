import Dispatch
import Synchronization

/// What is done to files whose disk may stand still, one after another on a thread of its own: nobody waits for it
/// longer than a moment.
public final class FileThread: Sendable {
  private typealias Job = @Sendable () -> Void

  private struct State {
    var jobs = Fifo<Job>()
    /// When the one at work was begun.
    var begun: ContinuousClock.Instant?
  }

  /// Jobs that wait for a disk that stands still; what is more is not done.
  private static let mostWaiting = 4096

  private let patience: Duration
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)

  /// - Parameters:
  ///   - name: of the thread, for the system's tools.
  ///   - patience: how long somebody waits.
  public init(name: String, patience: Duration = .seconds(2)) throws(BackgroundThread.Failure) {
    self.patience = patience
    try BackgroundThread.start(name: name) { [self] in
      while true {
        wake.wait()
        guard let job = next() else { continue }
        job()
        state.withLock { $0.begun = nil }
      }
    }
  }

  private func next() -> Job? {
    state.withLock { state in
      guard let job = state.jobs.popFirst() else { return nil }
      state.begun = .now
      return job
    }
  }

  /// The result of `body`; nil when the disk takes too long, and at once when it is known to.
  ///
  /// - Parameter late: is given a result that nobody waits for any more.
  public func ask<Result: Sendable>(
    _ body: @escaping @Sendable () -> Result, late: @escaping @Sendable (Result) -> Void = { _ in }
  ) -> Result? {
    if isStuck { return nil }
    let answer = Answer<Result>()
    let isTaken = queue {
      guard !answer.isGivenUp else { return }
      let result = body()
      if !answer.give(result) { late(result) }
    }
    return isTaken ? answer.wait(patience) : nil
  }

  /// Has `body` done, and returns when it is or when the disk takes too long: then it is done when the disk goes on.
  public func order(_ body: @escaping @Sendable () -> Void) {
    let wasStuck = isStuck
    let answer = Answer<Void>()
    let isTaken = queue {
      body()
      _ = answer.give(())
    }
    if isTaken && !wasStuck { _ = answer.wait(patience) }
  }

  private var isStuck: Bool {
    state.withLock { state in state.begun.map { .now - $0 > patience } ?? false }
  }

  private func queue(_ job: @escaping Job) -> Bool {
    let isTaken = state.withLock { state in
      guard state.jobs.count < Self.mostWaiting else { return false }
      state.jobs.append(job)
      return true
    }
    if isTaken { wake.signal() }
    return isTaken
  }
}

/// A result on its way to one who waits for it, or did.
private final class Answer<Result: Sendable>: Sendable {
  private enum State {
    case awaited
    case given(Result)
    case givenUp
  }

  private let state = Mutex(State.awaited)
  private let there = DispatchSemaphore(value: 0)

  var isGivenUp: Bool {
    state.withLock { state in
      if case .givenUp = state { true } else { false }
    }
  }

  /// Whether somebody takes it.
  func give(_ result: Result) -> Bool {
    let isTaken = state.withLock { state in
      if case .givenUp = state { return false }
      state = .given(result)
      return true
    }
    there.signal()
    return isTaken
  }

  func wait(_ time: Duration) -> Result? {
    _ = there.wait(timeout: .now() + .nanoseconds(time.nanoseconds))
    return state.withLock { state in
      if case .given(let result) = state { return result }
      state = .givenUp
      return nil
    }
  }
}
