import Glibc
import NetworkAddresses
import Synchronization

/// Keeps guests talking while routing is away: watches what zebra takes out of the LANs' forwarding tables, and puts
/// back what `HeldRoutes` decides to hold.
///
/// Held entries are zebra's own but for one mark: they name the interface that their packets leave by. The kernel
/// takes such an entry for another than zebra's to the same VTEP: zebra replaces a station's (which is how this
/// notices), and adds one beside it for what is for everybody. A process that died left its mark, too. An entry
/// without the external-learning flag would not do: the kernel lets no externally learned one take it over.
public final class RouteKeeper: Sendable {
  private let network: HostNetwork
  private let evpn: EVPN
  private let monitor: ForwardingMonitor
  private let report: @Sendable (String) -> Void
  private let published = Mutex<Set<HeldRoute>>([])

  /// BGP's (RFC 4271 section 8.2.1.3).
  private static let port: UInt16 = 179
  /// The removals of one cause come together: one look at the daemons serves all.
  private static let burst = Duration.milliseconds(20)
  /// How soon a VTEP that did not accept is asked again when it announces something else.
  fileprivate static let acquaintance = Duration.seconds(60)
  /// How often held routes are looked after.
  private static let interval = Duration.seconds(1)

  /// Watches from now on; `run` does the work.
  ///
  /// - Parameter report: told in one line when routes are held or let go.
  public init(
    _ network: HostNetwork, _ evpn: EVPN, report: @escaping @Sendable (String) -> Void
  ) throws(NetlinkError) {
    self.network = network
    self.evpn = evpn
    self.report = report
    monitor = try ForwardingMonitor()
  }

  /// The routes that are held.
  public var held: Set<HeldRoute> { published.withLock { $0 } }

  /// Ends `run`. What is held stays, for the next keeper to take over.
  public func stop() { monitor.close() }

  /// Works until `stop`: a thread's whole life.
  public func run() {
    var work = Work(keeper: self)
    work.adopt()
    while work.round() {}
  }

  /// The state of the thread.
  struct Work: ~Copyable {
    let keeper: RouteKeeper
    var routes = HeldRoutes()
    /// The interface that each held route names, as long as its entry may be there.
    var marks: [HeldRoute: InterfaceIndex] = [:]
    var probes = PortProbes(port: RouteKeeper.port)
    /// What the daemons said last, and when.
    var routing: (answer: EVPN.Routing, at: ContinuousClock.Instant)?
    /// When held routes are looked after next.
    var nextLook = ContinuousClock.now
    /// When VTEPs were last asked about routes not yet decided.
    var asked: [IPAddress: ContinuousClock.Instant] = [:]
    /// When VTEPs were last asked although there was no need.
    var met: [IPAddress: ContinuousClock.Instant] = [:]
  }
}

// MARK: - Rounds

extension RouteKeeper.Work {
  init(keeper: RouteKeeper) { self.keeper = keeper }

  /// Waits for something to do and does it; false when the keeper was stopped.
  mutating func round() -> Bool {
    do throws(NetlinkError) {
      guard var changes = try keeper.monitor.changes(within: wait) else { return false }
      if changes.contains(where: \.isRemoval) {
        usleep(useconds_t(RouteKeeper.burst.wholeMilliseconds) * 1000)
        changes += try keeper.monitor.changes(within: .zero) ?? []
        routing = nil
      }
      try take(changes)
      try decide()
    } catch {
      keeper.report("EVPN: \(error)")
      sleep(1)
    }
    keeper.published.withLock { $0 = routes.routes }
    return true
  }

  private var wait: Duration? {
    if probes.isBusy { return .zero }
    if routes.isEmpty { return nil }
    return routes.hasUndecided ? .milliseconds(50) : max(.zero, nextLook - .now)
  }

  /// Takes over what an earlier process held.
  mutating func adopt() {
    do throws(NetlinkError) {
      let marked = try keeper.network.query { socket throws(NetlinkError) in
        try socket.forwardingTable().filter { $0.via != nil && $0.scope == .device }
      }
      let devices = try devices(Set(marked.map(\.device)), isUsed: false)
      for entry in marked {
        if let route = route(entry, devices) { marks[route] = entry.via }
      }
      routes.adopt(Array(marks.keys), at: .now)
      try meetAll()
      try removeWithDevices()
    } catch {
      keeper.report("EVPN: \(error)")
    }
    keeper.published.withLock { $0 = routes.routes }
  }
}

// MARK: - Changes

extension ForwardingChange {
  /// Of a VXLAN device's entry that is not ours.
  fileprivate var isRemoval: Bool {
    guard case .removed(let entry) = self else { return false }
    return entry.isRouted
  }
}

extension ForwardingEntry {
  /// An entry as zebra sets them in a VXLAN device's table.
  fileprivate var isRouted: Bool {
    scope == .device && destination != nil && via == nil && (isExternallyLearned || mac.isZero)
  }
}

extension RouteKeeper.Work {
  private mutating func take(_ changes: [ForwardingChange]) throws(NetlinkError) {
    let removed = changes.compactMap { change in
      if case .removed(let entry) = change, entry.isRouted { entry.device } else { nil }
    }
    let devices = try devices(Set(removed))
    var useless: [HeldRoute] = []
    for change in changes {
      switch change {
      case .removed(let entry):
        if entry.isRouted, let route = route(entry, devices) { routes.vanish(route) }
      case .added(let entry):
        if entry.isRouted, entry.mac.isZero, let vtep = entry.destination { meet(vtep) }
        useless += taken(entry)
      case .lost:
        keeper.report("EVPN: the kernel had more changes of forwarding tables than there was room for")
      }
    }
    try remove(useless)
  }

  /// Asks a VTEP whose host has just been announced whether anybody listens there: later, when its routes vanish,
  /// a refusal says something only if it did not refuse before.
  private mutating func meet(_ vtep: IPAddress) {
    let now = ContinuousClock.now
    if routes.hasAccepted(vtep) { return }
    if let last = met[vtep], now - last < RouteKeeper.acquaintance { return }
    met[vtep] = now
    probes.begin(vtep)
  }

  /// Asks the VTEPs that were announced before this keeper came.
  private mutating func meetAll() throws(NetlinkError) {
    let flooded = try keeper.network.query { socket throws(NetlinkError) in
      try socket.forwardingTable().filter { $0.isRouted && $0.mac.isZero }
    }
    let devices = try devices(Set(flooded.map(\.device)))
    for entry in flooded where devices[entry.device] != nil {
      if let vtep = entry.destination { meet(vtep) }
    }
  }

  /// The held routes that an entry makes useless.
  private mutating func taken(_ entry: ForwardingEntry) -> [HeldRoute] {
    if routes.isEmpty { return [] }
    if entry.isRouted, let vtep = entry.destination {
      let useless = routes.appear(entry.mac.isZero ? nil : entry.mac, at: vtep, device: entry.device)
      // A station's is zebra's now.
      for route in useless where route.mac != nil { marks[route] = nil }
      return useless
    }
    // The kernel leaves the mark of external learning on an entry that is moved to another port.
    if entry.scope == .master, let bridge = entry.master {
      return routes.becomeLocal(entry.mac, port: entry.device, bridge: bridge)
    }
    return []
  }

  private func route(_ entry: ForwardingEntry, _ devices: [InterfaceIndex: Link]) -> HeldRoute? {
    guard let link = devices[entry.device], let bridge = link.master, let vni = link.vxlan?.vni,
      let vtep = entry.destination
    else { return nil }
    return HeldRoute(
      vni: vni, mac: entry.mac.isZero ? nil : entry.mac, vtep: vtep, device: entry.device, bridge: bridge)
  }

  /// Those of the interfaces that are VXLAN devices of LANs in evpn mode, and in use.
  private func devices(
    _ indices: Set<InterfaceIndex>, isUsed: Bool = true
  ) throws(NetlinkError) -> [InterfaceIndex: Link] {
    let links = try keeper.network.query { socket throws(NetlinkError) in
      var links: [Link] = []
      for index in indices {
        if let link = try socket.link(index: index) { links.append(link) }
      }
      return links
    }
    let meant = links.filter { $0.isRoutedLAN && ($0.isUp || !isUsed) }
    return Dictionary(meant.map { ($0.index, $0) }) { $1 }
  }
}

extension Link {
  /// A LAN's devices are in a group that says so in its highest byte; one that does not learn gets its table from
  /// routing.
  fileprivate var isRoutedLAN: Bool {
    (0x63...0x64).contains(group.rawValue >> 24) && vxlan?.learns == false && master != nil
  }
}

// MARK: - Decisions

extension RouteKeeper.Work {
  private mutating func decide() throws(NetlinkError) {
    if routes.isEmpty {
      routes.learn(probes.collect(within: .milliseconds(10)), at: .now)
      return
    }
    if keeper.evpn.isOff {
      // What vanishes now vanishes on purpose.
      try remove(routes.releaseAll())
      return
    }
    let now = ContinuousClock.now
    if now >= nextLook {
      nextLook = now + RouteKeeper.interval
      try removeWithDevices()
      for peer in routes.heldPeers { probes.begin(peer) }
    }
    let routing = currentRouting(at: now)
    if routing != .lost { probeUndecided(at: now) }
    let answers = probes.collect(within: .milliseconds(10))
    let decision = routes.decide(routing, answers: answers, at: .now)
    try hold(decision.hold, routing)
    try remove(decision.release)
    tell(decision.release, "no longer kept")
  }

  private mutating func currentRouting(at now: ContinuousClock.Instant) -> EVPN.Routing {
    if let routing, now - routing.at < HeldRoutes.confirmation { return routing.answer }
    let answer = keeper.evpn.routing()
    routing = (answer, now)
    return answer
  }

  private mutating func probeUndecided(at now: ContinuousClock.Instant) {
    let peers = routes.undecidedPeers
    asked = asked.filter { peers.contains($0.key) }
    for peer in peers where asked[peer].map({ now - $0 >= HeldRoutes.confirmation }) ?? true {
      asked[peer] = now
      probes.begin(peer)
    }
  }

  /// A LAN without a member here needs no routes, and the kernel keeps those for everybody when its device goes
  /// down.
  private mutating func removeWithDevices() throws(NetlinkError) {
    let indices = Set(routes.routes.map(\.device))
    let there = try devices(indices)
    for index in indices where there[index] == nil {
      // The kernel took the station's entries of the device, and left the bridge's.
      try remove(routes.forget(device: index), isReplaceable: false)
    }
  }

  private mutating func hold(_ held: [HeldRoute], _ routing: EVPN.Routing) throws(NetlinkError) {
    if held.isEmpty { return }
    var ways: [IPAddress: Route] = [:]
    for vtep in Set(held.map(\.vtep)) {
      ways[vtep] = try keeper.network.query { socket throws(NetlinkError) in try socket.route(to: vtep) }
    }
    var requests: [RouteRequest] = []
    // The ways for everybody first: what is for a station still unknown goes there meanwhile.
    for route in held.filter({ $0.mac == nil }) + held.filter({ $0.mac != nil }) {
      guard let way = ways[route.vtep], !way.isLocal else { continue }
      marks[route] = way.device
      requests.append(.addForwarding(route.entry(via: way.device), mode: route.mac == nil ? .append : .create))
      if let entry = route.bridgeEntry { requests.append(.addForwarding(entry, mode: .create)) }
    }
    // Where zebra came first, its entry stays (EEXIST).
    _ = try refused(requests, expecting: [EEXIST])
    tell(held, routing == .lost ? "kept while this host's routing is away" : "kept while its routing is away")
  }

  /// Removes entries that are still ours: those that zebra replaced lack the mark (ENOENT), and their bridge's are
  /// zebra's too.
  ///
  /// - Parameter isReplaceable: zebra may have replaced them; otherwise the bridge's are ours in any case.
  private mutating func remove(_ released: [HeldRoute], isReplaceable: Bool = true) throws(NetlinkError) {
    var ours: [(route: HeldRoute, entry: ForwardingEntry)] = []
    for route in released {
      if let via = marks.removeValue(forKey: route) { ours.append((route, route.entry(via: via))) }
    }
    let gone = try refused(ours.map { .deleteForwarding($0.entry) }, expecting: [ENOENT, ENODEV])
    let bridged = ours.indices.filter { !isReplaceable || !gone.contains($0) }.compactMap {
      ours[$0].route.bridgeEntry
    }
    _ = try refused(bridged.map { .deleteForwarding($0) }, expecting: [ENOENT, ENODEV])
  }

  /// Carries out requests; returns the positions of those refused as expected.
  private func refused(_ requests: [RouteRequest], expecting codes: [CInt]) throws(NetlinkError) -> Set<Int> {
    do throws(NetlinkError) {
      try keeper.network.perform(requests)
      return []
    } catch {
      guard case .partlyRefused(let refused) = error, refused.allSatisfy({ codes.contains($0.refusal.code) })
      else { throw error }
      return Set(refused.map(\.position))
    }
  }

  private func tell(_ routes: [HeldRoute], _ what: String) {
    for (vtep, routes) in Dictionary(grouping: routes, by: \.vtep).sorted(by: { $0.key < $1.key }) {
      keeper.report("EVPN: \(routes.count) routes to \(vtep) are \(what)")
    }
  }
}

extension HeldRoute {
  /// The VXLAN device's entry, with the mark. It goes when the device goes down, as zebra's does.
  fileprivate func entry(via interface: InterfaceIndex) -> ForwardingEntry {
    ForwardingEntry(
      device: device, mac: mac ?? .zero, destination: vtep, via: interface, scope: .device,
      state: mac == nil ? .permanent : .dynamic, isExternallyLearned: mac != nil)
  }

  /// The bridge's, which sends frames for a station to the device.
  fileprivate var bridgeEntry: ForwardingEntry? {
    mac.map {
      ForwardingEntry(device: device, mac: $0, scope: .master, state: .dynamic, isExternallyLearned: true)
    }
  }
}
