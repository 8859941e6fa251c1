import CNetlink
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// What is concluded from a look at the host: values only.
@Suite struct LANComparisonTests {
  private static func index(_ number: Int32) -> InterfaceIndex { InterfaceIndex(rawValue: number)! }

  private static let ground = index(1)
  private static let bridge = index(2)
  private static let vxlan = index(3)
  private static let tap = index(4)
  private static let here = address("192.0.2.1")
  private static let guest = mac("02:00:00:00:00:01")
  private static let port = LANPort(interface: name("ch1.0"), mac: guest, mtu: 1450)

  private static func definition(
    mode: LANDefinition.Mode = .evpn, attached: [AttachedInterface] = [], peers: [LANDefinition.Peer] = []
  ) -> LANDefinition {
    LANDefinition(
      name: "blue", vni: VNI(rawValue: 100)!, mode: mode, underlay: .address(here), peers: peers, attached: attached
    )
  }

  /// A host on which everything is as it should be, with one guest.
  private struct Host {
    var lan: LANDefinition
    var links: [Link]
    var addresses = [
      InterfaceAddress(
        index: ground, address: IPInterface("192.0.2.1/24")!, scope: .global, flags: AddressFlags(rawValue: 0))
    ]
    var forwarding = [
      ForwardingEntry(
        device: tap, mac: guest, scope: .master, state: .static,
        master: LANComparisonTests.bridge)
    ]
    var sealed: Set<InterfaceIndex>? = [LANComparisonTests.bridge]

    init(_ lan: LANDefinition = definition()) {
      self.lan = lan
      links = [
        Link(index: ground, name: name("eth0"), flags: .up),
        Self.bridgeLink(),
        Link(
          index: vxlan, name: lan.vxlan, mtu: 65535, flags: .up, kind: .vxlan, master: LANComparisonTests.bridge,
          group: LANWiring.group(of: lan),
          vxlan: VXLANSettings(vni: lan.vni, local: here, port: 4789, learns: lan.mode == .static)),
        Link(
          index: tap, name: port.interface, mtu: 9216, flags: .up, kind: .tun, master: LANComparisonTests.bridge),
      ]
    }

    static func bridgeLink(
      index: InterfaceIndex = LANComparisonTests.bridge, mtu: UInt32 = 1450, flags: LinkFlags = .up,
      group: UInt32 = 0x6300_0064, snoops: Bool = false, ipv4: IPv4Behaviour = BridgeSeal.ipv4,
      isIPv6Disabled: Bool = true
    ) -> Link {
      Link(
        index: index, name: name("lan100"), mtu: mtu, flags: flags, kind: .bridge,
        group: InterfaceGroup(rawValue: group), snoopsMulticast: snoops, ipv4: ipv4, isIPv6Disabled: isIPv6Disabled)
    }

    var finding: LANFinding {
      HostSnapshot(links: links, addresses: addresses, forwarding: forwarding, sealed: sealed)
        .compare(lan, with: [port])
    }

    mutating func replace(_ link: Link) {
      links = links.map { $0.name == link.name ? link : $0 }
    }

    mutating func remove(_ gone: String) { links.removeAll { $0.name == name(gone) } }
  }

  @Test func whatIsAsItShouldBeIsNotTouched() {
    let finding = Host().finding
    #expect(finding.differences == [])
    #expect(finding.laid?.bridge == Self.bridge && finding.laid?.vxlan == Self.vxlan)
    #expect(finding.laid?.mtu == 1450)
  }

  // MARK: Devices

  @Test func devicesThatAreGoneAreMissed() {
    var host = Host()
    host.remove("lan100")
    #expect(host.finding.differences == [.device("'lan100' is missing")])
    #expect(host.finding.laid == nil)
    host = Host()
    host.remove("vxlan100")
    #expect(host.finding.differences == [.device("'vxlan100' is missing")])
  }

  /// Somebody deleted the devices and made them again: another index, nobody on it.
  @Test func aBridgeThatWasMadeAgainLacksItsMembers() {
    var host = Host()
    host.replace(Host.bridgeLink(index: Self.index(9)))
    host.sealed = [Self.index(9)]
    #expect(host.finding.differences.contains(.device("'vxlan100' is missing")))
    #expect(host.finding.differences.contains(.portOutside(Self.port)))
  }

  @Test(arguments: [
    (Host.bridgeLink(flags: []), "'lan100' is down"), (Host.bridgeLink(mtu: 600), "'lan100' has an MTU of 600"),
    (Host.bridgeLink(snoops: true), "'lan100' snoops on multicast"),
    (Host.bridgeLink(isIPv6Disabled: false), "'lan100' is open to the host"),
    (Host.bridgeLink(ipv4: IPv4Behaviour(forwards: true, arpIgnore: 8)), "'lan100' is open to the host"),
    (Host.bridgeLink(ipv4: IPv4Behaviour(forwards: false, arpIgnore: 0)), "'lan100' is open to the host"),
    (Host.bridgeLink(group: 0, snoops: true), nil),
  ])
  func aBridgeThatWasChangedIsSeen(bridge: Link, what: String?) {
    var host = Host()
    host.replace(bridge)
    // One of somebody else's making is shared as it is.
    #expect(host.finding.differences == (what.map { [.device($0)] } ?? []))
  }

  @Test func aBridgeWithoutItsFilterIsOpen() {
    var host = Host()
    host.sealed = []
    #expect(host.finding.differences == [.device("'lan100' is open to the host")])
    // Not looked at.
    host.sealed = nil
    #expect(host.finding.differences == [])
  }

  @Test func aLANWhoseAddressIsGoneWaits() {
    var host = Host()
    host.addresses = []
    guard case .waits(let error)? = host.finding.differences.first else {
      Issue.record("does not wait")
      return
    }
    #expect(error.field == "vtep" && host.finding.laid == nil && host.finding.differences.count == 1)
  }

  // MARK: Members

  @Test func aMemberThatIsElsewhereIsPutBack() {
    let places: [(InterfaceIndex?, LinkFlags)] = [(nil, .up), (Self.index(77), .up), (Self.bridge, [])]
    for (master, flags) in places {
      var host = Host()
      host.replace(
        Link(index: Self.tap, name: Self.port.interface, mtu: 9216, flags: flags, kind: .tun, master: master))
      #expect(host.finding.differences.contains(.portOutside(Self.port)))
    }
    var host = Host()
    host.remove("ch1.0")
    #expect(host.finding.differences.contains(.portMissing(Self.port.interface)))
  }

  @Test func theVXLANDeviceFollowsTheMembers() {
    var host = Host()
    host.replace(
      Link(
        index: Self.vxlan, name: name("vxlan100"), mtu: 65535, kind: .vxlan, master: Self.bridge,
        group: LANWiring.group(of: host.lan),
        vxlan: VXLANSettings(vni: host.lan.vni, local: Self.here, port: 4789, learns: false)))
    #expect(host.finding.differences == [.vxlanUp(shouldBe: true)])
    host = Host()
    host.links.removeAll { $0.index == Self.tap }
    #expect(host.finding.differences == [.portMissing(Self.port.interface), .vxlanUp(shouldBe: false)])
  }

  @Test func anAddressThatWasForgottenIsToldAgain() {
    var host = Host()
    host.forwarding = []
    #expect(host.finding.differences == [.addressForgotten(Self.port)])
    // Learned from a frame, it would age.
    host.forwarding = [
      ForwardingEntry(device: Self.tap, mac: Self.guest, scope: .master, state: .dynamic, master: Self.bridge)
    ]
    #expect(host.finding.differences == [.addressForgotten(Self.port)])
  }

  /// Two hosts that each insisted would take it from each other for ever.
  @Test func anAddressThatAnotherHostAnnouncedSinceIsThatHosts() {
    var host = Host()
    host.forwarding = [
      ForwardingEntry(
        device: Self.vxlan, mac: Self.guest, scope: .master, state: .static, isExternallyLearned: true,
        master: Self.bridge),
      ForwardingEntry(
        device: Self.vxlan, mac: Self.guest, destination: address("192.0.2.2"), scope: .device,
        isExternallyLearned: true),
    ]
    #expect(host.finding.differences == [])
  }

  @Test func whatIsLeftOfAnOlderAnnouncementGoes() {
    var host = Host()
    let stale = ForwardingEntry(
      device: Self.vxlan, mac: Self.guest, destination: address("192.0.2.2"), scope: .device,
      isExternallyLearned: true)
    host.forwarding.append(stale)
    #expect(host.finding.differences == [.addressElsewhere(stale)])
  }

  // MARK: Attached interfaces

  private static func nic(
    _ text: String = "nic0", index number: Int32 = 20, mtu: UInt32 = 1500, master: InterfaceIndex? = nil
  ) -> Link {
    Link(
      index: index(number), name: name(text), mtu: mtu, flags: .up, master: master,
      address: mac("52:54:00:00:00:01"), permanentAddress: mac("52:54:00:00:00:01"))
  }

  @Test func anAttachedInterfaceIsPutOnTheLANUnlessSomethingSpeaksAgainstIt() {
    var host = Host(Self.definition(attached: [AttachedInterface(name("nic0"))]))
    func waits(_ words: String) -> Bool {
      host.finding.differences.contains {
        if case .attachedWaits(let waiting) = $0 { waiting.reason.contains(words) } else { false }
      }
    }
    #expect(waits("no such interface: 'nic0'"))
    host.links.append(Self.nic())
    #expect(host.finding.differences == [.attachedOutside(name("nic0"))])
    host.addresses.append(
      InterfaceAddress(
        index: Self.index(20), address: IPInterface("198.51.100.7/24")!, scope: .global,
        flags: AddressFlags(rawValue: 0)))
    #expect(waits("carries this host's own address 198.51.100.7"))
    host.addresses.removeLast()
    host.replace(Self.nic(master: Self.index(30)))
    #expect(waits("is a port of another interface already"))
    host.replace(Self.nic(mtu: 1400))
    #expect(waits("its MTU of 1400 is below the LAN's 1450"))
  }

  @Test func anAttachedInterfaceIsFoundUnderAnyName() {
    let known = AttachedInterface(Self.nic())
    var host = Host(Self.definition(attached: [known]))
    host.links.append(Self.nic("renamed0", master: Self.bridge))
    let now = AttachedInterface(Self.nic("renamed0"))
    #expect(host.finding.differences == [.attachedKnown(known, as: now)])
    // After the next start of the host its hardware address tells.
    var before = known
    before.boot = "another"
    host = Host(Self.definition(attached: [before]))
    host.links.append(Self.nic("renamed0", index: 33, master: Self.bridge))
    #expect(
      host.finding.differences
        == [.attachedKnown(before, as: AttachedInterface(Self.nic("renamed0", index: 33)))])
    // The index means nothing then.
    host.links.append(Link(index: Self.index(20), name: name("other0"), flags: .up))
    #expect(host.finding.differences.count == 1)
  }

  @Test func anAlternativeNameIsAName() {
    let link = Link(index: Self.index(20), name: name("nic0"), alternativeNames: ["plug", "a-name-far-too-long"])
    let host = HostSnapshot(links: [link])
    #expect(host.link(.name(name("plug"))) == link)
    #expect(AttachedInterface(name("nic0")).isCalled(name("plug"), link))
  }

  // MARK: Bridges that are not chaos's

  @Test func guestsOfABridgeThatWasMadeAgainAreMisplaced() {
    let bridge = Link(index: Self.index(8), name: name("br0"), mtu: 1400, flags: .up, kind: .bridge)
    func tap(_ master: InterfaceIndex?) -> Link {
      Link(index: Self.tap, name: name("ch1.0"), flags: .up, kind: .tun, master: master)
    }
    let wanted = [(tap: name("ch1.0"), bridge: name("br0")), (tap: name("ch2.0"), bridge: name("br0"))]
    #expect(MisplacedPort.find(wanted: wanted, links: [bridge, tap(bridge.index)]) == [])
    #expect(MisplacedPort.find(wanted: wanted, links: [tap(nil)]) == [])
    let found = MisplacedPort.find(wanted: wanted, links: [bridge, tap(nil)])
    #expect(found.map(\.tapIndex) == [Self.tap])
    #expect(found.first?.bridgeIndex == bridge.index && found.first?.bridgeMTU == 1400)
    #expect(found.first?.elsewhere == nil)
    #expect(
      MisplacedPort.find(wanted: wanted, links: [bridge, tap(Self.index(9))]).first?.elsewhere == Self.index(9))
  }
}
