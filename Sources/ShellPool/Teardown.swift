import Backends
import Glibc
import StateFiles
import Xen

/// Unmakes domains and everything that was made for them. Every step is safe to repeat, so that what failed in the
/// middle is finished by another try; until then the record stays.
///
/// Many domains go step by step together: the kernel takes some 20 ms to let go of interfaces, of one or of a hundred.
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

  /// A domain that is to go.
  public struct Candidate: Sendable {
    let shell: DomainShell
    let record: DomainRecord?
    let keepsLog: Bool

    /// - Parameters:
    ///   - record: what is written down before anything is torn down, so that a later try knows what is left; nil
    ///     where it says so already.
    ///   - keepsLog: of a guest, whose last words are kept for a while.
    public init(_ shell: DomainShell, ending record: DomainRecord? = nil, keepsLog: Bool = false) {
      self.shell = shell
      self.record = record
      self.keepsLog = keepsLog
    }
  }

  /// Unmakes one domain.
  public func run(
    _ candidate: Candidate, patience: Patience = .caller, observe: StepObserver? = nil
  ) throws {
    if let error = try run([candidate], patience: patience, observe: observe).values.first { throw error }
  }

  /// Unmakes domains: back-end detached, pages unmapped, domain destroyed, taps deleted, the domain's end waited for,
  /// log and record removed.
  ///
  /// - Returns: why those of them that are not gone are not; what is left of them is written down.
  public func run(
    _ candidates: [Candidate], patience: Patience = .caller, observe: StepObserver? = nil
  ) throws -> [DomainIdentity: any Error] {
    var procedure = Procedure<DestroyStep>(observe: observe)
    var batch = Batch(candidates)
    try procedure.step(.record) { batch.each { try self.writeDown($0) } }
    // What died with its back-end needs no detaching; what a silent one still holds keeps the domain from going, and
    // the await below says so.
    var undetached: [DomainIdentity: any Error] = [:]
    try procedure.step(.detachBackend) {
      for shell in batch.left.map(\.shell) {
        do { try attachment.detach(shell) } catch { undetached[shell.identity] = error }
      }
    }
    try procedure.step(.unmapPages) { for candidate in batch.left { candidate.shell.unmap() } }
    try procedure.step(.destroyDomain) {
      batch.each { candidate in
        let shell = candidate.shell
        if try self.hypervisor.info(of: shell.identity) != nil { try self.hypervisor.destroy(shell.domain) }
      }
    }
    // The kernel takes its time for each of these, and the back-end lets go of the domains meanwhile.
    try procedure.step(.deleteTaps) {
      do {
        try attachment.deleteTaps(batch.left.flatMap(\.shell.taps))
      } catch {
        batch.each { _ in throw error }
      }
    }
    try procedure.step(.awaitEnd) {
      var left = patience.microseconds
      batch.each { try self.awaitEnd($0.shell.identity, &left, undetached[$0.shell.identity]) }
    }
    try procedure.step(.removeLog) {
      for candidate in batch.left {
        let handle = candidate.shell.handle
        if candidate.keepsLog { attachment.retireLog(handle) } else { attachment.removeLog(handle) }
      }
    }
    try procedure.step(.removeRecord) { for candidate in batch.left { records.remove(candidate.shell.handle) } }
    return batch.failed
  }

  /// Domains on their way, and why some of them stay behind.
  private struct Batch {
    private(set) var left: [Candidate]
    private(set) var failed: [DomainIdentity: any Error] = [:]

    init(_ candidates: [Candidate]) { left = candidates }

    /// Does something to each; one that fails goes no further.
    mutating func each(_ body: (Candidate) throws -> Void) {
      left = left.filter { candidate in
        do {
          try body(candidate)
          return true
        } catch {
          failed[candidate.shell.identity] = error
          return false
        }
      }
    }
  }

  private func writeDown(_ candidate: Candidate) throws(StateFile.Failure) {
    guard let record = candidate.record else { return }
    // Neither a full /run nor a want of descriptors must keep anything from being destroyed: after a kill in the middle
    // what is left is found by the record as it was, and is whole or gone all the same.
    do {
      try records.write(record)
    } catch {
      if ![ENOSPC, EDQUOT, EMFILE, ENFILE].contains(error.errno) { throw error }
    }
  }

  /// - Parameters:
  ///   - left: microseconds that may still be waited, for all domains of a batch together.
  ///   - undetached: why the back-end did not let go of the domain.
  private func awaitEnd(_ identity: DomainIdentity, _ left: inout Int, _ undetached: (any Error)?) throws {
    // The hypervisor lets go in its own time, a few milliseconds: look often at first.
    var pause = 200
    while try hypervisor.info(of: identity) != nil {
      if left <= 0 {
        if let undetached { throw undetached }
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
