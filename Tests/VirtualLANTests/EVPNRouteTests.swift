import CNetlink
import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

private let start = ContinuousClock.now
private let vtep = IPAddress("10.0.0.2")!
private let other = IPAddress("10.0.0.3")!
private let working = EVPN.Routing.working(neighbors: [IPAddress("10.0.0.1")!])

private func mac(_ last: Int) -> MACAddress { MACAddress(rawValue: 0x0200_0000_0000 + UInt64(last))! }

private func index(_ number: Int32) -> InterfaceIndex { InterfaceIndex(rawValue: number)! }

private func route(_ last: Int?, at vtep: IPAddress = vtep, device: Int32 = 7) -> HeldRoute {
  HeldRoute(
    vni: VNI(rawValue: 100)!, mac: last.map(mac), vtep: vtep, device: index(device), bridge: index(device + 100))
}

extension HeldRoutes {
  /// Routes that are held since `start`.
  fileprivate static func holding(_ routes: HeldRoute...) -> HeldRoutes {
    var held = HeldRoutes()
    for route in routes { held.vanish(route) }
    _ = held.decide(.lost, answers: [:], at: start)
    return held
  }

  /// With the VTEP seen to accept.
  fileprivate static var acquainted: HeldRoutes {
    var routes = HeldRoutes()
    routes.learn([vtep: .accepts], at: start)
    return routes
  }

  /// Decides at so many seconds after the start; `vtep` has answered.
  fileprivate mutating func decide(
    _ answer: Answer?, _ routing: EVPN.Routing = working, after seconds: Double
  ) -> Decision {
    decide(routing, answers: answer.map { [vtep: $0] } ?? [:], at: start + .seconds(seconds))
  }
}

@Suite struct HeldRoutesTests {
  @Test func whatVanishesWithThisHostsRoutingIsHeldAtOnce() {
    var routes = HeldRoutes()
    routes.vanish(route(1))
    routes.vanish(route(nil, at: other))
    let decision = routes.decide(.lost, answers: [:], at: start)
    #expect(Set(decision.hold) == [route(1), route(nil, at: other)] && decision.release.isEmpty)
    #expect(routes.routes == [route(1), route(nil, at: other)] && !routes.hasUndecided)
    #expect(routes.decide(.lost, answers: [:], at: start) == HeldRoutes.Decision())
  }

  @Test func whatVanishesWithTheOthersDaemonIsHeld() {
    var routes = HeldRoutes.acquainted
    routes.vanish(route(1))
    #expect(routes.undecidedPeers == [vtep])
    #expect(routes.decide(nil, after: 0) == HeldRoutes.Decision())
    #expect(routes.hasUndecided)
    #expect(routes.decide(.refuses, after: 0.01).hold == [route(1)])
  }

  @Test func whatIsWithdrawnIsLetGo() {
    var routes = HeldRoutes()
    routes.vanish(route(1))
    #expect(routes.decide(.accepts, after: 0) == HeldRoutes.Decision())
    // An answer of the same moment is no second one.
    #expect(routes.decide(.accepts, after: 0.1) == HeldRoutes.Decision())
    #expect(routes.hasUndecided)
    #expect(routes.decide(.accepts, after: 0.3) == HeldRoutes.Decision())
    #expect(routes.isEmpty)
  }

  @Test func aDaemonThatAcceptedWhileItEndedIsFoundOut() {
    var routes = HeldRoutes()
    routes.vanish(route(1))
    _ = routes.decide(.accepts, after: 0)
    #expect(routes.decide(.refuses, after: 0.3).hold == [route(1)])
  }

  @Test func aHostThatIsGoneIsNotHeld() {
    var routes = HeldRoutes()
    routes.vanish(route(1))
    #expect(routes.decide(.nothing, after: 1) == HeldRoutes.Decision())
    #expect(routes.isEmpty)
  }

  @Test func whatANeighborWithASessionTakesBackIsWithdrawn() {
    var routes = HeldRoutes()
    routes.vanish(route(1))
    #expect(routes.decide(nil, .working(neighbors: [vtep]), after: 0) == HeldRoutes.Decision())
    #expect(routes.isEmpty)
  }

  @Test func announcedAgainMeansForgotten() {
    var routes = HeldRoutes.holding(route(1), route(2), route(nil), route(nil, at: other))
    #expect(routes.appear(mac(1), at: vtep, device: index(8)) == [])
    #expect(routes.appear(mac(1), at: vtep, device: index(7)) == [route(1)])
    // It moved.
    #expect(routes.appear(mac(2), at: other, device: index(7)) == [route(2)])
    // There is a way for everybody to each VTEP.
    #expect(routes.appear(nil, at: vtep, device: index(7)) == [route(nil)])
    #expect(routes.routes == [route(nil, at: other)])
    // Before it was decided, too.
    routes.vanish(route(3))
    #expect(routes.appear(mac(3), at: vtep, device: index(7)) == [])
    #expect(!routes.hasUndecided)
  }

  @Test func aStationThatCameHereIsForgotten() {
    var routes = HeldRoutes.holding(route(1), route(2))
    #expect(routes.becomeLocal(mac(1), port: index(5), bridge: index(106)) == [])
    #expect(routes.becomeLocal(mac(1), port: index(7), bridge: index(107)) == [])
    #expect(routes.becomeLocal(mac(1), port: index(5), bridge: index(107)) == [route(1)])
    #expect(routes.routes == [route(2)])
  }

  @Test func routingHasSomeTimeToAnnounceAgain() {
    var routes = HeldRoutes.holding(route(1))
    for second in 1...60 {
      #expect(routes.decide(.accepts, .lost, after: Double(second)) == HeldRoutes.Decision())
    }
    #expect(routes.decide(.accepts, after: 74.9) == HeldRoutes.Decision())
    #expect(routes.decide(.accepts, after: 75.1).release == [route(1)])
    #expect(routes.isEmpty)
  }

  @Test func aDaemonThatStaysAwayIsWaitedForSomeMinutes() {
    var routes = HeldRoutes.holding(route(1))
    for second in 1...600 {
      #expect(routes.decide(.refuses, after: Double(second)) == HeldRoutes.Decision())
    }
    #expect(routes.decide(.accepts, after: 616).release == [route(1)])

    routes = HeldRoutes.acquainted
    routes.vanish(route(1))
    #expect(routes.decide(.refuses, after: 0).hold == [route(1)])
    var released: Int?
    for second in 1...700 where released == nil {
      if routes.decide(.refuses, after: Double(second)).release == [route(1)] { released = second }
    }
    #expect(released.map { (600...620).contains($0) } == true)
    // Nor is another of its routes, until it was seen to accept again.
    routes.vanish(route(2))
    #expect(routes.decide(.refuses, after: 701) == HeldRoutes.Decision())
    routes.learn([vtep: .accepts], at: start + .seconds(702))
    routes.vanish(route(2))
    #expect(routes.decide(.refuses, after: 703).hold == [route(2)])
    // While this host's own routing is away the others' do not count.
    for second in 704...1500 {
      #expect(routes.decide(.refuses, .lost, after: Double(second)) == HeldRoutes.Decision())
    }
  }

  @Test func aVTEPThatAlwaysRefusedIsBehindAFirewall() {
    var routes = HeldRoutes()
    routes.learn([vtep: .refuses], at: start)
    routes.vanish(route(1))
    #expect(routes.decide(.refuses, after: 1) == HeldRoutes.Decision())
    #expect(routes.isEmpty && !routes.hasAccepted(vtep))
  }

  @Test func aHostThatGoesIsLetGoThoughRoutingIsLost() {
    var routes = HeldRoutes.holding(route(1), route(2, at: other))
    #expect(routes.decide(.nothing, .lost, after: 1) == HeldRoutes.Decision())
    // It was a lost packet.
    #expect(routes.decide(.refuses, .lost, after: 2) == HeldRoutes.Decision())
    for second in 3...33 {
      #expect(routes.decide(.nothing, .lost, after: Double(second)) == HeldRoutes.Decision())
    }
    #expect(routes.decide(.nothing, .lost, after: 33.5).release == [route(1)])
    #expect(routes.routes == [route(2, at: other)])
  }

  @Test func anEarlierLifesRoutesAreLookedAfter() {
    var routes = HeldRoutes()
    routes.adopt([route(1)], at: start)
    #expect(routes.heldPeers == [vtep])
    #expect(routes.decide(.accepts, after: 14) == HeldRoutes.Decision())
    #expect(routes.decide(.accepts, after: 16).release == [route(1)])
  }

  @Test func whatIsSwitchedOffOrGoneIsReleased() {
    var routes = HeldRoutes.holding(route(1), route(2, device: 8), route(nil, device: 8))
    #expect(Set(routes.forget(device: index(8))) == [route(2, device: 8), route(nil, device: 8)])
    routes.vanish(route(3))
    #expect(routes.releaseAll() == [route(1)])
    #expect(routes.isEmpty)
  }

  @Test func aHeldRouteThatVanishesIsNoNewOne() {
    var routes = HeldRoutes.holding(route(1))
    routes.vanish(route(1))
    #expect(!routes.hasUndecided)
  }
}

@Suite struct PortProbeTests {
  private func answer(_ probes: inout PortProbes, _ address: IPAddress) -> HeldRoutes.Answer? {
    probes.begin(address)
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      if let answer = probes.collect(within: .milliseconds(50))[address] { return answer }
    }
    return nil
  }

  @Test func whoListensAcceptsAndWhoDoesNotRefuses() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform(.changeLink(.name(name("lo")), LinkChange(isUp: true)))
      let loopback = IPAddress("127.0.0.1")!
      var probes = PortProbes(port: 179)
      #expect(answer(&probes, loopback) == .refuses)
      #expect(answer(&probes, IPAddress("::1")!) == .refuses)

      let listener = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
      defer { close(listener) }
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = UInt16(179).bigEndian
      let bound = withUnsafeBytes(of: &address) {
        bind(listener, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
      #expect(bound == 0 && listen(listener, 8) == 0)
      #expect(answer(&probes, loopback) == .accepts)
      // No way there.
      #expect(answer(&probes, vtep) == .nothing)
      let isBusy = probes.isBusy
      #expect(!isBusy)
    }
  }
}

/// Against the real kernel; routing is lost all the time, as no daemon is there.
@Suite struct RouteKeeperTests {
  /// A LAN in evpn mode as chaos lays it out, on an underlay of its own.
  private struct Setting {
    let device, bridge, underlay: InterfaceIndex
    let group = InterfaceGroup(rawValue: 0x6300_0064)

    init(_ network: HostNetwork, learns: Bool = false) throws {
      let pair = VethPeer(name: name("far"))
      try network.perform([
        .createVethPair(host: name("near"), isUp: true, peer: pair),
        .changeLink(.name(name("far")), LinkChange(isUp: true)),
        .createBridge(name("lan100"), group: group, defaultVLAN: 0),
      ])
      underlay = try #require(try network.link(named: name("near"))).index
      bridge = try #require(try network.link(named: name("lan100"))).index
      let settings = VXLANSettings(vni: VNI(rawValue: 100)!, local: IPAddress("10.0.0.1")!, learns: learns)
      try network.perform([
        .addAddress(IPInterface("10.0.0.1/24")!, to: underlay),
        .createVXLAN(name("vxlan100"), settings, group: group, master: bridge),
        .changeLink(.name(name("vxlan100")), LinkChange(isUp: true)),
        .changeLink(.name(name("lan100")), LinkChange(isUp: true)),
      ])
      device = try #require(try network.link(named: name("vxlan100"))).index
    }

    /// As zebra sets them.
    func entries(_ last: Int?) -> [RouteRequest] {
      guard let last else {
        let flood = ForwardingEntry(
          device: device, mac: .zero, destination: vtep, scope: .device, state: .permanent)
        return [.addForwarding(flood, mode: .append)]
      }
      return [ForwardingEntry.Scope.device, .master].map { scope in
        .addForwarding(entry(last, scope), mode: .replace)
      }
    }

    func entry(_ last: Int?, _ scope: ForwardingEntry.Scope = .device) -> ForwardingEntry {
      ForwardingEntry(
        device: device, mac: last.map(mac) ?? .zero, destination: scope == .device ? vtep : nil, scope: scope,
        state: last == nil ? .permanent : .dynamic, isExternallyLearned: last != nil)
    }

    func flush(_ network: HostNetwork, _ last: Int?) throws {
      let scopes: [ForwardingEntry.Scope] = last == nil ? [.device] : [.device, .master]
      do {
        try network.perform(scopes.map { .deleteForwarding(entry(last, $0)) })
      } catch {
        // Having seen the first go, the keeper may have given the address to its station before the second.
        guard error.code == ENOENT, last != nil else { throw error }
      }
    }

    /// What the device's and the bridge's tables have for an address behind the device.
    func found(_ network: HostNetwork, _ last: Int?) throws -> [ForwardingEntry] {
      try network.query { socket throws(NetlinkError) in try socket.forwardingTable(of: device) }
        .filter { $0.mac == last.map(mac) ?? .zero }
    }
  }

  private static let configuration: String = {
    let settings = try! EVPNSettings(asNumber: 65000, role: .client(neighbors: [IPAddress("10.0.0.9")!]))
    let text = try! FRRConfiguration("").replacingBlock(with: settings, routerID: IPv4Address("10.0.0.1")!)
    return String(decoding: text.bytes, as: UTF8.self)
  }()

  /// Runs a keeper on a thread of its own until `body` is through.
  private func keeping(
    _ network: HostNetwork, _ frr: FRRDouble, reviewInterval: Duration = .seconds(30),
    _ body: (RouteKeeper) throws -> Void
  ) throws {
    let keeper = try RouteKeeper(network, EVPN(frr.installation), reviewInterval: reviewInterval) { _ in }
    let ended = DispatchSemaphore(value: 0)
    Thread {
      keeper.run()
      ended.signal()
    }.start()
    defer {
      keeper.stop()
      ended.wait()
    }
    try body(keeper)
  }

  private func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<3000 {
      if try condition() { return true }
      usleep(10_000)
    }
    return false
  }

  @Test func lostRoutesArePutBackAndHandedOver() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform(setting.entries(1) + setting.entries(nil))
      try keeping(network, frr) { keeper in
        try setting.flush(network, 1)
        try setting.flush(network, nil)
        #expect(eventually { keeper.held.count == 2 })
        let station = try setting.found(network, 1)
        #expect(station.count == 2 && station.allSatisfy(\.isExternallyLearned))
        #expect(station.compactMap(\.destination) == [vtep] && station.compactMap(\.via) == [setting.underlay])
        #expect(try setting.found(network, nil).compactMap(\.via) == [setting.underlay])

        // zebra is back.
        try network.perform(setting.entries(1) + setting.entries(nil))
        #expect(eventually { keeper.held.isEmpty })
        #expect(try setting.found(network, 1).filter { $0.scope == .device }.map(\.via) == [nil])
        #expect(try setting.found(network, 1).count == 2)
        #expect(try eventually { try setting.found(network, nil).map(\.via) == [nil] })
        // And can lose them again.
        try setting.flush(network, 1)
        #expect(eventually { keeper.held.count == 1 })
      }
    }
  }

  @Test func aStationThatCameHereIsNotHeldElsewhere() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform(
        setting.entries(1) + [
          .createVethPair(
            host: name("vif1.0"), hostMaster: setting.bridge, isUp: true, peer: VethPeer(name: name("guest")))
        ])
      try keeping(network, frr) { keeper in
        try setting.flush(network, 1)
        #expect(eventually { keeper.held.count == 1 })
        let port = try #require(try network.link(named: name("vif1.0"))).index
        let entry = ForwardingEntry(device: port, mac: mac(1), scope: .master)
        try network.perform([.addForwarding(entry, mode: .replace)])
        #expect(eventually { keeper.held.isEmpty })
        #expect(try eventually { try setting.found(network, 1).isEmpty })
        let there = try network.query { socket throws(NetlinkError) in try socket.forwardingTable(of: port) }
        #expect(there.contains { $0.mac == mac(1) })
      }
    }
  }

  @Test func anEarlierKeepersRoutesAreTakenOverAndReleasedWhenEVPNIsOff() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform(setting.entries(1) + setting.entries(nil))
      try keeping(network, frr) { keeper in
        try setting.flush(network, 1)
        try setting.flush(network, nil)
        #expect(eventually { keeper.held.count == 2 })
      }
      #expect(try setting.found(network, 1).count == 2)
      try keeping(network, frr) { keeper in
        #expect(eventually { keeper.held.count == 2 })
        // Damaged is not off.
        try frr.write("frr.conf", "! chaos begin\n", mode: 0o640)
        sleep(2)
        #expect(keeper.held.count == 2)
        try frr.write("frr.conf", "log syslog\n", mode: 0o640)
        #expect(eventually { keeper.held.isEmpty })
      }
      #expect(try setting.found(network, 1).isEmpty && setting.found(network, nil).isEmpty)
    }
  }

  @Test func aDeviceThatGoesDownNeedsNoRoutes() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform(setting.entries(1) + setting.entries(nil))
      try keeping(network, frr) { keeper in
        try setting.flush(network, nil)
        try setting.flush(network, 1)
        #expect(eventually { keeper.held.count == 2 })
        try network.perform([.changeLink(.index(setting.device), LinkChange(isUp: false))])
        #expect(eventually { keeper.held.isEmpty })
        #expect(try eventually { try setting.found(network, nil).isEmpty && setting.found(network, 1).isEmpty })
      }
    }
  }

  /// What zebra does when another host announces the address of a station of this one, and takes that back.
  @Test(arguments: [true, false]) func aStationGetsItsEntryBack(_ isHeard: Bool) async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform([
        .createVethPair(
          host: name("vif1.0"), hostMaster: setting.bridge, isUp: true, peer: VethPeer(name: name("guest")))
      ])
      let port = try #require(try network.link(named: name("vif1.0"))).index
      let member = ForwardingEntry(device: port, mac: mac(1), scope: .master, state: .static)
      func entries() throws -> [ForwardingEntry] {
        try network.query { socket throws(NetlinkError) in try socket.forwardingTable() }.filter {
          $0.mac == mac(1)
        }
      }
      try network.perform([.addForwarding(member, mode: .create)])
      // One that looks seldom goes by what it hears.
      try keeping(network, frr, reviewInterval: isHeard ? .seconds(600) : .milliseconds(50)) { keeper in
        usleep(1_000_000)
        try network.perform(setting.entries(1))
        #expect(try entries().map(\.device) == [setting.device, setting.device])
        usleep(200_000)
        try setting.flush(network, 1)
        #expect(
          try eventually {
            try entries().contains { $0.device == port && $0.scope == .master && $0.state == .static }
          })
        // A member that left does not come back.
        try network.perform(setting.entries(1))
        usleep(200_000)
        try network.perform([.deleteLink(.name(name("vif1.0")))])
        try setting.flush(network, 1)
        usleep(300_000)
        let left = try entries()
        #expect(!left.contains { $0.device == port })
      }
    }
  }

  @Test func whatZebraForgotIsRemoved() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network)
      try network.perform(setting.entries(1) + setting.entries(2) + setting.entries(nil))
      // As when it came to a port of this host, and went there.
      try network.perform([.deleteForwarding(setting.entry(1, .master))])
      try keeping(network, frr, reviewInterval: .milliseconds(50)) { keeper in
        let isGone = try eventually { try setting.found(network, 1).isEmpty }
        #expect(isGone)
        usleep(300_000)
        #expect(keeper.held.isEmpty)
        let (other, flood) = (try setting.found(network, 2), try setting.found(network, nil))
        #expect(other.count == 2 && flood.count == 1)
      }
    }
  }

  /// A firewall that refuses BGP between clients must not look like a daemon that died.
  @Test func onlyWhoListenedBeforeCanStopListening() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let zebra = try DaemonDouble("\(frr.folder)/zebra.vty")
      let bgpd = try DaemonDouble("\(frr.folder)/bgpd.vty") { _ in
        DaemonDouble.answer(#"{"peers":{"10.9.0.3":{"state":"Established"}}}"#)
      }
      defer {
        zebra.stop()
        bgpd.stop()
      }
      let network = try HostNetwork()
      let setting = try Setting(network)
      // The VTEP answers here, where the test can make it listen.
      let loopback = try #require(try network.link(named: name("lo"))).index
      try network.perform([
        .changeLink(.index(loopback), LinkChange(isUp: true)),
        .addAddress(IPInterface(address: vtep, prefixLength: 32)!, to: loopback),
      ])
      try network.perform(setting.entries(1) + setting.entries(nil))
      try keeping(network, frr) { keeper in
        try setting.flush(network, 1)
        try setting.flush(network, nil)
        usleep(700_000)
        #expect(keeper.held.isEmpty)
      }
      let listener = try listen(at: 179)
      try network.perform(setting.entries(1) + setting.entries(nil))
      try keeping(network, frr) { keeper in
        #expect(eventually { accept(listener, nil, nil) >= 0 })
        usleep(300_000)
        close(listener)
        try setting.flush(network, 1)
        #expect(eventually { keeper.held.count == 1 })
      }
    }
  }

  /// A socket that takes connections of anybody, and does not wait for them.
  private func listen(at port: UInt16) throws -> CInt {
    let listener = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    let bound = withUnsafeBytes(of: &address) {
      bind(listener, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    try #require(bound == 0 && Glibc.listen(listener, 8) == 0)
    return listener
  }

  @Test func whatIsNoRoutedLANIsLeftAlone() async throws {
    try await NetworkNamespace.run {
      let frr = try FRRDouble(configuration: Self.configuration)
      let network = try HostNetwork()
      let setting = try Setting(network, learns: true)
      let marked = ForwardingEntry(
        device: setting.device, mac: mac(9), destination: vtep, via: setting.underlay, scope: .device)
      try network.perform(setting.entries(1) + setting.entries(nil) + [.addForwarding(marked, mode: .create)])
      try keeping(network, frr) { keeper in
        try setting.flush(network, 1)
        try setting.flush(network, nil)
        usleep(300_000)
        #expect(keeper.held.isEmpty)
        #expect(try setting.found(network, 1).isEmpty && setting.found(network, nil).isEmpty)
        #expect(try setting.found(network, 9).count == 1)
      }
    }
  }
}
