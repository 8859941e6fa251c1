import Dispatch
import Synchronization
import Testing

@testable import Threads

@Suite struct FileThreadTests {
  /// Holds the thread until it is let go, as a frozen disk does.
  private func freeze(_ files: FileThread) -> DispatchSemaphore {
    let (frozen, thaw) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    files.order {
      frozen.signal()
      thaw.wait()
    }
    frozen.wait()
    return thaw
  }

  @Test func whatIsAskedIsAnswered() throws {
    let files = try FileThread(name: "test")
    #expect(files.ask { 42 } == 42)
    let done = Mutex(false)
    files.order { done.withLock { $0 = true } }
    #expect(done.withLock { $0 })
  }

  @Test func nobodyWaitsLongForADiskThatStandsStill() throws {
    let files = try FileThread(name: "test", patience: .milliseconds(50))
    let start = ContinuousClock.now
    let thaw = freeze(files)
    let done = Mutex<[Int]>([])
    for number in 0..<100 {
      #expect(files.ask { number } == nil)
      files.order { done.withLock { $0.append(number) } }
    }
    #expect(ContinuousClock.now - start < .seconds(5))
    thaw.signal()
    // What was ordered is done, in order; what was asked is not.
    var last: Int?
    while last == nil { last = files.ask { done.withLock { $0.last } ?? -1 } }
    #expect(last == 99 && done.withLock { $0 } == Array(0..<100))
  }

  @Test func aResultThatComesTooLateIsGivenAway() throws {
    let files = try FileThread(name: "test", patience: .milliseconds(50))
    let (thaw, given) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let result = files.ask {
      thaw.wait()
      return 42
    } late: { late in
      if late == 42 { given.signal() }
    }
    #expect(result == nil)
    thaw.signal()
    #expect(given.wait(timeout: .now() + .seconds(10)) == .success)
  }
}
