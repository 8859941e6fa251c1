import Dispatch
import Glibc
import Synchronization
import Threads

/// A guest's console log, written by ``LogThread``: none of these calls waits for a file system.
///
/// A guest may write as fast as it likes, but only so much of it is kept; the log says once for each gap how much is
/// missing.
final class ConsoleLog: Sendable {
  /// Bytes of a guest that are logged at once, and how many a second after that.
  static let burst = 256 << 10
  static let perSecond = 64 << 10
  /// Bytes that wait to be written, while the file system does not.
  static let maxWaiting = 256 << 10

  private enum Job {
    case write([UInt8])
    /// Say how many bytes are missing here.
    case gap(Int)
    case read(@Sendable ([UInt8]) -> Void)
    case close
  }

  private struct State {
    var jobs: [Job] = []
    var waiting = 0
    var allowance = Allowance(burst: burst, perSecond: perSecond)
    /// Output that was not kept since the log last said so.
    var lost = 0
    /// Whether the thread will see to the jobs.
    var isQueued = false
  }

  private let state = Mutex(State())
  /// Taken by the thread alone, and for as long as the file system takes.
  private let file: Mutex<LogFile?>
  private let thread: LogThread

  init(adopting file: consuming Descriptor, thread: LogThread) {
    self.file = Mutex(LogFile(adopting: file))
    self.thread = thread
  }

  func append(_ bytes: [UInt8], at now: ContinuousClock.Instant) {
    add { state in
      guard state.waiting + bytes.count <= Self.maxWaiting, state.allowance.take(bytes.count, at: now) else {
        state.lost += bytes.count
        return
      }
      Self.tellLoss(&state)
      state.waiting += bytes.count
      // One write for what comes while the thread is busy, so that small pieces stay cheap.
      if case .write(let before)? = state.jobs.last {
        state.jobs.removeLast()
        state.jobs.append(.write(before + bytes))
      } else {
        state.jobs.append(.write(bytes))
      }
    }
  }

  /// Hands everything that is kept, with all output before this call and none after it, to `body` on the log thread.
  func read(_ body: @escaping @Sendable ([UInt8]) -> Void) {
    add { state in
      Self.tellLoss(&state)
      state.jobs.append(.read(body))
    }
  }

  /// Closes the file once all is written. Nothing may come after it.
  func close() {
    add { state in
      Self.tellLoss(&state)
      state.jobs.append(.close)
    }
  }

  private static func tellLoss(_ state: inout State) {
    guard state.lost > 0 else { return }
    state.jobs.append(.gap(state.lost))
    state.lost = 0
  }

  private func add(_ change: (inout State) -> Void) {
    let isNew = state.withLock { state in
      change(&state)
      defer { state.isQueued = !state.jobs.isEmpty }
      return !state.isQueued && !state.jobs.isEmpty
    }
    if isNew { thread.queue(self) }
  }

  /// Does what there is to do, on the log thread.
  fileprivate func work() {
    let jobs = state.withLock { state in
      defer {
        state.jobs = []
        state.isQueued = false
      }
      return state.jobs
    }
    file.withLock { file in
      for job in jobs { perform(job, &file) }
    }
  }

  private func perform(_ job: Job, _ file: inout LogFile?) {
    switch job {
    case .write(let bytes):
      let stored = file?.append(bytes) ?? 0
      state.withLock { state in
        state.waiting = max(0, state.waiting - bytes.count)
        state.lost += bytes.count - stored
      }
    case .gap(let count):
      let line = Array("\n[\(count) bytes of output not logged]\n".utf8)
      if file?.append(line) != line.count { state.withLock { $0.lost += count } }
    case .read(let body): body(file?.contents() ?? [])
    case .close: file = nil
    }
  }
}

/// The thread that writes console logs. A file system that stands still stops it, and nothing else.
final class LogThread: Sendable {
  private let queued = Mutex<[ConsoleLog]>([])
  private let wake = DispatchSemaphore(value: 0)

  init() throws(BackendError) {
    do throws(BackgroundThread.Failure) { try start() } catch { throw BackendError(error) }
  }

  private func start() throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-logs") { [self] in
      while true {
        wake.wait()
        // One guest's log after another, each with all that came meanwhile.
        queued.withLock { $0.isEmpty ? nil : $0.removeFirst() }?.work()
      }
    }
  }

  fileprivate func queue(_ log: ConsoleLog) {
    queued.withLock { $0.append(log) }
    wake.signal()
  }
}
