import Backends
import ChaosAPI
import Glibc
import ImageStore
import ShellPool
import Synchronization
import Threads
import VirtualLAN
import Xen

/// The execute phase and the life cycle of guests: what the API does.
///
/// Methods are called from any thread. Those that make or unmake a guest block for as long as that takes, a few
/// milliseconds; those that wait for a guest are `async`.
public final class Toolstack: Sendable {
  public let hypervisor: Hypervisor
  public let images: ImageStore
  public let pool: Pool
  public let capacity: Capacity
  let network: HostNetwork
  let records: RecordStore
  let attachment: BackendAttachment
  let wiring: DomainWiring
  let builder: ShellBuilder
  let registry = Registry()
  let lans: LANs
  let evpn: EVPNService
  let report: @Sendable (String) -> Void
  let observe: StepObserver?
  /// Creates by the shell they got, since the daemon started.
  let hits = Mutex(ShellHits(hot: 0, blank: 0, none: 0))
  let reconciler: Reconciler
  /// What happened to guests.
  public let journal: EventJournal
  /// Guests on their way: being made again, or started with the host.
  let pending: StartNotes
  /// Guests that are started with the host.
  let wanted: StartNotes
  let bootMark: String
  /// Where tasks wait for guests.
  public let tasks: TaskThread

  /// Where the toolstack keeps what outlives it, records and images aside.
  public struct Places: Sendable {
    /// Folder of the console logs.
    public var consoles: String
    /// Folder of those of guests that ended.
    public var endedConsoles: String
    /// File of what happened.
    public var journal: String
    /// Folder, on tmpfs, of notes of guests on their way.
    public var pending: String
    /// Folder, on disk, of the guests that start with the host.
    public var wanted: String
    /// File, on tmpfs, that is there once those were started in this boot of the host.
    public var bootMark: String

    public init(
      consoles: String, endedConsoles: String, journal: String, pending: String, wanted: String, bootMark: String
    ) {
      self.consoles = consoles
      self.endedConsoles = endedConsoles
      self.journal = journal
      self.pending = pending
      self.wanted = wanted
      self.bootMark = bootMark
    }
  }

  /// - Parameters:
  ///   - budgetMiB: the most memory the pool may hold.
  ///   - observe: called before every step of every operation.
  ///   - report: takes one line for the operator.
  public init(
    hypervisor: Hypervisor, network: HostNetwork, backend: BackendService, images: ImageStore,
    records: RecordStore, places: Places, budgetMiB: Int, observe: StepObserver?,
    report: @escaping @Sendable (String) -> Void
  ) throws {
    tasks = try TaskThread(name: "chaos-waits")
    reconciler = try Reconciler()
    journal = try EventJournal(path: places.journal)
    pending = try StartNotes(folder: places.pending, durability: .processDeath, report: report)
    wanted = try StartNotes(folder: places.wanted, durability: .powerCut, report: report)
    bootMark = places.bootMark
    self.hypervisor = hypervisor
    self.network = network
    self.images = images
    self.observe = observe
    self.report = report
    evpn = EVPNService(network: network, report: report)
    lans = LANs(store: LANStore(), network: network, observe: observe, report: report)
    self.records = records
    attachment = try BackendAttachment(
      network: network, backend: backend, logs: places.consoles, endedLogs: places.endedConsoles)
    wiring = DomainWiring(hypervisor: hypervisor)
    builder = ShellBuilder(hypervisor: hypervisor, attachment: attachment, records: records)
    let capacity = Capacity(hypervisor: hypervisor)
    self.capacity = capacity
    pool = Pool(
      builder: builder,
      environment: Pool.Environment(
        images: { hot in try? BootImages(hot, in: images) },
        hasRoom: { pages in
          guard let fixed = try? hypervisor.dom0Memory(), fixed.isFixed else { return false }
          return capacity.hasRoom(pages)
        },
        observe: observe, report: report),
      budgetMiB: budgetMiB)
  }

  /// Takes over what an earlier daemon left, then starts to watch guests and to fill the pool.
  ///
  /// - Throws: only what makes it impossible to tell whose the domains of this host are.
  public func start() throws {
    // The LANs first: guests that are found are put back into theirs.
    lans.start()
    try adoptAll()
    reconcileLANs(isThorough: true)
    startEVPN()
    do {
      try startWanted()
    } catch {
      report("guests that start with the host are not started: \(error)")
    }
    // What nobody is answerable for goes before the first create; what does not go now is tried again.
    reconciler.round(self)
    try reconciler.start(self)
    try BackendWatch().start(self)
    try LinkWatch().start(self)
    try pool.start()
  }

  // MARK: Recovery

  /// Finds every guest and shell again from the records. What is not taken over stays nobody's: the reconciler unmakes
  /// it.
  private func adoptAll() throws {
    let found = records.readAll()
    if let newer = found.newer.first {
      throw APIError(
        .internal,
        "the record of \(newer.name) is of version \(newer.version), written by a later chaosd, and this one knows "
          + "\(DomainRecord.newestVersion): start that chaosd again, or destroy its guests with it first")
    }
    let domains = try hypervisor.domains()
    for name in found.damaged {
      report("the record of \(name) cannot be read; its domain, if it has one, is left alone")
    }
    reconciler.leaveAlone(found.damaged.compactMap { DomainHandle(uuid: $0) })
    let byIdentity = Dictionary(uniqueKeysWithValues: domains.map { ($0.identity, $0) })
    for record in found.records {
      // Records of version 1, and of domains half made, do not say the number.
      let info = record.identity.map { byIdentity[$0] } ?? domains.first { $0.handle == record.handle }
      guard let info, info.id != .dom0 else {
        report("the domain of \(record.guest?.name ?? record.handle.uuid) is gone; its record is removed")
        continue
      }
      adopt(record, info)
    }
  }

  /// Takes one domain over if it is a guest or a shell.
  private func adopt(_ record: DomainRecord, _ info: DomainInfo) {
    // Unpausing is a create's last step: what was not unpaused is not a guest yet.
    let hasStarted = !info.isPaused || info.cpuNanoseconds > 0
    if let guest = record.guest, !info.isDying, record.phase == .guest || record.phase == .starting && hasStarted {
      adopt(guest, record, info)
      return
    }
    guard record.phase == .shell && !info.isDying else {
      report("domain \(info.id) was \(record.phase.rawValue) when chaosd ended; it is destroyed")
      if record.phase == .starting { forgetWish(record) }
      return
    }
    do {
      let shell = try builder.adopt(record, info.identity)
      if !pool.adopt(shell) { builder.abandon(shell) }
    } catch {
      report("the shell in domain \(info.id) cannot be taken over: \(error)")
    }
  }

  /// A create that did not come to its end leaves no wish for its guest, unless that is being made again.
  private func forgetWish(_ record: DomainRecord) {
    guard pending[record.handle] == nil else { return }
    do {
      try wanted.remove(record.handle)
    } catch {
      report("guest '\(record.guest?.name ?? record.handle.uuid)' may start with the host: \(error)")
    }
  }

  /// Takes a running guest over, come what may: it is somebody's.
  private func adopt(_ guest: GuestRecord, _ record: DomainRecord, _ info: DomainInfo) {
    let shell: DomainShell
    do {
      shell = try builder.adopt(record, info.identity)
    } catch {
      report("guest '\(guest.name)': its device page cannot be mapped: \(error)")
      shell = builder.claimed(record, info.identity)
    }
    let adopted = Guest(record: guest, shell: shell)
    do {
      adopted.isTampered = try !wiring.isIntact(shell)
    } catch {
      adopted.isTampered = true
      report("guest '\(guest.name)': its device page cannot be checked: \(error)")
    }
    registry.insert(adopted)
    rewrite(record, adopted)
  }

  /// Brings a record of an earlier version up to this one's.
  private func rewrite(_ record: DomainRecord, _ guest: Guest) {
    guard record.identity == nil || record.taps == nil else { return }
    do {
      try records.write(guest.domainRecord(record.phase))
    } catch {
      report("guest '\(guest.name)': its record is not brought up to date: \(error)")
    }
  }
}
