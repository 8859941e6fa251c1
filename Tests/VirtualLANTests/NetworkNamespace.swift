import CNetlink
import Foundation
import Glibc
import NetworkAddresses
import VirtualLAN

/// A network namespace of a test's own on the real kernel, with nothing in it but the loopback.
///
/// `unshare` moves one thread only, so the namespace is a thread: tests run on it as on a task executor, and
/// it dies, with all its interfaces, when the last descriptor into it is closed and the thread has ended.
enum NetworkNamespace {
  /// Runs `body` on a thread in a new namespace.
  ///
  /// - Throws: what `body` throws; `NeedsRoot` where the kernel makes no namespace for us.
  static func run(_ body: @escaping @Sendable () throws -> Void) async throws {
    let thread = NamespaceThread()
    defer { thread.stop() }
    try await withTaskExecutorPreference(thread) {
      try thread.enter()
      try body()
    }
  }

  struct NeedsRoot: Error, CustomStringConvertible {
    let code: CInt
    var description: String {
      "this test needs root (CAP_SYS_ADMIN) to make a network namespace of its own: "
        + String(cString: strerror(code))
    }
  }
}

/// One thread that runs the jobs of a test in order.
private final class NamespaceThread: TaskExecutor, @unchecked Sendable {
  // Guards `jobs` and `isStopped`, which is all that threads share.
  private let condition = NSCondition()
  private var jobs: [UnownedJob] = []
  private var isStopped = false

  init() {
    Thread { self.work() }.start()
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    condition.withLock {
      jobs.append(job)
      condition.signal()
    }
  }

  /// Called on the thread itself.
  func enter() throws {
    let result = cnetlink_enter_new_namespace()
    guard result == 0 else { throw NetworkNamespace.NeedsRoot(code: -result) }
  }

  func stop() {
    condition.withLock {
      isStopped = true
      condition.signal()
    }
  }

  private func work() {
    while let job = nextJob() {
      job.runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  private func nextJob() -> UnownedJob? {
    condition.withLock {
      while jobs.isEmpty && !isStopped { condition.wait() }
      return jobs.isEmpty ? nil : jobs.removeFirst()
    }
  }
}

/// A file of this thread's namespace below /proc/net, so that tests do not have to believe the code they test.
func namespaceFile(_ name: String) throws -> String {
  try String(contentsOfFile: "/proc/thread-self/net/\(name)", encoding: .utf8)
}

func name(_ text: String) -> InterfaceName {
  InterfaceName(text)!
}
