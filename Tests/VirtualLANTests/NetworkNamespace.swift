import CNetlink
import Foundation
import Glibc
import NetworkAddresses
import Synchronization
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

  /// Makes another namespace and returns a descriptor of it, which keeps it alive and is the caller's.
  static func another() throws -> CInt {
    let maker = NamespaceMaker()
    Thread { maker.make() }.start()
    let descriptor = maker.wait()
    guard descriptor >= 0 else { throw NeedsRoot(code: -descriptor) }
    return descriptor
  }

  struct NeedsRoot: Error, CustomStringConvertible {
    let code: CInt
    var description: String {
      "this test needs root (CAP_SYS_ADMIN) to make a network namespace of its own: "
        + String(cString: strerror(code))
    }
  }
}

/// What a thread that lives just long enough to make a namespace hands back.
private final class NamespaceMaker: Sendable {
  private let descriptor = Atomic<CInt>(-ECHILD)
  private let hasEnded = DispatchSemaphore(value: 0)

  func make() {
    let result = cnetlink_enter_new_namespace()
    let opened = result == 0 ? open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC) : result
    descriptor.store(opened, ordering: .releasing)
    hasEnded.signal()
  }

  /// The descriptor, or a negated errno.
  func wait() -> CInt {
    hasEnded.wait()
    return descriptor.load(ordering: .acquiring)
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

/// A file of this thread's namespace below /proc/sys/net, without its newline.
func setting(_ path: String) throws -> String {
  try String(contentsOfFile: "/proc/sys/net/\(path)", encoding: .utf8).trimmingCharacters(
    in: .whitespacesAndNewlines)
}

/// Whether something comes true, with a generous limit: parts of the kernel work on threads of their own.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(60)
  while ContinuousClock.now < deadline {
    if try condition() { return true }
    usleep(1000)
  }
  return try condition()
}

func mac(_ text: String) -> MACAddress {
  MACAddress(text)!
}

func address(_ text: String) -> IPAddress {
  IPAddress(text)!
}

extension RouteSocket {
  /// Makes a bridge.
  mutating func makeBridge(_ text: String) throws -> InterfaceIndex {
    try perform(.createBridge(name(text)))
    return try index(of: text)
  }

  mutating func index(of text: String) throws -> InterfaceIndex {
    guard let link = try link(named: name(text)) else { throw NoSuchLink(name: text) }
    return link.index
  }
}

struct NoSuchLink: Error {
  let name: String
}
