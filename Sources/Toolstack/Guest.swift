import CDevicePage
import ChaosAPI
import ShellPool
import Synchronization
import Xen

/// A guest chaosd knows: its domain, its record and what it said of itself.
///
/// Operations on one guest run one after another (``serially(_:)``); different guests do not wait for each
/// other. A short lock of its own keeps the facts readable meanwhile.
final class Guest: Sendable {
  let handle: DomainHandle

  private struct Facts {
    var record: GuestRecord
    var shell: DomainShell
    /// CHAOS_STATUS_* bits: the guest's own words.
    var status: UInt32 = 0
    var isTampered = false
    /// Being destroyed: nobody is told any more that it exists, and a create is not answered with it.
    var isEnding = false
    /// Why its domain runs no more, though it is there.
    var stopped: GuestEnd?
    var ended: GuestEnd?
    var nextWaiter = 0
    var waiters: [Int: AsyncStream<Void>.Continuation] = [:]
  }

  private let facts: Mutex<Facts>
  private let queue = Mutex(())

  init(record: GuestRecord, shell: DomainShell) {
    handle = shell.handle
    facts = Mutex(Facts(record: record, shell: shell))
  }

  var name: String { facts.withLock { $0.record.name } }

  var shell: DomainShell { facts.withLock { $0.shell } }

  var identity: DomainIdentity { shell.identity }

  /// What is written down of the guest.
  var record: GuestRecord { facts.withLock { $0.record } }

  /// Called on the guest's queue, once the new record is written.
  func replace(record: GuestRecord) { facts.withLock { $0.record = record } }

  /// What the guest's record says in a phase.
  ///
  /// - Parameter record: what is about to be written; nil: what was.
  func domainRecord(_ phase: DomainRecord.Phase, _ record: GuestRecord? = nil) -> DomainRecord {
    shell.record(phase, guest: record ?? self.record)
  }

  // MARK: Queue

  /// Runs an operation after all that were begun before it, unless the guest has ended meanwhile.
  func serially<Result>(_ body: () throws -> Result) throws -> Result {
    try queue.withLock { _ in
      if ended != nil { throw APIError(.notFound, "guest '\(name)' has ended") }
      return try body()
    }
  }

  /// The same, but not at all while another operation is under way or when the guest has ended.
  func ifIdle(_ body: () throws -> Void) rethrows {
    try queue.withLockIfAvailable { _ in
      if ended == nil { try body() }
    }
  }

  // MARK: Facts

  var ended: GuestEnd? { facts.withLock { $0.ended } }

  /// Why the guest runs no more, whether it is still there or gone.
  var stopped: GuestEnd? { facts.withLock { $0.ended ?? $0.stopped } }

  var isReady: Bool { facts.withLock { $0.status & UInt32(CHAOS_STATUS_READY) != 0 } }

  var isTampered: Bool {
    get { facts.withLock { $0.isTampered } }
    set { facts.withLock { $0.isTampered = newValue } }
  }

  var isEnding: Bool { facts.withLock { $0.isEnding } }

  func beginEnding() { facts.withLock { $0.isEnding = true } }

  /// Notes what the guest says of itself and wakes whoever waits for it.
  func update(status: UInt32) {
    change { $0.status = status }
  }

  /// Notes that the guest stopped by itself, and wakes whoever waits for that.
  func stop(_ reason: GuestEnd) {
    change { facts in
      if facts.stopped == nil { facts.stopped = reason }
    }
  }

  func end(_ reason: GuestEnd) {
    change { facts in
      if facts.ended == nil { facts.ended = reason }
    }
  }

  private func change(_ body: (inout Facts) -> Void) {
    let waiters = facts.withLock { facts in
      body(&facts)
      return Array(facts.waiters.values)
    }
    for waiter in waiters { waiter.yield() }
  }

  /// A stream that yields at once and then whenever the guest changes.
  func changes() -> AsyncStream<Void> {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let id = facts.withLock { facts in
      facts.nextWaiter += 1
      facts.waiters[facts.nextWaiter] = continuation
      return facts.nextWaiter
    }
    continuation.onTermination = { [weak self] _ in
      self?.facts.withLock { $0.waiters[id] = nil }
    }
    continuation.yield()
    return stream
  }
}
