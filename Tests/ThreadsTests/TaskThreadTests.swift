import Dispatch
import Testing

@testable import Threads

@Suite struct TaskThreadTests {
  @Test func tasksSleepAndEnd() async throws {
    let tasks = try TaskThread(name: "test")
    let start = ContinuousClock.now
    let sleepers = [300, 100, 200].map { time in
      Task(executorPreference: tasks) {
        try await tasks.sleep(for: .milliseconds(time))
        return ContinuousClock.now - start
      }
    }
    for (sleeper, time) in zip(sleepers, [300, 100, 200]) {
      #expect(try await sleeper.value >= .milliseconds(time))
    }
  }

  @Test func cancelledSleepEndsAtOnce() async throws {
    let tasks = try TaskThread(name: "test")
    let asleep = Task(executorPreference: tasks) { try await tasks.sleep(for: .seconds(600)) }
    let cancelledBefore = Task(executorPreference: tasks) {
      withUnsafeCurrentTask { $0?.cancel() }
      try await tasks.sleep(for: .seconds(600))
    }
    try await tasks.sleep(for: .milliseconds(50))
    asleep.cancel()
    await #expect(throws: CancellationError.self) { try await asleep.value }
    await #expect(throws: CancellationError.self) { try await cancelledBefore.value }
  }

  @Test func childTasksAreWokenFromOtherThreads() async throws {
    let tasks = try TaskThread(name: "test")
    let (stream, continuation) = AsyncStream.makeStream(of: Int.self)
    let sum = Task(executorPreference: tasks) {
      await withTaskGroup(of: Int.self) { group in
        group.addTask { await stream.reduce(0, +) }
        return await group.next() ?? 0
      }
    }
    try BackgroundThread.start(name: "other") {
      for number in 1...100 { continuation.yield(number) }
      continuation.finish()
    }
    #expect(await sum.value == 5050)
  }
}
