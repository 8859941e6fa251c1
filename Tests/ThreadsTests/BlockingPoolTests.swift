import Dispatch
import Glibc
import Synchronization
import Testing

@testable import Threads

/// Waits for a condition that another thread makes true.
private func eventually(_ condition: () -> Bool) async throws -> Bool {
  for _ in 0..<2000 {
    if condition() { return true }
    try await Task.sleep(for: .milliseconds(5))
  }
  return false
}

/// Work that holds its thread until it is let go.
private final class Gate: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)

  func wait() { semaphore.wait() }
  func open(times: Int) { for _ in 0..<times { semaphore.signal() } }
}

@Suite struct BlockingPoolTests {
  private struct Refusal: Error, Equatable {}

  @Test func workIsDoneAndAnswered() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 2, queued: 10))
    #expect(try await pool.run { _ in 42 } == 42)
    await #expect(throws: Refusal.self) { try await pool.run { _ in throw Refusal() } }
    #expect(try await eventually { pool.load.completed == 2 && pool.load.busy == 0 })
  }

  @Test func blockedWorkTakesNoMoreThreadsThanAllowed() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 3, queued: 10))
    let gate = Gate()
    for _ in 0..<8 { try pool.submit { _ in gate.wait() } }
    #expect(try await eventually { pool.load.queued == 5 })
    #expect(pool.load.threads == 3)
    #expect(pool.load.busy == 3)
    gate.open(times: 8)
    #expect(try await eventually { pool.load.completed == 8 })
  }

  @Test func oneThreadBlockedLeavesTheOthersToWork() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 2, queued: 10))
    let gate = Gate()
    try pool.submit { _ in gate.wait() }
    for number in 0..<100 { #expect(try await pool.run { _ in number } == number) }
    gate.open(times: 1)
  }

  @Test func fullQueueRefuses() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 1, queued: 2))
    let gate = Gate()
    try pool.submit { _ in gate.wait() }
    #expect(try await eventually { pool.load.busy == 1 && pool.load.queued == 0 })
    for _ in 0..<2 { try pool.submit { _ in gate.wait() } }
    #expect(throws: BlockingPool.Full.self) { try pool.submit { _ in } }
    await #expect(throws: BlockingPool.Full.self) { try await pool.run { _ in } }
    #expect(pool.load.refused == 2)
    #expect(pool.load.longestWait > .zero)
    gate.open(times: 3)
    #expect(try await eventually { pool.load.completed == 3 })
    #expect(pool.load.longestWait == .zero)
  }

  @Test func idleThreadsEndButOne() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 4, queued: 10, idle: .milliseconds(20)))
    let gate = Gate()
    for _ in 0..<4 { try pool.submit { _ in gate.wait() } }
    #expect(try await eventually { pool.load.busy == 4 })
    gate.open(times: 4)
    #expect(try await eventually { pool.load.threads == 1 })
    #expect(try await pool.run { _ in true })
  }

  @Test func workBeginsInTheOrderItCame() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 1, queued: 1000))
    let order = Mutex<[Int]>([])
    for number in 0..<500 { try pool.submit { _ in order.withLock { $0.append(number) } } }
    #expect(try await eventually { pool.load.completed == 500 })
    #expect(order.withLock { $0 } == Array(0..<500))
  }

  @Test func manySubmittersLoseNothing() async throws {
    let pool = try BlockingPool(name: "test", .init(threads: 4, queued: 10_000, idle: .milliseconds(1)))
    let sum = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<20 { group.addTask { try await Self.sumOf100(pool) } }
      return try await group.reduce(0, +)
    }
    #expect(sum == 20 * 4950)
    #expect(try await eventually { pool.load.busy == 0 && pool.load.queued == 0 })
  }

  private static func sumOf100(_ pool: BlockingPool) async throws -> Int {
    var sum = 0
    for number in 0..<100 {
      sum += try await pool.run { _ in
        if number % 10 == 0 { usleep(1000) }
        return number
      }
      // Lets threads become idle and end.
      if number % 25 == 0 { try await Task.sleep(for: .milliseconds(3)) }
    }
    return sum
  }
}
