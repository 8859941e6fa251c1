import ChaosAPI
import ShellPool
import Threads
import Xen

/// A guest is kept still for longer than an operation lasts: nothing is done with it meanwhile but its destruction, which
/// ends the hold.
///
/// That it was running is in its record before it is paused (``GuestRecord/isHeld``), so that whatever becomes of this
/// process it goes on in the end: by ``release(_:of:)``, and else by the reconciler, this daemon's or the next one's.
final class GuestHold: Sendable {
  /// What is done with it: `being dumped`.
  let purpose: String

  init(purpose: String) { self.purpose = purpose }
}

extension Toolstack {
  /// Pauses a guest, if it runs, and keeps others from it.
  ///
  /// - Parameter then: runs once the guest stands still; when it throws, the guest goes on.
  func hold<Result>(
    _ guest: Guest, for purpose: String, _ blocking: borrowing Blocking,
    then body: (DomainInfo) throws -> Result
  ) throws -> (GuestHold, Result) {
    let hold = GuestHold(purpose: purpose)
    return try guest.serially(blocking) {
      guard let info = try hypervisor.info(of: guest.identity), !info.isDying else {
        throw APIError(.wrongState, "guest '\(guest.name)' is ending")
      }
      if !info.isPaused, !info.isShutdown { try holdStill(guest) }
      do {
        let result = try body(info)
        guest.hold = hold
        return (hold, result)
      } catch {
        try letGo(guest)
        throw error
      }
    }
  }

  private func holdStill(_ guest: Guest) throws {
    var record = guest.record
    record.isHeld = true
    try write(record, of: guest)
    do {
      try hypervisor.pause(guest.shell.domain)
    } catch {
      try letGo(guest)
      throw error
    }
  }

  /// Ends a hold. What fails of that is the reconciler's.
  func release(_ hold: GuestHold, of guest: Guest, _ blocking: borrowing Blocking) {
    guest.whole(blocking) { isThere in
      guard guest.hold === hold else { return }
      guest.hold = nil
      if isThere {
        do { try letGo(guest) } catch { reconciler.lookNow() }
      }
    }
  }

  /// The same without waiting: the reconciler lets the guest go on.
  func abandon(_ hold: GuestHold, of guest: Guest) {
    guest.forget(hold)
    reconciler.lookNow()
  }

  /// Lets go on what was held and is no more; for the reconciler.
  func letGo(_ identity: DomainIdentity) throws {
    guard let guest = registry[identity.handle], guest.identity == identity else { return }
    try guest.ifIdle { try letGo(guest) }
  }

  /// Called on the guest's queue. A guest that was paused by somebody is not held.
  private func letGo(_ guest: Guest) throws {
    guard guest.record.isHeld, !guest.isEnding else { return }
    if let info = try hypervisor.info(of: guest.identity), info.isPaused, !info.isDying {
      try hypervisor.unpause(guest.shell.domain)
    }
    var record = guest.record
    record.isHeld = false
    // It may run again by now: should this not be written, the next look finds nothing to unpause, and writes it.
    try write(record, of: guest)
  }

  /// Lets all guests that are held go on: this daemon ends.
  public func releaseAll(_ blocking: borrowing Blocking) {
    for guest in registry.guests {
      if let hold = guest.hold { release(hold, of: guest, blocking) }
    }
  }
}
