import CNetlink
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// LANs on the real kernel, in a namespace with one "underlay": a dummy of a veth pair with an address.
@Suite struct LANWiringTests {
  private static let here = IPAddress("192.0.2.1")!
  private static let peer = IPAddress("192.0.2.2")!
  private static let underlayName = InterfaceName("under0")!

  /// Runs a test in a namespace with the underlay in it.
  private static func inNamespace(
    mtu: UInt32 = 1500, addresses: [String] = ["192.0.2.1/24"],
    _ body: @escaping @Sendable (LANWiring) throws -> Void
  ) async throws {
    try await NetworkNamespace.run {
      let wiring = LANWiring(network: try HostNetwork())
      try makePair(wiring, underlayName, "under1", mtu: mtu)
      let index = try #require(InterfaceIndex(of: underlayName))
      try wiring.network.perform(
        addresses.map { .addAddress(IPInterface($0)!, to: index) })
      try body(wiring)
    }
  }

  private static func makePair(_ wiring: LANWiring, _ one: InterfaceName, _ other: String, mtu: UInt32 = 1500)
    throws
  {
    try wiring.network.perform([
      .createVethPair(
        host: one, hostMTU: mtu, hostMaster: nil, peer: VethPeer(name: InterfaceName(other)!, mtu: mtu)),
      .changeLink(.name(one), LinkChange(isUp: true)),
    ])
  }

  private static func lan(
    _ mode: LANDefinition.Mode, mtu: Int? = nil, underlay: LANDefinition.Underlay = .automatic,
    peers: [LANDefinition.Peer] = [], attached: [InterfaceName] = []
  ) -> LANDefinition {
    LANDefinition(
      name: "blue", vni: VNI(rawValue: 100)!, mode: mode, mtu: mtu, underlay: underlay, peers: peers,
      attached: attached)
  }

  private static func link(_ wiring: LANWiring, _ name: String) throws -> Link? {
    try wiring.network.link(named: InterfaceName(name)!)
  }

  /// Which interfaces there are and how they were set up; what the kernel makes of that may still change.
  private static func arrangement(_ wiring: LANWiring) throws -> [String] {
    try wiring.network.links().map { link in
      "\(link.index) \(link.name) \(link.mtu) \(link.isUp) \(link.master?.description ?? "-") \(link.group)"
    }
  }

  private static func entries(_ wiring: LANWiring, _ device: InterfaceIndex) throws -> [ForwardingEntry] {
    try wiring.network.query { socket throws(NetlinkError) in try socket.forwardingTable(of: device) }
  }

  private static func setting(_ path: String) throws -> String {
    let file = try #require(fopen("/proc/sys/net/\(path)", "r"))
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 32)
    _ = fgets(&buffer, 32, file)
    return String(decoding: buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  // MARK: Laying out

  @Test func aLANTakesItsMTUFromTheUnderlay() async throws {
    try await Self.inNamespace(mtu: 1400) { wiring in
      let laid = try wiring.layOut(Self.lan(.static))
      #expect(laid.mtu == 1350)
      #expect(laid.underlay?.address == Self.here)
      #expect(try Self.link(wiring, "lan100")?.mtu == 1350)
    }
  }

  @Test func anIPv6UnderlayLeavesTwentyBytesLess() async throws {
    try await Self.inNamespace(addresses: ["2001:db8::1/64"]) { wiring in
      let laid = try wiring.layOut(Self.lan(.static))
      #expect(laid.mtu == 1430)
      #expect(try Self.link(wiring, "vxlan100")?.vxlan?.local == IPAddress("2001:db8::1"))
    }
  }

  /// What is too large for the LAN must reach the VXLAN device, which answers; a bridge says nothing.
  @Test(arguments: [1450, 1500, 9000])
  func theBridgeKeepsTheLANsMTUAndTheVXLANDeviceTakesMore(mtu: Int) async throws {
    try await Self.inNamespace(mtu: 9050) { wiring in
      try wiring.layOut(Self.lan(.static, mtu: mtu))
      #expect(try Self.link(wiring, "lan100")?.mtu == UInt32(mtu))
      #expect(try Self.link(wiring, "vxlan100")?.mtu == VXLANSettings.largestMTU)
    }
  }

  @Test func nothingOnALANReachesTheHost() async throws {
    try await Self.inNamespace { wiring in
      try wiring.layOut(Self.lan(.static))
      #expect(try Self.setting("ipv6/conf/lan100/disable_ipv6") == "1")
      #expect(try Self.setting("ipv6/conf/vxlan100/disable_ipv6") == "1")
      #expect(try Self.setting("ipv4/conf/lan100/forwarding") == "0")
      #expect(try Self.setting("ipv4/conf/lan100/rp_filter") == "1")
      #expect(try Self.setting("ipv4/conf/lan100/arp_ignore") == "8")
      let index = try #require(InterfaceIndex(of: InterfaceName("lan100")!))
      let addresses = try wiring.network.query { socket throws(NetlinkError) in try socket.addresses() }
      #expect(!addresses.contains { $0.index == index })
    }
  }

  @Test func aLocalLANIsABridgeAlone() async throws {
    try await NetworkNamespace.run {
      let wiring = LANWiring(network: try HostNetwork())
      let laid = try wiring.layOut(Self.lan(.local))
      #expect(laid.vxlan == nil)
      #expect(laid.mtu == 1500)
      #expect(try Self.link(wiring, "lan100")?.isUp == true)
      #expect(try Self.link(wiring, "vxlan100") == nil)
    }
  }

  @Test func layingOutAgainChangesNothing() async throws {
    try await Self.inNamespace { wiring in
      let lan = Self.lan(.static, peers: [.init(address: Self.peer, macs: [MACAddress("02:00:00:00:00:07")!])])
      let first = try wiring.layOut(lan)
      let links = try Self.arrangement(wiring)
      let table = try Self.entries(wiring, try #require(first.vxlan))
      #expect(first.isNew)
      let second = try wiring.layOut(lan)
      #expect(second.bridge == first.bridge && second.vxlan == first.vxlan && !second.isNew)
      #expect(try Self.arrangement(wiring) == links)
      #expect(Set(try Self.entries(wiring, try #require(first.vxlan))) == Set(table))
    }
  }

  /// However many interfaces the host has: two messages find the underlay, three make the devices.
  @Test func aNewLANTakesFewMessages() async throws {
    try await Self.inNamespace { wiring in
      let sent = wiring.network.messagesSent
      try wiring.layOut(Self.lan(.static, underlay: .address(Self.here)))
      #expect(wiring.network.messagesSent - sent == 5)
    }
  }

  /// The kernel's table of the host's addresses has those alone whose interface is up.
  @Test(arguments: ["192.0.2.1/24", "2001:db8::1/64"], [true, false])
  func anUnderlaysAddressIsFound(address: String, isUp: Bool) async throws {
    try await Self.inNamespace(addresses: ["198.51.100.1/24", address]) { wiring in
      if !isUp { try wiring.network.perform([.changeLink(.name(Self.underlayName), LinkChange(isUp: false))]) }
      let own = try #require(IPInterface(address)).address
      let lan = Self.lan(.static, underlay: .address(own))
      if !isUp && own.isIPv6 {
        // IPv6 addresses go when their interface goes down.
        #expect(throws: LANError.self) { try wiring.check(lan) }
      } else {
        #expect(try wiring.check(lan).underlay?.device == Self.underlayName)
      }
    }
  }

  @Test func evpnLearnsFromNoFrame() async throws {
    try await Self.inNamespace { wiring in
      try wiring.layOut(Self.lan(.evpn))
      let vxlan = try #require(try Self.link(wiring, "vxlan100"))
      #expect(vxlan.vxlan?.learns == false)
      #expect(vxlan.portLearns == false)
    }
  }

  // MARK: Members

  @Test func theVXLANDeviceIsUpWhileThereAreMembers() async throws {
    try await Self.inNamespace { wiring in
      let laid = try wiring.layOut(Self.lan(.static))
      #expect(try Self.link(wiring, "vxlan100")?.isUp == false)
      let member = InterfaceName("member0")!
      try Self.makePair(wiring, member, "member1")
      try wiring.network.perform([.changeLink(.name(member), LinkChange(master: .port(of: laid.bridge)))])
      #expect(try wiring.settle(laid) == 1)
      #expect(try Self.link(wiring, "vxlan100")?.isUp == true)
      try wiring.network.perform([.deleteLink(.name(member))])
      #expect(try wiring.settle(laid) == 0)
      #expect(try Self.link(wiring, "vxlan100")?.isUp == false)
    }
  }

  @Test func anAttachedInterfaceIsAMember() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      try Self.makePair(wiring, nic, "nic1")
      let laid = try wiring.layOut(Self.lan(.static, attached: [nic]))
      #expect(try Self.link(wiring, "nic0")?.master == laid.bridge)
      #expect(try Self.link(wiring, "vxlan100")?.isUp == true)
      try wiring.release(nic, laid)
      #expect(try Self.link(wiring, "nic0")?.master == nil)
      #expect(try Self.link(wiring, "vxlan100")?.isUp == false)
    }
  }

  /// A NIC that was pulled out keeps nobody else off the LAN.
  @Test func anAttachedInterfaceThatIsNotThereIsMissed() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      let laid = try wiring.layOut(Self.lan(.static, attached: [nic]))
      #expect(laid.missing == [nic])
      try Self.makePair(wiring, nic, "nic1")
      #expect(try wiring.layOut(Self.lan(.static, attached: [nic])).missing == [])
      #expect(try Self.link(wiring, "nic0")?.master == laid.bridge)
    }
  }

  @Test func anInterfaceThatTakesLessThanTheLANIsNotAttached() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      try Self.makePair(wiring, nic, "nic1", mtu: 1449)
      let error = #expect(throws: LANError.self) { try wiring.checkAttachable(nic, to: Self.lan(.static)) }
      #expect(error?.kind == .conflict)
      try wiring.network.perform([.changeLink(.name(nic), LinkChange(mtu: 1450))])
      #expect(try wiring.checkAttachable(nic, to: Self.lan(.static)).name == nic)
    }
  }

  @Test func theHostsOwnInterfaceIsNotAttached() async throws {
    try await Self.inNamespace { wiring in
      let error = #expect(throws: LANError.self) {
        try wiring.checkAttachable(Self.underlayName, to: Self.lan(.static))
      }
      #expect(error?.kind == .conflict)
      #expect(error?.description.contains("192.0.2.1") == true)
    }
  }

  /// A bridge with a default VLAN keeps it twice, and twice is what BGP would announce.
  @Test func aMembersAddressIsInTheTableOnce() async throws {
    try await Self.inNamespace { wiring in
      let member = InterfaceName("member0")!
      try Self.makePair(wiring, member, "member1")
      let laid = try wiring.layOut(Self.lan(.evpn, attached: [member]))
      let mac = MACAddress("02:00:00:00:00:07")!
      let index = try #require(InterfaceIndex(of: member))
      let entry = ForwardingEntry(device: index, mac: mac, scope: .master, state: .static)
      try wiring.network.perform([.addForwarding(entry, mode: .replace)])
      let table = try wiring.network.query { socket throws(NetlinkError) in
        try socket.forwardingTable(bridge: laid.bridge)
      }
      #expect(table.filter { $0.mac == mac }.count == 1)
    }
  }

  // MARK: Peers

  @Test func thePeerListIsTheForwardingTable() async throws {
    try await Self.inNamespace { wiring in
      let mac = MACAddress("02:00:00:00:00:07")!
      let other = IPAddress("192.0.2.3")!
      var lan = Self.lan(.static, peers: [.init(address: Self.peer, macs: [mac]), .init(address: other)])
      let vxlan = try #require(try wiring.layOut(lan).vxlan)
      func places() throws -> [String] {
        try Self.entries(wiring, vxlan).filter { $0.destination != nil }.map { "\($0.mac) \($0.destination!)" }
          .sorted()
      }
      #expect(
        try places() == [
          "00:00:00:00:00:00 192.0.2.2", "00:00:00:00:00:00 192.0.2.3", "02:00:00:00:00:07 192.0.2.2",
        ])
      lan.peers = [.init(address: other, macs: [mac])]
      try wiring.layOut(lan)
      #expect(try places() == ["00:00:00:00:00:00 192.0.2.3", "02:00:00:00:00:07 192.0.2.3"])
      // What was learned from a peer goes with it.
      let learned = ForwardingEntry(
        device: vxlan, mac: MACAddress("02:00:00:00:00:08")!, destination: other, scope: .device, state: .dynamic)
      try wiring.network.perform([.addForwarding(learned, mode: .create)])
      try wiring.layOut(lan)
      #expect(try places().contains("02:00:00:00:00:08 192.0.2.3"))
      lan.peers = []
      try wiring.layOut(lan)
      #expect(try places() == [])
    }
  }

  // MARK: Refusals

  @Test func whatCannotBeIsRefusedBeforeAnythingIsMade() async throws {
    try await Self.inNamespace { wiring in
      let refused: [(LANDefinition, String)] = [
        (Self.lan(.static, mtu: 1451), "mtu"),
        (Self.lan(.static, underlay: .address(IPAddress("192.0.2.99")!)), "vtep"),
        (Self.lan(.static, underlay: .device(InterfaceName("none0")!)), "device"),
        (Self.lan(.static, underlay: .device(InterfaceName("under1")!)), "device"),
        (Self.lan(.static, peers: [.init(address: IPAddress("2001:db8::2")!)]), "address"),
        (Self.lan(.static, peers: [.init(address: Self.here)]), "address"),
      ]
      let before = try Self.arrangement(wiring)
      for (lan, field) in refused {
        let error = #expect(throws: LANError.self) { try wiring.layOut(lan) }
        #expect(error?.field == field, "\(error?.description ?? "")")
        #expect(error?.description.contains("\n") == false)
      }
      #expect(try Self.arrangement(wiring) == before)
    }
  }

  @Test func anotherVXLANDeviceWithTheVNIIsInTheWay() async throws {
    try await Self.inNamespace { wiring in
      let taken = VXLANSettings(vni: VNI(rawValue: 100)!, local: nil, port: 4789, learns: true)
      try wiring.network.perform([
        .createVXLAN(InterfaceName("theirs")!, taken, mtu: 1400, group: nil, master: nil)
      ])
      let error = #expect(throws: LANError.self) { try wiring.layOut(Self.lan(.static)) }
      #expect(error?.field == "vni")
      #expect(error?.kind == .conflict)
    }
  }

  @Test func aBridgeOfSomebodyElseIsLeftAlone() async throws {
    try await Self.inNamespace { wiring in
      try wiring.network.perform([.createBridge(InterfaceName("lan100")!, mtu: nil, group: nil)])
      let error = #expect(throws: LANError.self) { try wiring.layOut(Self.lan(.static)) }
      #expect(error?.field == "bridge")
      try wiring.remove(Self.lan(.static))
      #expect(try Self.link(wiring, "lan100") != nil)
    }
  }

  /// As Megalos's own plug-in leaves it: another maker, the same VNI, port and names.
  @Test func aBridgeOfMegalosIsShared() async throws {
    try await Self.inNamespace { wiring in
      let lan = try LANDefinition.megalos(name: "net_-a.b", suffix: "lab", vni: VNI(rawValue: 300)!)
      #expect(lan.bridge.description == "kt-net-a-lab")
      #expect(lan.vxlan.description == "net-a-lab")
      #expect(lan.port == 8472)
      try wiring.network.perform([
        .createVXLAN(
          lan.vxlan, VXLANSettings(vni: lan.vni, local: Self.here, port: 8472, learns: false), mtu: 1500,
          group: nil,
          master: nil),
        .createBridge(lan.bridge, mtu: nil, group: nil),
      ])
      let bridge = try #require(InterfaceIndex(of: lan.bridge))
      try wiring.network.perform([.changeLink(.name(lan.vxlan), LinkChange(master: .port(of: bridge), isUp: true))])
      #expect(try wiring.layOut(lan).bridge == bridge)
      try wiring.remove(lan)
      #expect(try Self.link(wiring, "kt-net-a-lab") != nil)
    }
  }

  // MARK: Removing

  @Test func oneMessageDeletesALANAndNothingElse() async throws {
    try await Self.inNamespace { wiring in
      let before = Set(try wiring.network.links().map(\.name))
      let lan = Self.lan(.static)
      try wiring.layOut(lan)
      let sent = wiring.network.messagesSent
      try wiring.remove(lan)
      #expect(wiring.network.messagesSent - sent == 1)
      #expect(Set(try wiring.network.links().map(\.name)) == before)
      try wiring.remove(lan)
    }
  }

  @Test func theSweepTakesWhatNobodyWroteDown() async throws {
    try await Self.inNamespace { wiring in
      let kept = Self.lan(.static)
      let stray = LANDefinition(name: "stray", vni: VNI(rawValue: 200)!, mode: .static)
      let passing = try LANDefinition.megalos(name: "pods", suffix: "", vni: VNI(rawValue: 300)!)
      for lan in [kept, stray, passing] { try wiring.layOut(lan) }
      try wiring.sweep(keeping: [kept])
      #expect(try Self.link(wiring, "lan100") != nil)
      #expect(try Self.link(wiring, "lan200") == nil)
      #expect(try Self.link(wiring, "vxlan200") == nil)
      // The containers' own plug-in looks after this one.
      #expect(try Self.link(wiring, "kt-pods") != nil)
    }
  }
}
