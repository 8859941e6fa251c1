import CDevicePage
import ChaosAPI
import Glibc
import ShellPool
import StateFiles
import Threads
import VirtualLAN
import Xen

extension Toolstack {
  // MARK: When a guest stops

  /// What its policies make of a guest's end; called on its queue.
  ///
  /// - Parameter isThere: whether its domain still is, and can be kept.
  func settle(_ guest: Guest, _ reason: GuestEnd, isThere: Bool) throws {
    if guest.stop(reason) { journal.note(.ended, guest, reason: reason) }
    switch policy(of: guest, reason) {
    case .preserve where isThere: break
    case .restart where isThere: guest.planRestart()
    default: try unmake(guest, reason: reason, patience: .moment)
    }
  }

  private func policy(of guest: Guest, _ reason: GuestEnd) -> RestartPolicy {
    let policies = guest.record.policies
    switch reason {
    case .poweroff: return policies.onPoweroff
    // Whoever asks for a reboot means that it comes back.
    case .reboot: return guest.isToReboot ? .restart : policies.onReboot
    case .crash, .suspend, .watchdog: return policies.onCrash
    case .destroyed, .failed: return .destroy
    }
  }

  // MARK: Making a guest again

  /// Asks a guest to reboot; it is made again when it has stopped, whatever its policy.
  public func reboot(_ reference: String, force: Bool, _ blocking: borrowing Blocking) throws(APIError) {
    let guest = try registry.find(reference)
    guard !force else { return try remake(guest, .rebooted, blocking) }
    guard guest.record.bus == .noxs else {
      throw APIError(
        .unsupported, "guest '\(guest.name)' does not speak powerctl on the noxs bus; reboot it by force")
    }
    do {
      try guest.serially(blocking) {
        let state = try info(of: guest).state
        guard state == .running else { throw Self.wrongState(guest, state, "rebooted") }
        guest.expectReboot()
        try attachment.request(UInt32(CHAOS_REQUEST_REBOOT), of: guest.identity)
        journal.note(.rebooted, guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Destroys a guest and makes it again, with the same name, UUID and addresses.
  public func restart(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) -> GuestInfo {
    let guest = try registry.find(reference)
    try remake(guest, .restarted, blocking)
    return try info(of: guest)
  }

  private func remake(_ guest: Guest, _ kind: Event.Kind, _ blocking: borrowing Blocking) throws(APIError) {
    do {
      try guest.serially(blocking) { try remakeNow(guest, kind) }
    } catch {
      throw APIError(error)
    }
  }

  /// Makes a stopped guest again, if that is still wanted; for the reconciler.
  func restartStopped(_ identity: DomainIdentity) throws {
    guard let guest = registry[identity.handle], guest.identity == identity else { return }
    try guest.ifIdle {
      guard guest.identity == identity, guest.isRestartDue else { return }
      try remakeNow(guest, .restarted)
    }
  }

  /// Called on the guest's queue. What the new domain needs is there before the old one goes, and a note outlives a
  /// kill in between: the guest is the old one, or the new one, or is made when chaosd is back.
  private func remakeNow(_ guest: Guest, _ kind: Event.Kind) throws {
    let old = guest.shell
    var note = StartNote(guest.record, handle: guest.handle, flavour: old.flavour)
    note.restarts += 1
    let plan = try self.plan(note)
    let (shell, shellKind) = try obtainShell(plan)
    do {
      try pending.write(note)
    } catch {
      builder.abandon(shell)
      throw error
    }
    do {
      try builder.teardown.run(Teardown.Candidate(old, ending: guest.domainRecord(.ending)), observe: observe)
    } catch {
      // The end is begun: it is finished, and the note then makes the guest anew.
      builder.abandon(shell)
      guest.beginEnding()
      throw error
    }
    left(guest.record.vifs)
    do {
      try execute(plan, shell, shellKind, as: guest)
    } catch {
      // Its note stays: it is tried again.
      guest.end(.failed)
      throw error
    }
    journal.note(kind, guest)
    try pending.remove(guest.handle)
  }

  // MARK: Guests that are to be there

  /// Starts a guest that a note speaks of; for the reconciler.
  func start(_ handle: DomainHandle) throws {
    guard let note = pending[handle] else { return }
    if let guest = registry[handle] {
      // A guest that is being made again right now, or whose old domain does not go, needs its note still.
      return try guest.ifIdle { if !guest.isEnding { try pending.remove(handle) } }
    }
    // Of the domain before it nothing may be left.
    guard !records.all.contains(where: { $0.handle == handle }) else { return }
    do throws(APIError) {
      _ = try make(note)
    } catch {
      // Somebody may have made it meanwhile.
      if registry[handle] == nil { throw error }
    }
    try pending.remove(handle)
  }

  /// Notes whose guest is not there and whose predecessors are.
  var dueStarts: [DomainHandle] {
    let notes = pending.all
    guard !notes.isEmpty else { return [] }
    let waiting = Set(notes.compactMap { registry[$0.handle] == nil ? $0.request.name : nil })
    // A predecessor that is not to be started at all is not waited for.
    return notes.filter { $0.request.after.allSatisfy { !waiting.contains($0) } }.map(\.handle)
  }
}
