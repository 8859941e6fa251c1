import Backends
import ChaosAPI
import Glibc
import NetworkAddresses
import Synchronization
import Threads
import VirtualLAN

/// EVPN on this host: FRR's part of it, and the keeper that bridges the time when FRR is away.
final class EVPNService: Sendable {
  let evpn = EVPN()
  private let network: HostNetwork
  private let report: @Sendable (String) -> Void
  private let keeper = Mutex<RouteKeeper?>(nil)

  init(network: HostNetwork, report: @escaping @Sendable (String) -> Void) {
    self.network = network
    self.report = report
  }

  /// Watches over the routes of a host that speaks EVPN, from now on.
  func keepRoutes() {
    keeper.withLock { keeper in
      guard keeper == nil else { return }
      do {
        let started = try RouteKeeper(network, evpn, report: report)
        try BackgroundThread.start(name: "chaos-routes") { started.run() }
        keeper = started
        try BackgroundThread.start(name: "chaos-evpn") { [self] in keepSettings() }
      } catch {
        report("EVPN routes are not kept while bgpd is away: \(error)")
      }
    }
  }

  /// How often bgpd is asked what it runs with.
  private static let mendingSeconds: UInt32 = 5
  /// And at most, while giving it its settings is in vain.
  private static let longestPauseSeconds: UInt32 = 300

  /// Gives bgpd its settings again whenever it runs without them: a thread's whole life. What goes wrong is said
  /// once, and tried less and less often.
  private func keepSettings() {
    var pause = Self.mendingSeconds
    var complaint: String?
    while true {
      sleep(pause)
      do throws(EVPNError) {
        if try evpn.mend() { report("EVPN: bgpd ran without its settings and has them again") }
        pause = Self.mendingSeconds
        complaint = nil
      } catch {
        pause = min(pause * 2, Self.longestPauseSeconds)
        if error.description != complaint { report("EVPN: \(error)") }
        complaint = error.description
      }
    }
  }

  var held: Set<HeldRoute> { keeper.withLock { $0?.held ?? [] } }
}

extension Toolstack {
  // MARK: EVPN

  /// What a LAN is when nobody said.
  ///
  /// - Throws: `APIError` that says how to do without.
  func defaultMode() throws(APIError) -> LANDefinition.Mode {
    do throws(EVPNError) {
      return try evpn.evpn.defaultMode()
    } catch {
      throw APIError(
        .wrongState, "mode: say which, as whether this host speaks EVPN is unknown: \(error)", field: "mode")
    }
  }

  func startEVPN() {
    do throws(EVPNError) {
      guard try evpn.evpn.settings() != nil else { return }
    } catch {
      report("EVPN: \(error)")
    }
    // Also where its settings cannot be read: the daemons go on by what they have.
    evpn.keepRoutes()
  }

  public func enableEVPN(_ request: EVPNRequest, _ blocking: borrowing Blocking) throws(APIError) -> EVPNStatus {
    try request.validate()
    do throws(EVPNError) {
      let role: EVPNSettings.Role =
        request.reflector
        ? .reflector(listen: request.listen.compactMap { IPInterface($0) })
        : .client(neighbors: request.neighbors.compactMap { IPAddress($0) })
      let settings = try EVPNSettings(asNumber: UInt32(clamping: request.asNumber), role: role)
      try evpn.evpn.enable(settings, routerID: try routerID(for: settings))
    } catch {
      throw APIError(error)
    }
    evpn.keepRoutes()
    return try evpnStatus(blocking)
  }

  /// An IPv4 address of this host that no other BGP speaker has: the one it sends VXLAN from.
  private func routerID(for settings: EVPNSettings) throws(EVPNError) -> IPv4Address {
    if case .client(let neighbors) = settings.role, let neighbor = neighbors.first,
      let route = try? network.query({ socket throws(NetlinkError) in try socket.route(to: neighbor) }),
      case .v4(let address)? = route.source
    {
      return address
    }
    if case .v4(let address)? = lans.wiring.automaticAddress { return address }
    throw EVPNError(.unavailable, "router ID: this host has no IPv4 address that tells it from others")
  }

  public func disableEVPN(_ blocking: borrowing Blocking) throws(APIError) {
    do throws(EVPNError) { try evpn.evpn.disable() } catch { throw APIError(error) }
  }

  public func evpnStatus(_ blocking: borrowing Blocking) throws(APIError) -> EVPNStatus {
    let found = evpn.evpn.status()
    var status = EVPNStatus(enabled: found.settings != nil, problems: found.problems)
    if let settings = found.settings {
      status.asNumber = Int(settings.asNumber)
      switch settings.role {
      case .reflector(let listen):
        status.reflector = true
        status.listen = listen.map(\.description)
      case .client(let neighbors): status.neighbors = neighbors.map(\.description)
      }
    }
    status.sessions = found.peerings.map {
      EVPNSession(
        neighbor: $0.neighbor.description, state: $0.state, uptimeSeconds: $0.uptimeSeconds,
        routesReceived: $0.routesReceived)
    }
    status.routes = found.routes.map { EVPNRoute($0) } + evpn.held.map { EVPNRoute($0) }
    return status
  }
}

extension EVPNRoute {
  fileprivate init(_ route: EVPNAnnouncement) {
    self.init(
      vni: Int(route.vni.rawValue), kind: route.mac == nil ? .vtep : .mac, mac: route.mac?.description,
      vtep: route.vtep.description, isLocal: route.isLocal)
  }

  fileprivate init(_ route: HeldRoute) {
    self.init(
      vni: Int(route.vni.rawValue), kind: route.mac == nil ? .vtep : .mac, mac: route.mac?.description,
      vtep: route.vtep.description, isLocal: false, held: true)
  }
}
