import Dispatch
import Synchronization

/// A bounded number of plain threads for what blocks, with a bounded queue before them.
///
/// Threads are made as they are needed and end when they have been idle for a while; some always stay, so that
/// a system out of threads makes the pool slow and never stops it. Work that finds the queue full is refused at
/// once: a queue that nobody comes to the end of helps no caller. A pool lives as long as the process.
public final class BlockingPool: Sendable {
  public struct Limits: Sendable {
    /// The most threads, and so the most work done at one time.
    public var threads: Int
    /// The most work that waits for a thread.
    public var queued: Int
    /// Of the threads, those that are there from the start and always stay.
    public var kept: Int
    /// How long another stays without work.
    public var idle: Duration

    public init(threads: Int, queued: Int, kept: Int = 1, idle: Duration = .seconds(10)) {
      precondition(threads >= kept && kept > 0 && queued > 0)
      self.threads = threads
      self.queued = queued
      self.kept = kept
      self.idle = idle
    }
  }

  /// The queue is full.
  public struct Full: Error, CustomStringConvertible {
    public let queued: Int

    public var description: String { "the daemon is busy: \(queued) operations wait already" }
  }

  /// How things stand.
  public struct Load: Sendable, Equatable {
    public var threads: Int
    /// Threads that work.
    public var busy: Int
    /// Work that waits for a thread.
    public var queued: Int
    /// How long the first of it has waited.
    public var longestWait: Duration
    /// Work done since the start.
    public var completed: Int
    /// Work refused since the start.
    public var refused: Int
  }

  private struct Job {
    let since: ContinuousClock.Instant
    let run: @Sendable (borrowing Blocking) -> Void
  }

  private struct State {
    var queue = Fifo<Job>()
    var threads = 0
    /// Threads that wait, or that are woken and have not looked at the queue yet: each takes one job of it.
    var idle = 0
    /// Signals given that no thread has taken yet; never more than there are idle threads, so that none is left
    /// to wake a thread for nothing.
    var woken = 0
    var completed = 0
    var refused = 0
  }

  private let name: String
  private let limits: Limits
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)

  /// - Parameter name: of the threads, for the system's tools; at most 15 bytes count.
  public init(name: String, _ limits: Limits) throws(BackgroundThread.Failure) {
    self.name = name
    self.limits = limits
    state.withLock { $0.threads = limits.kept }
    for _ in 0..<limits.kept { try startThread(stays: true) }
  }

  /// Runs `body` on a thread of the pool and returns what it returns.
  ///
  /// It runs to its end even when the calling task is cancelled meanwhile: half an operation is none.
  ///
  /// - Throws: ``Full``, or what `body` throws.
  public func run<Result: Sendable>(
    _ body: @escaping @Sendable (borrowing Blocking) throws -> Result
  ) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      do throws(Full) {
        try submit { blocking in
          do { continuation.resume(returning: try body(blocking)) } catch { continuation.resume(throwing: error) }
        }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  /// Has `body` run on a thread of the pool, after what was submitted before it has begun.
  public func submit(_ body: @escaping @Sendable (borrowing Blocking) -> Void) throws(Full) {
    let job = Job(since: .now, run: body)
    let (wakes, grows) = try state.withLock { state throws(Full) in try enqueue(job, &state) }
    if wakes { wake.signal() }
    if grows {
      // Without a new thread those that run come to this job later.
      do throws(BackgroundThread.Failure) {
        try startThread(stays: false)
      } catch {
        state.withLock { $0.threads -= 1 }
      }
    }
  }

  /// Returns whether a waiting thread is to be woken and whether one is to be made.
  private func enqueue(_ job: Job, _ state: inout State) throws(Full) -> (wakes: Bool, grows: Bool) {
    guard state.queue.count < limits.queued else {
      state.refused += 1
      throw Full(queued: state.queue.count)
    }
    state.queue.append(job)
    let wakes = state.woken < state.idle
    let grows = state.queue.count > state.idle && state.threads < limits.threads
    if wakes { state.woken += 1 }
    if grows { state.threads += 1 }
    return (wakes, grows)
  }

  public var load: Load {
    state.withLock { state in
      Load(
        threads: state.threads, busy: state.threads - state.idle, queued: state.queue.count,
        longestWait: state.queue.first.map { .now - $0.since } ?? .zero, completed: state.completed,
        refused: state.refused)
    }
  }

  // MARK: Threads

  private func startThread(stays: Bool) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: name) { [self] (blocking: borrowing Blocking) in
      repeat {
        while let job = next() {
          job.run(blocking)
          state.withLock { $0.completed += 1 }
        }
      } while waitForWork(stays: stays)
    }
  }

  /// The next job; nil counts the thread as idle.
  private func next() -> Job? {
    state.withLock { state in
      if let job = state.queue.popFirst() { return job }
      state.idle += 1
      return nil
    }
  }

  /// Waits until there may be work; false when there was none for long.
  private func waitForWork(stays: Bool) -> Bool {
    let hasSignal = wake.wait(timeout: .now() + .nanoseconds(limits.idle.nanoseconds)) == .success
    return state.withLock { state in
      state.idle -= 1
      if hasSignal { state.woken -= 1 }
      // Work that came with the time-out may count on this thread.
      if hasSignal || stays || !state.queue.isEmpty { return true }
      state.threads -= 1
      return false
    }
  }
}

extension Duration {
  var nanoseconds: Int {
    let (seconds, attoseconds) = components
    return Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
  }
}
