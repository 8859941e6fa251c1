import Backends
import Glibc
import StateFiles
import Xen

/// Unmakes domains and everything that was made for them. Every step is safe to repeat, so that what failed in the
/// middle is finished by another try; until then the record stays.
public final class Teardown: Sendable {
  private let hypervisor: Hypervisor
  private let attachment: BackendAttachment
  private let records: RecordStore

  init(hypervisor: Hypervisor, attachment: BackendAttachment, records: RecordStore) {
    self.hypervisor = hypervisor
    self.attachment = attachment
    self.records = records
  }

  /// How long to wait for the hypervisor to let go of a domain, which it does when nobody maps its memory any more.
  public enum Patience: Sendable {
    /// As long as a caller will wait: 10 s.
    case caller
    /// A moment (100 ms): whoever asks comes again.
    case moment

    var microseconds: Int {
      switch self {
      case .caller: 10_000_000
      case .moment: 100_000
      }
    }
  }

  /// Unmakes a domain: back-end detached, pages unmapped, domain destroyed, taps deleted, the domain's end waited for,
  /// log and record removed.
  ///
  /// - Parameter record: what is written down before anything is torn down, so that a later try knows what is left;
  ///   nil where it says so already.
  public func run(
    _ shell: DomainShell, ending record: DomainRecord? = nil, patience: Patience = .caller,
    observe: StepObserver? = nil
  ) throws {
    var procedure = Procedure<DestroyStep>(observe: observe)
    if let record {
      // A full /run must not keep anything from being destroyed: after a kill in the middle what is left is found by
      // the record as it was, and is whole or gone all the same.
      try procedure.step(.record) {
        do { try records.write(record) } catch let error as StateFile.Failure where Self.isFull(error) {}
      }
    }
    // What died with its back-end needs no detaching; what a silent one still holds keeps the domain from going, and
    // the await below says so.
    var detached: (any Error)?
    try procedure.step(.detachBackend) {
      do { try attachment.detach(shell.identity) } catch { detached = error }
    }
    try procedure.step(.unmapPages) { shell.unmap() }
    try procedure.step(.destroyDomain) {
      if try hypervisor.info(of: shell.identity) != nil { try hypervisor.destroy(shell.domain) }
    }
    // The kernel takes its time for each of these, and the back-end lets go of the domain meanwhile.
    try procedure.step(.deleteTaps) { try attachment.deleteTaps(shell.taps) }
    try procedure.step(.awaitEnd) { try awaitEnd(shell.identity, patience, detached) }
    try procedure.step(.removeLog) { attachment.removeLog(shell.handle) }
    try procedure.step(.removeRecord) { records.remove(shell.handle) }
  }

  private static func isFull(_ failure: StateFile.Failure) -> Bool {
    failure.errno == ENOSPC || failure.errno == EDQUOT
  }

  private func awaitEnd(_ identity: DomainIdentity, _ patience: Patience, _ detached: (any Error)?) throws {
    // The hypervisor lets go in its own time, a few milliseconds: look often at first.
    var pause = 200
    var left = patience.microseconds
    while try hypervisor.info(of: identity) != nil {
      if left <= 0 {
        if let detached { throw detached }
        throw XenError(
          call: "wait for the end of domain", domain: identity.domain, errno: ETIMEDOUT,
          detail: "somebody still maps its memory; it is tried again")
      }
      usleep(UInt32(pause))
      left -= pause
      pause = min(pause * 2, 20_000)
    }
  }
}
