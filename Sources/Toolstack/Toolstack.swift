import Backends
import ChaosAPI
import Glibc
import ImageStore
import ShellPool
import Synchronization
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
  let builder: ShellBuilder
  let registry = Registry()
  let lans: LANs
  let evpn: EVPNService
  let report: @Sendable (String) -> Void
  let observe: Procedure.Observer?
  /// Creates by the shell they got, since the daemon started.
  let hits = Mutex(ShellHits(hot: 0, blank: 0, none: 0))
  let watcher = Watcher()

  /// - Parameters:
  ///   - logs: folder of the console logs.
  ///   - budgetMiB: the most memory the pool may hold.
  ///   - observe: called before every step of every operation.
  ///   - report: takes one line for the operator.
  public init(
    hypervisor: Hypervisor, network: HostNetwork, backend: BackendService, images: ImageStore,
    records: RecordStore, logs: String, budgetMiB: Int, observe: Procedure.Observer?,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.hypervisor = hypervisor
    self.network = network
    self.images = images
    self.observe = observe
    self.report = report
    evpn = EVPNService(network: network, report: report)
    lans = LANs(store: LANStore(), network: network, observe: observe, report: report)
    builder = ShellBuilder(
      hypervisor: hypervisor, network: network, backend: backend, records: records, logs: logs)
    let capacity = Capacity(hypervisor: hypervisor)
    self.capacity = capacity
    pool = Pool(
      builder: builder,
      environment: Pool.Environment(
        images: { hot in try? ShellBuilder.Images(hot, in: images) },
        hasRoom: { pages in
          guard let fixed = try? capacity.dom0IsFixed(), fixed.isFixed else { return false }
          return capacity.hasRoom(pages)
        },
        observe: observe, report: report),
      budgetMiB: budgetMiB)
  }

  /// Takes over what an earlier daemon left, then starts to watch guests and to fill the pool.
  public func start() throws {
    // The LANs first: guests that are found are put back into theirs.
    try lans.start()
    try recover()
    reconcileLANs(isThorough: true)
    startEVPN()
    watcher.start(self)
    pool.start()
  }

  // MARK: Recovery

  /// Finds every guest and shell again from the records; destroys what was half made; forgets what is gone.
  private func recover() throws {
    let found = builder.records.readAll()
    let domains = try hypervisor.domainsByHandle()
    var kept: [DomainHandle: DomainID] = [:]
    for name in found.damaged {
      report("the record of \(name) cannot be read; its domain, if it has one, is left alone")
      if let handle = DomainHandle(uuid: name), let domain = domains[handle] { kept[handle] = domain.id }
    }
    for record in found.records {
      guard let domain = domains[record.handle] else {
        report("the domain of \(record.guest?.name ?? record.handle.uuid) is gone; its record is removed")
        builder.records.remove(record.handle)
        continue
      }
      if recover(record, domain) { kept[record.handle] = domain.id }
    }
    let slots = registry.guests.map { ($0.shell.domain, Set($0.record.vifs.map(\.slot))) }
    try builder.sweep(keeping: kept, slots: Dictionary(uniqueKeysWithValues: slots))
    try detachStrangers(keeping: kept)
  }

  /// Has the back-end let go of domains that ended while no chaosd ran: as long as it maps them they stay zombies.
  private func detachStrangers(keeping kept: [DomainHandle: DomainID]) throws {
    for status in try builder.backend.domains() where kept[status.key.handle] == nil {
      try builder.backend.perform(.detach(status.key.domain))
    }
  }

  /// Takes one domain over, or destroys it; returns whether it stays.
  private func recover(_ record: DomainRecord, _ info: DomainInfo) -> Bool {
    // Unpausing is a create's last step: what was not unpaused is not a guest yet.
    let hasStarted = !info.isPaused || info.cpuNanoseconds > 0
    if let guest = record.guest, !info.isDying, record.phase == .guest || record.phase == .starting && hasStarted {
      adopt(guest, record, info)
      return true
    }
    do {
      if record.phase == .shell && !info.isDying {
        let shell = try builder.adopt(record, domain: info.id)
        if pool.adopt(shell) { return true }
        try builder.tearDown(shell)
      } else {
        report("domain \(info.id) was \(record.phase.rawValue) when chaosd ended; it is destroyed")
        try builder.tearDown(builder.remains(record, domain: info.id))
      }
    } catch {
      report("domain \(info.id) cannot be taken over: \(error)")
      try? builder.tearDown(builder.remains(record, domain: info.id))
    }
    return false
  }

  /// Takes a running guest over, come what may: it is somebody's.
  private func adopt(_ guest: GuestRecord, _ record: DomainRecord, _ info: DomainInfo) {
    var shell = builder.remains(record, domain: info.id)
    do {
      shell = try builder.adopt(record, domain: info.id)
    } catch {
      report("guest '\(guest.name)': its device page cannot be mapped: \(error)")
    }
    let adopted = Guest(record: guest, shell: shell)
    adopted.isTampered = !((try? isIntact(shell)) ?? false)
    registry.insert(adopted)
    // A daemon killed while it changed the guest's vifs may not have come to the page.
    if guest.runtimeABI != nil { _ = try? tell(adopted) }
  }

  /// Whether the guest's device page is still the read-only frame that was laid.
  func isIntact(_ shell: DomainShell) throws(XenError) -> Bool {
    try hypervisor.isReadOnly(shell.domain, frame: ShellBuilder.devicePageFrame)
  }

  /// All domains of ours that the back-end must serve.
  var served: [(shell: DomainShell, features: UInt64)] {
    registry.guests.map { ($0.shell, $0.record.vifs.first?.features ?? 0) }
      + pool.shells.map { shell in
        let hot = shell.flavour.image.flatMap { try? images.find($0.kernel.description) }
        return (shell, hot.map { ShellBuilder.Images(kernel: $0, ramdisk: nil).vifFeatures.rawValue } ?? 0)
      }
  }
}
