import Backends
import Glibc
import Synchronization
import Testing
import VirtualLAN

@testable import ShellPool

@Suite struct KeptQueuesTests {
  private let kept = KeptQueues()

  private static func descriptor() -> Descriptor { Descriptor(adopting: open("/dev/null", O_RDWR | O_CLOEXEC)) }

  private static func queue(owner: Int? = nil) -> VifQueue {
    VifQueue(tap: VifQueue.OpenTap(descriptor()), vhost: descriptor(), owner: owner)
  }

  private static func tap(_ number: Int32) -> InterfaceIndex { InterfaceIndex(rawValue: number)! }

  private func keep(_ count: Int32) -> [VifQueue] {
    (1...count).map { number in
      let queue = Self.queue()
      kept.keep(queue, of: Self.tap(number))
      return queue
    }
  }

  /// On return each is closed once, whether those who were to help came or not.
  @Test(arguments: [0, 1, 4]) func allIsLetGoOf(helpers: Int) {
    let queues = keep(20)
    let late = Mutex<[@Sendable () -> Void]>([])
    kept.letGoOfAll { work in
      for _ in 0..<helpers { late.withLock { $0.append(work) } }
    }
    #expect(queues.allSatisfy { $0.isLetGo })
    // They find nothing to do.
    for work in late.withLock({ $0 }) { work() }
    #expect(kept.unserved(Self.tap(3), atMost: 32).count == 20)
  }

  @Test func theUnservedComeInBatchesWithTheOneAskedFor() {
    _ = keep(20)
    #expect(kept.unserved(Self.tap(3), atMost: 8).isEmpty)
    kept.letGoOfAll { _ in }
    let batch = kept.unserved(Self.tap(3), atMost: 8)
    #expect(batch.count == 8 && batch.first?.tap == Self.tap(3) && Set(batch.map(\.tap)).count == 8)
    #expect(kept.unserved(Self.tap(99), atMost: 8).isEmpty)
  }

  /// An owned instance is the back-end's that owns it, once, and nobody's after its death.
  @Test func anOwnedInstanceServesOnceAndItsOwnerAlone() throws {
    _ = keep(2)
    kept.letGoOfAll { _ in }
    for (tap, old) in kept.unserved(Self.tap(1), atMost: 8) {
      kept.replace(old, of: tap, with: Self.queue(owner: 7))
    }
    #expect(kept.unserved(Self.tap(1), atMost: 8).isEmpty)
    #expect(kept.takeOwned(Self.tap(1), by: 8) == nil)
    let queue = try #require(kept.takeOwned(Self.tap(1), by: 7))
    #expect(kept.takeOwned(Self.tap(1), by: 7) == nil)
    kept.keep(queue, of: Self.tap(1))
    // In use now: nobody may begin it anew.
    #expect(queue.owner == nil && kept.takeOwned(Self.tap(1), by: 7) == nil)
    kept.letGoOfAll { _ in }
    #expect(kept.takeOwned(Self.tap(2), by: 7) == nil)
  }

  /// What was put in a queue's place meanwhile stays.
  @Test func aQueueThatChangedIsNotReplaced() {
    let old = keep(1)[0]
    let newer = Self.queue()
    kept.keep(newer, of: Self.tap(1))
    kept.replace(old, of: Self.tap(1), with: Self.queue(owner: 7))
    #expect(kept.queue(of: Self.tap(1)) === newer)
  }
}
