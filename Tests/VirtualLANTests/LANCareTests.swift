import CNetlink
import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// LANs that somebody else changes, on the real kernel: what is found, and that mending ends it.
@Suite struct LANCareTests {
  private static let here = address("192.0.2.1")
  private static let guest = mac("02:00:00:00:00:01")
  private static let tap = name("ch1.0")
  private static let port = LANPort(interface: tap, mac: guest, mtu: 1450)

  /// A host with an underlay and one guest on a LAN.
  private final class Host {
    let wiring: LANWiring
    var lan: LANDefinition
    var laid: LaidLAN
    /// Of the guest's tap.
    let queue: CInt

    init(_ mode: LANDefinition.Mode = .static) throws {
      wiring = LANWiring(network: try HostNetwork())
      try Self.makePair(wiring, "under0", "under1")
      lan = LANDefinition(name: "blue", vni: VNI(rawValue: 100)!, mode: mode)
      let under = try #require(InterfaceIndex(of: name("under0")))
      try wiring.network.perform([
        .addAddress(IPInterface("192.0.2.1/24")!, to: under),
        .addRoute(destination: nil, gateway: nil, device: under),
      ])
      laid = try wiring.layOut(lan)
      if let underlay = laid.underlay { lan.choose(underlay) }
      queue = try wiring.network.createTap(tap).queue
      try wiring.join([port], laid, lan)
    }

    deinit { close(queue) }

    static func makePair(_ wiring: LANWiring, _ one: String, _ other: String, mtu: UInt32 = 1500) throws {
      try wiring.network.perform([
        .createVethPair(
          host: name(one), hostMTU: mtu, hostMaster: nil, peer: VethPeer(name: name(other), mtu: mtu)),
        .changeLink(.name(name(one)), LinkChange(isUp: true)),
        .changeLink(.name(name(other)), LinkChange(isUp: true)),
      ])
    }

    func perform(_ requests: RouteRequest...) throws { try wiring.network.perform(requests) }

    func link(_ text: String) throws -> Link? { try wiring.network.link(named: name(text)) }

    func differences() throws -> [LANDifference] {
      try wiring.network.snapshot(for: [lan], isThorough: true).compare(lan, with: [port]).differences
    }

    /// Mends as the reconciler does.
    func mend() throws {
      for difference in try differences() {
        switch difference {
        case .portOutside(let port), .addressForgotten(let port): try wiring.join([port], laid, lan)
        case .addressElsewhere(let entry): try wiring.forget(entry)
        case .vxlanUp: try wiring.settle(laid)
        default: laid = try wiring.layOut(lan)
        }
      }
    }

    func forwarding() throws -> [ForwardingEntry] {
      try wiring.network.query { socket throws(NetlinkError) in try socket.forwardingTable(bridge: laid.bridge) }
    }
  }

  @Test(arguments: [LANDefinition.Mode.local, .static, .evpn])
  func aLANThatWasJustLaidOutIsAsItShouldBe(mode: LANDefinition.Mode) async throws {
    try await NetworkNamespace.run {
      let host = try Host(mode)
      #expect(try host.differences() == [])
    }
  }

  /// Deleted, or deleted and made again by somebody: two rounds, the devices and then their members.
  @Test(arguments: ["lan100", "vxlan100", "both", "made again"])
  func devicesThatSomebodyDeletesGetTheirMembersBack(what: String) async throws {
    try await NetworkNamespace.run {
      let host = try Host()
      switch what {
      case "both": try host.wiring.remove(host.lan)
      case "made again":
        try host.wiring.remove(host.lan)
        try host.perform(.createBridge(name("lan100"), group: LANWiring.group(of: host.lan)))
      default: try host.perform(.deleteLink(.name(name(what))))
      }
      #expect(try !host.differences().isEmpty)
      try host.mend()
      try host.mend()
      #expect(try host.differences() == [])
      #expect(try host.link("ch1.0")?.master == InterfaceIndex(of: name("lan100")))
      #expect(try host.link("vxlan100")?.isUp == true)
      #expect(try host.forwarding().contains { $0.mac == Self.guest && $0.state == .static })
    }
  }

  @Test func whatSomebodyChangesIsChangedBack() async throws {
    try await NetworkNamespace.run {
      let host = try Host(.evpn)
      let vxlan = name("vxlan100")
      let changes: [RouteRequest] = [
        .changeLink(.name(name("lan100")), LinkChange(isUp: false)),
        .changeLink(.name(name("lan100")), LinkChange(mtu: 600)),
        .changeLink(.name(name("lan100")), LinkChange(ipv4: IPv4Behaviour(forwards: true))),
        .changeBridge(.name(name("lan100")), snoopsMulticast: true),
        .changeLink(.name(vxlan), LinkChange(isUp: false)),
        .changeLink(.name(vxlan), LinkChange(mtu: 1400)),
        .changeLink(.name(vxlan), LinkChange(master: LinkChange.Master.none)),
        .changeBridgePort(.name(vxlan), BridgePortChange(learns: true)),
        .changeLink(.name(Self.tap), LinkChange(master: LinkChange.Master.none)),
        .changeLink(.name(Self.tap), LinkChange(isUp: false)),
        .changeLink(.name(Self.tap), LinkChange(mtu: 600)),
      ]
      for change in changes {
        try host.perform(change)
        #expect(try !host.differences().isEmpty, "\(change)")
        try host.mend()
        try host.mend()
        #expect(try host.differences() == [], "\(change)")
      }
    }
  }

  @Test func aForgottenAddressIsToldAgainAndAStaleOneForgotten() async throws {
    try await NetworkNamespace.run {
      let host = try Host(.evpn)
      let tap = try #require(InterfaceIndex(of: Self.tap))
      let vxlan = try #require(host.laid.vxlan)
      let entry = ForwardingEntry(device: tap, mac: Self.guest, scope: .master)
      try host.perform(.deleteForwarding(entry))
      #expect(try host.differences() == [.addressForgotten(Self.port)])
      try host.mend()
      #expect(try host.differences() == [])
      let stale = ForwardingEntry(
        device: vxlan, mac: Self.guest, destination: address("192.0.2.2"), scope: .device, state: .static,
        isExternallyLearned: true)
      try host.perform(.addForwarding(stale, mode: .create))
      #expect(try host.differences().count == 1)
      try host.mend()
      #expect(try host.differences() == [])
    }
  }

  // MARK: Members that come and go

  /// The kernel alone knows who is a member: nothing is counted that could go wrong.
  @Test func theVXLANDeviceIsUpAgainAfterWhoeverTookItDown() async throws {
    try await NetworkNamespace.run {
      let host = try Host()
      try host.perform(.changeLink(.name(Self.tap), LinkChange(master: LinkChange.Master.none)))
      #expect(try host.wiring.settle(host.laid) == 0)
      #expect(try host.link("vxlan100")?.isUp == false)
      try host.wiring.join([Self.port], host.laid, host.lan)
      #expect(try host.link("vxlan100")?.isUp == true)
      // Told twice, nobody is counted twice.
      try host.wiring.join([Self.port], host.laid, host.lan)
      try host.perform(.deleteLink(.name(Self.tap)))
      #expect(try host.wiring.settle(host.laid) == 0)
      #expect(try host.link("vxlan100")?.isUp == false)
    }
  }

  // MARK: Apart from the host

  /// Whoever looks for a DHCP server has no address yet, and rp_filter has no say in that.
  @Test func noFrameOfALANReachesTheHost() async throws {
    try await NetworkNamespace.run {
      let host = try Host()
      let listener = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
      defer { close(listener) }
      var here = sockaddr_in()
      here.sin_family = sa_family_t(AF_INET)
      here.sin_port = UInt16(5555).bigEndian
      let bound = withUnsafeBytes(of: &here) {
        bind(listener, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
      #expect(bound == 0)
      func hears() -> Bool {
        let frame = Frames.broadcast(from: Self.guest, port: 5555)
        #expect(write(host.queue, frame, frame.count) == frame.count)
        usleep(20_000)
        var byte: UInt8 = 0
        return recv(listener, &byte, 1, CInt(MSG_DONTWAIT)) >= 0
      }
      #expect(!hears())
      // Were it not for the filter, it would.
      try host.perform(.deleteIngress(host.laid.bridge))
      #expect(hears())
      #expect(try host.differences() == [.device("'lan100' is open to the host")])
      try host.mend()
      #expect(!hears())
      // One filter, however often it is asked for.
      host.laid = try host.wiring.layOut(host.lan)
      let filters = try host.wiring.network.query { socket throws(NetlinkError) in
        try socket.ingressFilters(of: host.laid.bridge)
      }
      #expect(filters.filter(\.dropsAll).count == 1)
    }
  }

  /// Members do not ask for the groups by which neighbours look for them, and a bridge that snoops sends, once it hears
  /// a querier, to those alone who asked.
  @Test func neighbourSolicitationsReachMembersBesideAQuerier() async throws {
    try await NetworkNamespace.run {
      let host = try Host()
      let other = try host.wiring.network.createTap(name("ch2.0")).queue
      defer { close(other) }
      try host.wiring.join(
        [LANPort(interface: name("ch2.0"), mac: mac("02:00:00:00:00:02"), mtu: 1450)], host.laid, host.lan)
      _ = fcntl(other, F_SETFL, O_NONBLOCK)
      func arrives() -> Bool {
        let query = Frames.listenerQuery(from: Self.guest)
        let solicitation = Frames.solicitation(from: Self.guest)
        #expect(write(host.queue, query, query.count) == query.count)
        // The querier counts once members had time to answer it.
        usleep(50_000)
        var buffer = [UInt8](repeating: 0, count: 2048)
        while read(other, &buffer, buffer.count) > 0 {}
        #expect(write(host.queue, solicitation, solicitation.count) == solicitation.count)
        usleep(20_000)
        while true {
          let count = read(other, &buffer, buffer.count)
          if count <= 0 { return false }
          if Array(buffer[..<count]) == solicitation { return true }
        }
      }
      #expect(arrives())
      try host.perform(.changeBridge(.name(name("lan100")), snoopsMulticast: true))
      #expect(eventually { !arrives() })
      try host.mend()
      #expect(arrives())
      // On a bridge that is not chaos's the port does it.
      try host.perform(.changeBridge(.name(name("lan100")), snoopsMulticast: true))
      let wanted = [(tap: name("ch2.0"), bridge: name("lan100"))]
      try host.wiring.network.putBack(MisplacedPort.find(wanted: wanted, links: try host.wiring.network.links()))
      #expect(MisplacedPort.find(wanted: wanted, links: try host.wiring.network.links()) == [])
      #expect(arrives())
    }
  }

  // MARK: Monitoring

  @Test func theMonitorTellsWhatSomebodyDoes() async throws {
    try await NetworkNamespace.run {
      let host = try Host()
      let monitor = try LinkMonitor()
      try host.perform(.deleteLink(.name(name("lan100"))))
      var notices: [LinkChangeNotice] = []
      #expect(
        try eventually {
          notices += try monitor.next(.now + .seconds(1)) ?? []
          return notices.contains {
            if case .linkRemoved(let link) = $0 { link.name == name("lan100") } else { false }
          }
        })
      #expect(notices.contains { if case .link(let link) = $0 { link.name == Self.tap } else { false } })
      #expect(try monitor.next(.now) == [])
      monitor.close()
      #expect(try monitor.next() == nil)
    }
  }

  @Test func lostNoticesAreALookAtEverything() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      let monitor = try LinkMonitor(receiveBufferSize: 4096)
      for number in 0..<64 { try network.perform([.createBridge(name("br\(number)"))]) }
      #expect(try monitor.next(.now)?.contains(.lookAtEverything) == true)
    }
  }

  // MARK: Bridges that are not chaos's

  /// A bridge whose MTU nobody set takes the smallest of its ports'.
  @Test func aGuestsMTUIsNotItsBridges() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      try Host.makePair(LANWiring(network: network), "eth0", "far0", mtu: 9000)
      try network.perform([.createBridge(name("br0"))])
      let bridge = try #require(InterfaceIndex(of: name("br0")))
      try network.perform([.changeLink(.name(name("eth0")), LinkChange(master: .port(of: bridge)))])
      #expect(try network.link(named: name("br0"))?.mtu == 9000)
      let queue = try network.createTap(Self.tap).queue
      defer { close(queue) }
      try network.join([(tap: Self.tap, bridge: bridge, bridgeMTU: 9000)])
      #expect(try network.link(named: name("br0"))?.mtu == 9000)
    }
  }

  @Test func guestsOfABridgeThatWasMadeAgainArePutBack() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      try network.perform([.createBridge(name("br0"))])
      let queue = try network.createTap(Self.tap).queue
      defer { close(queue) }
      try network.join([
        (tap: Self.tap, bridge: try #require(InterfaceIndex(of: name("br0"))), bridgeMTU: 1500)
      ])
      try network.perform([.deleteLink(.name(name("br0"))), .createBridge(name("br0"))])
      let wanted = [(tap: Self.tap, bridge: name("br0"))]
      try network.putBack(MisplacedPort.find(wanted: wanted, links: try network.links()))
      #expect(try network.link(named: Self.tap)?.master == InterfaceIndex(of: name("br0")))
      #expect(MisplacedPort.find(wanted: wanted, links: try network.links()) == [])
    }
  }

  /// Outside of a bridge a tap would be the guest's door to the host.
  @Test func aTapWithoutABridgeAnswersForNobody() async throws {
    try await NetworkNamespace.run {
      let queue = try HostNetwork().createTap(Self.tap).queue
      defer { close(queue) }
      #expect(try setting("ipv4/conf/ch1.0/arp_ignore") == "8")
      #expect(try setting("ipv4/conf/ch1.0/rp_filter") == "1")
    }
  }
}

/// Frames as a guest writes them, each behind a virtio-net header without wishes.
private enum Frames {
  private static let header = [UInt8](repeating: 0, count: 12)

  /// A UDP datagram of one byte to everybody, from nobody yet.
  static func broadcast(from sender: MACAddress, port: UInt16) -> [UInt8] {
    var ip: [UInt8] = [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]
    let sum = checksum(ip)
    ip[10] = UInt8(sum >> 8)
    ip[11] = UInt8(sum & 0xff)
    let udp: [UInt8] = [0x30, 0x39, UInt8(port >> 8), UInt8(port & 0xff), 0, 9, 0, 0, 1]
    return header + [UInt8](repeating: 0xff, count: 6) + sender.octets + [0x08, 0x00] + ip + udp
  }

  /// An MLD query of a router's (RFC 2710) that wants answers at once.
  static func listenerQuery(from sender: MACAddress) -> [UInt8] {
    let allNodes = group([0, 0, 0, 1])
    var message: [UInt8] = [130, 0, 0, 0, 0, 1, 0, 0] + [UInt8](repeating: 0, count: 16)
    fill(&message, to: allNodes)
    // Hop-by-hop options: router alert, padding.
    let options: [UInt8] = [58, 0, 5, 2, 0, 0, 1, 0]
    return frame(sender, to: allNodes, nextHeader: 0, hopLimit: 1, options + message)
  }

  static func solicitation(from sender: MACAddress) -> [UInt8] {
    let group = group([0xff, 0, 0, 2], isSolicitedNode: true)
    var message: [UInt8] =
      [135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80] + [UInt8](repeating: 0, count: 13) + [2]
      + [1, 1] + sender.octets
    fill(&message, to: group)
    return frame(sender, to: group, nextHeader: 58, hopLimit: 255, message)
  }

  private static let source: [UInt8] = [0xfe, 0x80] + [UInt8](repeating: 0, count: 13) + [9]

  private static func group(_ end: [UInt8], isSolicitedNode: Bool = false) -> [UInt8] {
    var address: [UInt8] = [0xff, 0x02] + [UInt8](repeating: 0, count: 14)
    address.replaceSubrange(12..., with: end)
    if isSolicitedNode { address[11] = 1 }
    return address
  }

  private static func frame(
    _ sender: MACAddress, to group: [UInt8], nextHeader: UInt8, hopLimit: UInt8, _ payload: [UInt8]
  ) -> [UInt8] {
    let ip: [UInt8] = [0x60, 0, 0, 0, 0, UInt8(payload.count), nextHeader, hopLimit] + source + group
    return header + [0x33, 0x33] + group[12...] + sender.octets + [0x86, 0xdd] + ip + payload
  }

  /// ICMPv6's checksum covers a header of its own (RFC 8200 section 8.1).
  private static func fill(_ message: inout [UInt8], to group: [UInt8]) {
    let sum = checksum(source + group + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58] + message)
    message[2] = UInt8(sum >> 8)
    message[3] = UInt8(sum & 0xff)
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for start in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[start]) << 8 + (start + 1 < bytes.count ? UInt32(bytes[start + 1]) : 0)
    }
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    return ~UInt16(sum)
  }
}

extension RouteRequest {
  /// Takes an interface's ingress, and the filters there, away.
  fileprivate static func deleteIngress(_ device: InterfaceIndex) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_DELQDISC)
    for field in [UInt32(0), UInt32(device.rawValue), 0xffff_0000, UInt32(TC_H_INGRESS), 0] {
      message.append(field)
    }
    return RouteRequest(operation: "delete ingress of", subject: "\(device)", message: message.bytes)
  }
}
