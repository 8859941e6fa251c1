import Foundation
import Synchronization
import Testing

@testable import StateFiles

@Suite final class StateFileTests {
  private let folder = "/tmp/chaos-state-\(UUID().uuidString)"

  init() throws { try StateFile.makeFolder("\(folder)/deep/er", mode: 0o700) }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private var path: String { "\(folder)/fact" }

  @Test(arguments: [StateFile.Durability.powerCut, .processDeath])
  func aFileIsReplacedWhole(durability: StateFile.Durability) throws {
    #expect(try StateFile.read(path) == nil)
    let long = [UInt8](repeating: 7, count: 100_000)
    try StateFile.replace(path, with: long, mode: 0o600, durability: durability)
    #expect(try StateFile.read(path) == long)
    try StateFile.replace(path, with: [1], mode: 0o600, durability: durability)
    #expect(try StateFile.read(path) == [1])
    #expect(StateFile.names(in: folder).sorted() == ["deep", "fact"])
    try StateFile.remove(path, durability: durability)
    try StateFile.remove(path, durability: durability)
    #expect(try StateFile.read(path) == nil)
  }

  @Test func aFailedReplacementLeavesNothing() throws {
    try StateFile.makeFolder(path, mode: 0o700)
    let error = #expect(throws: StateFile.Failure.self) {
      try StateFile.replace(path, with: [1], mode: 0o600, durability: .processDeath)
    }
    #expect(error?.description == "replace \(path): Is a directory")
    #expect(StateFile.names(in: folder).sorted() == ["deep", "fact"])
  }

  @Test func whatIsTooLongIsNotRead() throws {
    let bytes = [UInt8](repeating: 0, count: StateFile.longest + 1)
    try StateFile.replace(path, with: bytes, mode: 0o600, durability: .processDeath)
    #expect(throws: StateFile.Failure.self) { try StateFile.read(self.path) }
  }

  @Test func aLockHasOneHolder() throws {
    let first = try FileLock.take(path, within: .zero)
    #expect(try FileLock.takeUnlessHeld(path) == nil)
    _ = consume first
    #expect(try FileLock.takeUnlessHeld(path) != nil)
  }

  /// Whoever holds it may be stopped, and then nobody waits for ever, and everybody learns for whom.
  @Test func aHeldLockIsGivenUpAtTheDeadline() throws {
    let first = try FileLock.take(path, within: .zero)
    let start = ContinuousClock.now
    let error = #expect(throws: FileLock.Failure.self) {
      _ = try FileLock.take(self.path, within: .milliseconds(50))
    }
    #expect(ContinuousClock.now - start >= .milliseconds(50))
    guard case .held(path, let holder?) = error else {
      Issue.record("not held, or nobody knows by whom: \(error?.description ?? "")")
      return
    }
    #expect(holder.process == getpid() && holder.command != nil)
    #expect(error?.description == "lock \(path): held by \(holder)")
    _ = consume first
  }

  @Test func theKernelsListTellsTheHolderFromThoseWhoWait() {
    let list = """
      1: POSIX  ADVISORY  WRITE 77 00:19:5 0 EOF
      2: FLOCK  ADVISORY  WRITE 41 00:19:50 0 EOF
      3: FLOCK  ADVISORY  WRITE 42 00:19:5 0 EOF
      3: -> FLOCK  ADVISORY  WRITE 43 00:19:6 0 EOF
      4: FLOCK  ADVISORY  WRITE -1 00:19:7 0 EOF
      5: FLOCK

      """
    #expect(FileLock.process(holding: 5, in: list) == 42)
    #expect(FileLock.process(holding: 6, in: list) == nil)
    #expect(FileLock.process(holding: 7, in: list) == nil)
  }

  /// Each adds one to what it read; without the lock some would be lost.
  @Test func holdersTakeTurns() throws {
    try StateFile.replace(path, with: [0], mode: 0o600, durability: .processDeath)
    let failures = Mutex(0)
    let path = path
    DispatchQueue.concurrentPerform(iterations: 50) { _ in
      do {
        let lock = try FileLock.take(path + ".lock", within: .seconds(60))
        let value = try StateFile.read(path)?.first ?? 0
        try StateFile.replace(path, with: [value + 1], mode: 0o600, durability: .processDeath)
        _ = consume lock
      } catch {
        failures.withLock { $0 += 1 }
      }
    }
    #expect(failures.withLock { $0 } == 0)
    #expect(try StateFile.read(path) == [50])
  }
}
