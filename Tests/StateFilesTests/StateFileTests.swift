import Foundation
import StateFiles
import Synchronization
import Testing

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
    let first = try FileLock.take(path)
    #expect(try FileLock.takeUnlessHeld(path) == nil)
    _ = consume first
    #expect(try FileLock.takeUnlessHeld(path) != nil)
  }

  /// Each adds one to what it read; without the lock some would be lost.
  @Test func holdersTakeTurns() throws {
    try StateFile.replace(path, with: [0], mode: 0o600, durability: .processDeath)
    let failures = Mutex(0)
    let path = path
    DispatchQueue.concurrentPerform(iterations: 50) { _ in
      do {
        let lock = try FileLock.take(path + ".lock")
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
