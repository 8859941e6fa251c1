import Backends
import ChaosAPI
import DevicePages
import Glibc
import ImageStore
import ShellPool
import VirtualLAN
import Xen

extension Toolstack {
  // MARK: Looking

  /// What is not as it should be; nil when the hypervisor cannot be asked, which the next round does again.
  func differences(_ scope: Reconciler.Scope, leaving unreadable: Set<DomainHandle>) -> [Difference]? {
    var wanted = WantedState()
    wanted.unreadable = unreadable
    wanted.guests = registry.guests.map { wantedDomain($0) }
    wanted.shells = pool.shells.map { WantedState.Domain(identity: $0.identity, taps: $0.taps) }
    guard let actual = actualState(scope) else { return nil }
    // Of domains alone the hypervisor is asked twice a second: nothing else is gathered for that.
    if scope != .domains {
      let recorded = records.all
      wanted.recorded = Set(recorded.map(\.handle))
      wanted.taps = attachment.madeTaps
      for record in recorded { wanted.taps.formUnion(record.taps?.map(\.index) ?? []) }
      for guest in registry.guests { wanted.taps.formUnion(guest.shell.taps.map(\.index)) }
    }
    wanted.abandoned = records.abandoned.map(\.handle)
    wanted.starts = dueStarts
    return Difference.between(wanted, actual)
  }

  private func wantedDomain(_ guest: Guest) -> WantedState.Domain {
    var domain = WantedState.Domain(identity: guest.identity, taps: guest.shell.taps)
    domain.isEnding = guest.isEnding
    domain.isStopped = guest.stopped != nil
    domain.isRestartDue = guest.isRestartDue
    domain.isUntold = guest.isUntold
    domain.isForgotten = guest.record.isHeld && guest.hold == nil
    domain.vifs = Set(guest.record.vifs.map(\.slot))
    for vif in guest.record.vifs where vif.lan == nil { domain.bridges[vif.slot] = vif.bridge }
    return domain
  }

  private func actualState(_ scope: Reconciler.Scope) -> ActualState? {
    var served: [DomainIdentity: Set<Int>?]?
    if scope == .everything { served = servedNow() }
    guard let domains = try? hypervisor.domainsByIdentity() else { return nil }
    var actual = ActualState(domains: domains, served: served)
    // What cannot be listed now is not compared now.
    if scope != .domains { actual.links = try? network.links() }
    if scope == .everything { actual.logs = attachment.loggedHandles }
    return actual
  }

  /// What the back-end serves, having noted what guests said of themselves; nil when it does not answer.
  private func servedNow() -> [DomainIdentity: Set<Int>?]? {
    guard let statuses = try? attachment.served() else { return nil }
    for status in statuses {
      if let guest = registry[status.key.handle], guest.identity == status.key {
        guest.update(status: status.status)
      }
    }
    return Dictionary(statuses.map { ($0.key, $0.vifs) }, uniquingKeysWith: { first, _ in first })
  }

  /// Notes what a guest says of itself, and what the back-end says of its vifs.
  func note(_ status: ControlProtocol.Status, of guest: Guest) {
    if guest.update(status: status.status) { journal.note(.ready, guest) }
    let broken = status.brokenVifs.map { (Int($0.slot), $0.reason.description) }
    for (slot, reason) in guest.note(broken: Dictionary(uniqueKeysWithValues: broken)) {
      journal.note(.vifBroken, guest, message: "vif \(slot): \(reason)")
    }
  }

  // MARK: Mending

  /// Does what a difference calls for. Looks again first: the difference may be older than the last operation.
  func mend(_ difference: Difference) throws {
    switch difference {
    case .stopped(let identity, let reason): try settle(identity, reason)
    case .restartDue(let identity): try restartStopped(identity)
    case .forgotten(let identity): try letGo(identity)
    case .unstarted(let handle): try start(handle)
    case .unfinishedEnd(let identity): try finishEnd(identity)
    case .lostShell(let identity):
      if let shell = pool.withdraw(identity), let error = builder.abandon(shell) { throw error }
    case .abandoned(let handle): try unmakeAbandoned(handle)
    case .unserved(let identity): try serve(identity)
    case .strangerServed(let identity): try attachment.detach(identity)
    case .strangerVif(let identity, let slot): try letGo(ofVif: slot, of: identity)
    case .unservedVif(let identity, let slot): try serve(vif: slot, of: identity)
    case .untold(let identity): try tellLate(identity)
    case .misplacedTap(let identity, let slot): try putBack(identity, slot)
    case .plainPort(_, _, let index): try network.setUpPort(index)
    case .strayTap(let index, _): try attachment.deleteStray(index)
    case .strayLog(let handle): attachment.removeLog(handle)
    }
  }

  private func guest(_ identity: DomainIdentity) -> Guest? {
    guard let guest = registry[identity.handle], guest.identity == identity else { return nil }
    return guest
  }

  /// A guest runs no more: removed, or kept where its console is worth reading.
  private func settle(_ identity: DomainIdentity, _ reason: GuestEnd) throws {
    try guest(identity)?.ifIdle {
      guard let guest = guest(identity) else { return }
      let info = try hypervisor.info(of: identity)
      if let info, !info.isShutdown, !info.isDying { return }
      try settle(guest, reason, isThere: info.map { !$0.isDying } ?? false)
    }
  }

  private func finishEnd(_ identity: DomainIdentity) throws {
    try guest(identity)?.ifIdle {
      guard let guest = guest(identity) else { return }
      try unmake(guest, reason: guest.stopped ?? .destroyed, patience: .moment)
    }
  }

  /// Unmakes what a record speaks of that nobody is answerable for: a domain found half-made, or one whose tear-down
  /// failed before.
  private func unmakeAbandoned(_ handle: DomainHandle) throws {
    guard let record = records.abandoned.first(where: { $0.handle == handle }) else { return }
    guard let identity = try identity(of: record) else {
      try builder.forget(record)
      return
    }
    try builder.teardown.run(Teardown.Candidate(try builder.remains(record, identity)), patience: .moment)
  }

  /// Which domain a record is of. Its number may be missing (in `building`, in records of version 1): then it is the
  /// one with the handle, which chaosd made up itself.
  func identity(of record: DomainRecord) throws(XenError) -> DomainIdentity? {
    if let identity = record.identity { return try hypervisor.info(of: identity)?.identity }
    return try hypervisor.domains().first { $0.handle == record.handle && $0.id != .dom0 }?.identity
  }

  /// Hands a domain to a back-end that does not serve it, because its predecessor died.
  private func serve(_ identity: DomainIdentity) throws {
    if let guest = guest(identity) {
      try guest.ifIdle { try serve(guest) }
    } else if let shell = pool.withdraw(identity) {
      do {
        let boot = shell.flavour.image.flatMap { try? BootImages($0, in: self.images) }
        try attachment.reattach(shell, features: boot?.vifFeatures ?? .always)
      } catch {
        builder.abandon(shell)
        throw error
      }
      if !pool.adopt(shell) { builder.abandon(shell) }
    }
  }

  /// Called on the guest's queue.
  private func serve(_ guest: Guest) throws {
    let features = guest.record.vifs.first?.features ?? 0
    try attachment.reattach(guest.shell, features: VifFeatures(rawValue: features))
  }

  /// Asks the back-end for something of a guest's, on the guest's queue. One that was started just now does not serve
  /// the guest yet, and the reconciler waits until the queue is free: so it is handed the guest here, and asked again.
  func withBackend<Result>(of guest: Guest, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as BackendError where error.errno == ENODEV {
      try serve(guest)
      return try body()
    }
  }

  private func tellLate(_ identity: DomainIdentity) throws {
    try guest(identity)?.ifIdle {
      if let guest = guest(identity), guest.isUntold, !guest.isEnding { try tell(guest) }
    }
  }

  /// Has the back-end let go of a vif that the guest still lacks.
  private func letGo(ofVif slot: Int, of identity: DomainIdentity) throws {
    try guest(identity)?.ifIdle {
      guard let guest = guest(identity), !guest.record.vifs.contains(where: { $0.slot == slot }) else { return }
      try attachment.detachVif(identity, slot: slot)
    }
  }

  /// Hands the back-end a vif that the guest still has.
  private func serve(vif slot: Int, of identity: DomainIdentity) throws {
    try guest(identity)?.ifIdle {
      guard let guest = guest(identity), let vif = guest.record.vifs.first(where: { $0.slot == slot }) else {
        return
      }
      try attachment.reattachVif(guest.shell, slot: slot, features: VifFeatures(rawValue: vif.features))
    }
  }

  /// Puts a vif back on its bridge, which somebody deleted and made again, or took it off.
  private func putBack(_ identity: DomainIdentity, _ slot: Int) throws {
    try guest(identity)?.ifIdle {
      guard let guest = guest(identity), let tap = guest.shell.tap(slot: slot),
        let vif = guest.record.vifs.first(where: { $0.slot == slot }), vif.lan == nil
      else { return }
      let links = try [tap.name, vif.bridge].compactMap { try network.link(named: $0) }
      let ports = MisplacedPort.find(wanted: [(tap.name, vif.bridge)], links: links)
      guard let port = ports.first, port.tapIndex == tap.index else { return }
      try network.putBack([port])
      if !port.isPlaced { report("guest '\(guest.name)': vif \(slot) is back on bridge '\(vif.bridge)'") }
    }
  }

  // MARK: House-keeping

  /// Lets go of what nobody uses any more.
  func keepHouse() {
    removeUnusedImages()
    attachment.pruneEndedLogs()
  }

  private func removeUnusedImages() {
    var used = Set(registry.guests.flatMap { [$0.record.kernel, $0.record.ramdisk].compactMap { $0 } })
    for status in pool.status {
      if let image = status.flavour.image { used.formUnion([image.kernel, image.ramdisk].compactMap { $0 }) }
    }
    // Those of guests that are to be made again, or started with the host, above all after a daemon was killed in the
    // middle of it.
    for note in pending.all + wanted.all {
      used.formUnion([note.request.image, note.request.ramdisk].compactMap { $0.flatMap { ImageDigest($0) } })
    }
    images.removeUnused(inUse: used)
  }
}
