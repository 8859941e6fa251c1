import Dispatch

/// Runs what blocks for long (waiting for the hypervisor to let go of a domain, for the kernel to unregister a tap)
/// outside Swift's cooperative pool, which on a one-CPU dom0 is a single thread that every request needs.
///
/// A hot create is not sent here: it blocks for less than the switch of threads would cost.
enum BlockingWork {
  private static let queue = DispatchQueue(label: "chaos.blocking", attributes: .concurrent)

  static func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Swift.Result { try body() }) }
    }
  }
}
