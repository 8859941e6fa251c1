import CDevicePage
import ChaosAPI
import ShellPool
import Synchronization
import Threads
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
    /// Why vifs carry nothing any more, by slot.
    var brokenVifs: [Int: String] = [:]
    /// Kept still for a while; nothing else is done with it.
    var hold: GuestHold?
    /// Being destroyed: nobody is told any more that it exists, and a create is not answered with it.
    var isEnding = false
    /// Why its domain runs no more, though it is there.
    var stopped: GuestEnd?
    var ended: GuestEnd?
    /// How often it stopped: whoever waits for that misses none, however soon it is made again.
    var stops = 0
    var lastStop: GuestEnd?
    /// Somebody asked it to reboot: it is made again when it stops.
    var isToReboot = false
    /// It stopped and is to be made again when its back-off says so.
    var isToRestart = false
    var restarts = Backoff()
    var started = ContinuousClock.now
  }

  private let facts: Mutex<Facts>
  private let queue = Mutex(())
  private let changed = ChangeSignal()

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

  /// Runs an operation after all that were begun before it, unless the guest has ended meanwhile or is held.
  func serially<Result>(_ blocking: borrowing Blocking, _ body: () throws -> Result) throws -> Result {
    try queue.withLock { _ in
      if ended != nil { throw APIError(.notFound, "guest '\(name)' has ended") }
      if let hold { throw APIError(.wrongState, "guest '\(name)' is \(hold.purpose)") }
      return try body()
    }
  }

  /// The same, with whether the guest is still there, held or not.
  func whole<Result>(_ blocking: borrowing Blocking, _ body: (_ isThere: Bool) throws -> Result) rethrows -> Result
  {
    try queue.withLock { _ in try body(ended == nil) }
  }

  /// Another operation is under way.
  struct Busy: Error {}

  /// The same, but not at all when the guest has ended, and not while another operation is under way.
  ///
  /// - Throws: ``Busy`` then, and what `body` throws.
  func ifIdle(_ body: () throws -> Void) throws {
    let done: Void? = try queue.withLockIfAvailable { _ in
      if hold != nil { throw Busy() }
      if ended == nil { try body() }
    }
    if done == nil { throw Busy() }
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

  /// Its device page was changed, or may have been by a daemon that ended, and nobody rang.
  var isUntold: Bool {
    get { facts.withLock { $0.record.isUntold } }
    set { facts.withLock { $0.record.isUntold = newValue } }
  }

  /// Why vifs carry nothing any more, by slot.
  var brokenVifs: [Int: String] { facts.withLock { $0.brokenVifs } }

  /// Notes which vifs carry nothing any more; returns those that are news.
  func note(broken vifs: [Int: String]) -> [Int: String] {
    facts.withLock { facts in
      defer { facts.brokenVifs = vifs }
      return vifs.filter { facts.brokenVifs[$0.key] != $0.value }
    }
  }

  /// Whoever had another has none any more.
  var hold: GuestHold? {
    get { facts.withLock { $0.hold } }
    set { facts.withLock { $0.hold = newValue } }
  }

  func forget(_ hold: GuestHold) {
    facts.withLock { facts in
      if facts.hold === hold { facts.hold = nil }
    }
  }

  /// Ends a hold, whoever has it: the guest is to be destroyed.
  func breakHold() { hold = nil }

  var isEnding: Bool { facts.withLock { $0.isEnding } }

  func beginEnding() { facts.withLock { $0.isEnding = true } }

  /// Notes what the guest says of itself and wakes whoever waits for it.
  ///
  /// - Returns: whether it became ready just now.
  @discardableResult
  func update(status: UInt32) -> Bool {
    var becameReady = false
    change { facts in
      let ready = UInt32(CHAOS_STATUS_READY)
      becameReady = facts.status & ready == 0 && status & ready != 0
      facts.status = status
    }
    return becameReady
  }

  /// Why it stopped last.
  var lastStop: GuestEnd? { facts.withLock { $0.lastStop } }

  var isRestartPlanned: Bool { facts.withLock { $0.isToRestart } }

  /// How often it has stopped since this daemon knows it.
  var stops: Int { facts.withLock { $0.stops } }

  /// Notes that the guest stopped by itself, and wakes whoever waits for that. False when it was known.
  @discardableResult
  func stop(_ reason: GuestEnd) -> Bool {
    var isNews = false
    change { facts in
      guard facts.stopped == nil else { return }
      facts.stopped = reason
      facts.lastStop = reason
      facts.stops += 1
      isNews = true
    }
    return isNews
  }

  func end(_ reason: GuestEnd) {
    change { facts in
      guard facts.ended == nil else { return }
      facts.ended = reason
      if facts.stopped == nil { facts.stops += 1 }
    }
  }

  // MARK: Being made again

  /// A guest that ran so long has proved that it can: its next restart is not held back.
  private static let provenAfter = Duration.seconds(60)

  var isToReboot: Bool { facts.withLock { $0.isToReboot } }

  func expectReboot() { facts.withLock { $0.isToReboot = true } }

  /// Notes that the guest, which stopped, is to be made again: at once the first time, later and later when it keeps
  /// stopping soon after it was started.
  func planRestart() {
    facts.withLock { facts in
      if !facts.isToRestart, facts.started.duration(to: .now) >= Self.provenAfter { facts.restarts = Backoff() }
      facts.isToRestart = true
    }
  }

  var isRestartDue: Bool { facts.withLock { $0.isToRestart && $0.restarts.isDue } }

  /// Takes another domain for its own: the guest was made again. Called on its queue.
  func become(_ shell: DomainShell, _ record: GuestRecord) {
    change { facts in
      facts.shell = shell
      facts.record = record
      facts.status = 0
      facts.isTampered = false
      facts.brokenVifs = [:]
      facts.isEnding = false
      facts.stopped = nil
      facts.isToReboot = false
      facts.isToRestart = false
      facts.restarts.fail()
      facts.started = .now
    }
  }

  private func change(_ body: (inout Facts) -> Void) {
    facts.withLock { body(&$0) }
    changed.fire()
  }

  /// A stream that yields at once and then whenever the guest changes.
  func changes() -> AsyncStream<Void> { changed.changes().stream }
}
