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
        addresses.map { .addAddress(IPInterface($0)!, to: index, detectsDuplicates: false) })
      // A thread of the kernel's takes an IPv6 address into use.
      #expect(
        try eventually {
          try wiring.network.addresses(of: index).allSatisfy { !$0.flags.contains(.tentative) }
        })
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
      attached: attached.map { AttachedInterface($0) })
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

  /// However many interfaces the host has: two messages find the underlay, five make the devices and close the bridge to the host.
  @Test func aNewLANTakesFewMessages() async throws {
    try await Self.inNamespace { wiring in
      let sent = wiring.network.messagesSent
      try wiring.layOut(Self.lan(.static, underlay: .address(Self.here)))
      #expect(wiring.network.messagesSent - sent == 7)
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
      try wiring.release(AttachedInterface(nic), from: Self.lan(.static))
      #expect(try Self.link(wiring, "nic0")?.master == nil)
      #expect(try Self.link(wiring, "vxlan100")?.isUp == false)
    }
  }

  /// A NIC that was pulled out keeps nobody else off the LAN.
  @Test func anAttachedInterfaceThatIsNotThereIsMissed() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      let laid = try wiring.layOut(Self.lan(.static, attached: [nic]))
      #expect(laid.waiting.map(\.interface) == [nic])
      try Self.makePair(wiring, nic, "nic1")
      #expect(try wiring.layOut(Self.lan(.static, attached: [nic])).waiting == [])
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

  /// What was learned ages, and would be flooded to then.
  @Test func aListedAddressThatWasLearnedBeforeIsSetAllTheSame() async throws {
    try await Self.inNamespace { wiring in
      let mac = MACAddress("02:00:00:00:00:07")!
      var lan = Self.lan(.static, peers: [.init(address: Self.peer)])
      let laid = try wiring.layOut(lan)
      let vxlan = try #require(laid.vxlan)
      let learned = ForwardingEntry(
        device: vxlan, mac: mac, destination: Self.peer, scope: .device, state: .dynamic)
      try wiring.network.perform([.addForwarding(learned, mode: .create)])
      lan.peers[0].macs = [mac]
      try wiring.layOut(lan)
      let entries = try Self.entries(wiring, vxlan).filter { $0.mac == mac }
      #expect(entries.map(\.state) == [.static, .static], "the device's and the bridge's: \(entries)")
      // The bridge's may go alone.
      try wiring.network.perform([
        .deleteForwarding(ForwardingEntry(device: vxlan, mac: mac, scope: .master, state: .static))
      ])
      try wiring.layOut(lan)
      #expect(try Self.entries(wiring, vxlan).filter { $0.mac == mac }.count == 2)
    }
  }

  // MARK: Underlay

  private static func route(_ wiring: LANWiring, through device: InterfaceName) throws {
    let index = try #require(InterfaceIndex(of: device))
    try wiring.network.perform([
      .changeLink(.name(InterfaceName("under1")!), LinkChange(isUp: true)),
      .addRoute(destination: nil, gateway: nil, device: index),
    ])
  }

  /// The default route may move any time, to a VPN say; the other hosts know this one.
  @Test func aVTEPThatWasChosenStaysWhileTheHostHasIt() async throws {
    try await Self.inNamespace { wiring in
      let vpn = InterfaceName("vpn0")!
      try Self.makePair(wiring, vpn, "vpn1")
      let index = try #require(InterfaceIndex(of: vpn))
      let under = try #require(InterfaceIndex(of: Self.underlayName))
      try Self.route(wiring, through: Self.underlayName)
      var lan = Self.lan(.static)
      let first = try wiring.layOut(lan)
      #expect(first.underlay?.address == Self.here)
      try wiring.network.perform([
        .changeLink(.name(InterfaceName("vpn1")!), LinkChange(isUp: true)),
        .addAddress(IPInterface("198.51.100.1/24")!, to: index),
        .changeLink(.index(under), LinkChange(isUp: false)),
        .addRoute(destination: nil, gateway: nil, device: index),
      ])
      // By the device that is there, and by what was written down.
      #expect(try wiring.layOut(lan).vxlan == first.vxlan)
      lan.choose(try #require(first.underlay))
      try wiring.remove(lan)
      #expect(try wiring.check(lan).underlay?.address == Self.here)
      // Gone, it is no choice.
      try wiring.network.perform([.deleteAddress(IPInterface("192.0.2.1/24")!, from: under)])
      #expect(try wiring.check(lan).underlay?.address == IPAddress("198.51.100.1"))
      let finding = try wiring.network.snapshot(for: [lan], isThorough: false).compare(lan, with: [])
      #expect(finding.differences.contains(.vtepChosen(IPAddress("198.51.100.1")!)))
    }
  }

  /// Pure: the kernel makes such addresses in its own time.
  @Test(arguments: [AddressFlags.tentative, .deprecated, .secondary, .duplicated])
  func anAddressThatMayGoIsNotChosen(flag: AddressFlags) throws {
    func host(_ flags: AddressFlags) -> HostSnapshot {
      let link = Link(index: InterfaceIndex(rawValue: 7)!, name: Self.underlayName, flags: .up)
      return HostSnapshot(
        links: [link],
        addresses: [
          InterfaceAddress(
            index: link.index, address: IPInterface("2001:db8::5/64")!, scope: .global, flags: flags)
        ])
    }
    #expect(try host([]).automaticUnderlay().address == IPAddress("2001:db8::5"))
    #expect(throws: LANError.self) { try host(flag).automaticUnderlay() }
    // One that was chosen when nothing spoke against it stays, but for one that is somebody else's.
    var lan = Self.lan(.static)
    lan.chosen = IPAddress("2001:db8::5")
    if flag == .duplicated {
      #expect(throws: LANError.self) { try host(flag).underlay(of: lan) }
    } else {
      #expect(try host(flag).underlay(of: lan).address == lan.chosen)
    }
  }

  /// As people do whose routers speak BGP: the address is the host's, whatever link is up.
  @Test func anAddressOfTheLoopbackTakesItsMTUFromTheWayOut() async throws {
    try await Self.inNamespace(mtu: 1400) { wiring in
      let lo = try #require(InterfaceIndex(of: InterfaceName("lo")!))
      try wiring.network.perform([
        .changeLink(.index(lo), LinkChange(isUp: true)), .addAddress(IPInterface("203.0.113.1/32")!, to: lo),
      ])
      let lan = Self.lan(.static, underlay: .address(IPAddress("203.0.113.1")!))
      let error = #expect(throws: LANError.self) { try wiring.check(lan) }
      #expect(error?.description.contains("no default route") == true)
      try Self.route(wiring, through: Self.underlayName)
      let laid = try wiring.layOut(lan)
      #expect(laid.mtu == 1350)
      #expect(laid.underlay?.device == Self.underlayName)
      #expect(try wiring.network.snapshot(for: [lan], isThorough: true).compare(lan, with: []).differences == [])
    }
  }

  // MARK: The UDP port

  @Test func aPortThatAProgramHasIsRefusedWithItsName() async throws {
    try await Self.inNamespace { wiring in
      let program = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
      defer { close(program) }
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = UInt16(4789).bigEndian
      let bound = withUnsafeBytes(of: &address) {
        bind(program, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
      #expect(bound == 0)
      let lan = Self.lan(.static)
      let underlay = try #require(try wiring.check(lan).underlay)
      let error = #expect(throws: LANError.self) { try wiring.checkPort(of: lan, on: underlay, beside: []) }
      #expect(error?.description.hasPrefix("port: UDP port taken by process \(getpid()) (") == true)
      #expect(error?.description.hasSuffix("'4789'") == true && error?.kind == .conflict)
      // One that came later is told when the device is to be set up.
      let laid = try wiring.layOut(lan)
      let tap = InterfaceName("ch1.0")!
      close(try wiring.network.createTap(tap).queue)
      let late = #expect(throws: LANError.self) {
        try wiring.join(
          [LANPort(interface: tap, mac: MACAddress("02:00:00:00:00:01")!, mtu: 1450)], laid, lan)
      }
      #expect(late?.description == error?.description)
    }
  }

  @Test func aPortOfVXLANDevicesIsSharedByTheirKindOnly() async throws {
    try await Self.inNamespace { wiring in
      let one = LANDefinition(name: "red", vni: VNI(rawValue: 7)!, mode: .static)
      let laid = try wiring.layOut(one)
      let vxlan = try #require(laid.vxlan)
      try wiring.network.perform([.changeLink(.index(vxlan), LinkChange(isUp: true))])
      let lan = Self.lan(.static)
      let underlay = try #require(try wiring.check(lan).underlay)
      try wiring.checkPort(of: lan, on: underlay, beside: [one])
      try wiring.checkPort(of: lan, on: underlay, beside: [])
      try wiring.network.perform([.deleteLink(.index(vxlan)), .createExternalVXLAN(InterfaceName("theirs")!)])
      let error = #expect(throws: LANError.self) { try wiring.checkPort(of: lan, on: underlay, beside: []) }
      #expect(error?.description.contains("VXLAN interface 'theirs'") == true)
    }
  }

  @Test func theKernelsListTellsWhoHasAPort() {
    let list = """
        sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
       338: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 00 0
       339: 0100007F:12B6 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12346 2 00 0
       340: nonsense
      """
    #expect(UDPSockets.inodes(at: 4789, in: list) == ["12345"])
    #expect(UDPSockets.inodes(at: 1, in: list) == [])
  }

  // MARK: Attached interfaces that changed

  @Test func anAttachedInterfaceWithAnAddressOfTheHostIsLeftWhereItIs() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      try Self.makePair(wiring, nic, "nic1")
      let index = try #require(InterfaceIndex(of: nic))
      try wiring.network.perform([.addAddress(IPInterface("198.51.100.1/24")!, to: index)])
      let lan = Self.lan(.static, underlay: .address(Self.here), attached: [nic])
      let laid = try wiring.layOut(lan)
      #expect(laid.waiting.map(\.interface) == [nic])
      #expect(laid.waiting.first?.reason.contains("198.51.100.1") == true)
      #expect(try Self.link(wiring, "nic0")?.master == nil)
      try wiring.network.perform([
        .deleteAddress(IPInterface("198.51.100.1/24")!, from: index), .createBridge(InterfaceName("br0")!),
      ])
      let other = try #require(InterfaceIndex(of: InterfaceName("br0")!))
      try wiring.network.perform([.changeLink(.index(index), LinkChange(master: .port(of: other)))])
      #expect(try wiring.layOut(lan).waiting.count == 1)
      #expect(try Self.link(wiring, "nic0")?.master == other)
      try wiring.network.perform([.changeLink(.index(index), LinkChange(master: LinkChange.Master.none))])
      #expect(try wiring.layOut(lan).waiting == [])
      #expect(try Self.link(wiring, "nic0")?.master == laid.bridge)
    }
  }

  @Test func anAttachedInterfaceThatWasRenamedIsLetGo() async throws {
    try await Self.inNamespace { wiring in
      let nic = InterfaceName("nic0")!
      try Self.makePair(wiring, nic, "nic1")
      var lan = Self.lan(.static)
      let attached = AttachedInterface(try wiring.checkAttachable(nic, to: lan))
      lan.attached = [attached]
      let laid = try wiring.layOut(lan)
      let index = try #require(attached.index)
      try wiring.network.perform([
        .changeLink(.index(index), LinkChange(isUp: false)), .renameLink(index, to: InterfaceName("other0")!),
      ])
      let link = try #require(try Self.link(wiring, "other0"))
      #expect(link.master == laid.bridge)
      #expect(attached.isCalled(link.name, link) && attached.isCalled(nic, nil))
      #expect(try wiring.layOut(lan).waiting == [])
      try wiring.release(attached, from: lan)
      #expect(try Self.link(wiring, "other0")?.master == nil)
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

extension RouteRequest {
  /// A VXLAN device that takes its VNIs from routing, at the standard port, up.
  fileprivate static func createExternalVXLAN(_ name: InterfaceName) -> RouteRequest {
    var message = NetlinkMessageBuilder(
      type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, link: .name(name), change: LinkChange(isUp: true))
    message.nest(IFLA_LINKINFO) { info in
      info.append(IFLA_INFO_KIND, text: Array("vxlan".utf8))
      info.nest(IFLA_INFO_DATA) { data in
        data.append(IFLA_VXLAN_COLLECT_METADATA, [1])
        data.append(IFLA_VXLAN_PORT, integer: UInt16(4789).bigEndian)
      }
    }
    return RouteRequest(operation: "create vxlan", subject: "'\(name)'", message: message.bytes)
  }
}
