import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct LinkCreationTests {
  static let group = InterfaceGroup(rawValue: 0x6300_0064)
  static let vni = VNI(rawValue: 100)!

  @Test func numbersOfNetworksHave24Bits() {
    #expect(VNI(rawValue: 0) == nil)
    #expect(VNI(rawValue: 0x100_0000) == nil)
    #expect(VNI(rawValue: 0xff_ffff)?.description == "16777215")
  }

  @Test func aBridgeIsBornWithItsMTUAndGroup() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform(.createBridge(name("lan100"), mtu: 1450, group: Self.group))
      let bridge = try #require(try socket.link(named: name("lan100")))
      #expect(bridge.mtu == 1450 && bridge.group == Self.group && bridge.isBridge)
      #expect(bridge.vxlan == nil && bridge.portLearns == nil)
    }
  }

  @Test(arguments: ["10.0.0.1", "fd00::1", nil])
  func aVXLANDeviceIsMadeInOneMessage(local: String?) async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      let settings = VXLANSettings(vni: Self.vni, local: local.map(address), port: 8472, learns: false)
      let before = socket.messagesSent
      try socket.perform(
        .createVXLAN(
          name("vxlan100"), settings, mtu: VXLANSettings.largestMTU, group: Self.group, master: bridge))
      #expect(socket.messagesSent == before + 1)
      let device = try #require(try socket.link(named: name("vxlan100")))
      #expect(device.kind == .vxlan && device.vxlan == settings)
      #expect(device.mtu == 65535 && device.group == Self.group && device.master == bridge && !device.isUp)
      #expect(device.portLearns == true)
    }
  }

  @Test func noVXLANDeviceIsLargerThanTheLargest() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let settings = VXLANSettings(vni: Self.vni, local: nil, learns: true)
      #expect(settings.port == 4789)
      try socket.perform(.createVXLAN(name("vxlan100"), settings))
      #expect(try socket.link(named: name("vxlan100"))?.vxlan == settings)
      try socket.perform(.changeLink(.name(name("vxlan100")), LinkChange(mtu: VXLANSettings.largestMTU)))
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(
          .changeLink(.name(name("vxlan100")), LinkChange(mtu: VXLANSettings.largestMTU + 1)))
      }
      #expect(error.code == EINVAL)
    }
  }

  @Test func aNetworkHasOneDevice() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let settings = VXLANSettings(vni: Self.vni, local: nil, learns: false)
      try socket.perform(.createVXLAN(name("vxlan100"), settings))
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.createVXLAN(name("other"), settings))
      }
      #expect(error.code == EEXIST)
      #expect(error.description.hasPrefix("create vxlan 'other': File exists"))
      #expect(try socket.link(named: name("other")) == nil)
    }
  }

  @Test func aGroupIsDeletedAtOnce() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform(.createBridge(name("lan100"), group: Self.group))
      try socket.perform(
        .createVXLAN(
          name("vxlan100"), VXLANSettings(vni: Self.vni, local: nil, learns: false), group: Self.group,
          master: socket.index(of: "lan100")))
      try socket.perform(.createBridge(name("lan101"), group: InterfaceGroup(rawValue: 0x6300_0065)))
      try socket.perform(.deleteLinks(group: Self.group))
      #expect(Set(try socket.links().map(\.name)) == [name("lo"), name("lan101")])
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.deleteLinks(group: Self.group))
      }
      #expect(error.code == ENODEV)
      #expect(error.description == "delete links of group 1660944484: No such device")
    }
  }

  @Test func aLinkChangesItsGroup() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      try socket.perform(.changeLink(.index(bridge), LinkChange(group: Self.group)))
      #expect(try socket.link(index: bridge)?.group == Self.group)
    }
  }

  @Test func onePairInOneMessageAcrossNamespaces() async throws {
    try await NetworkNamespace.run {
      let other = try NetworkNamespace.another()
      defer { close(other) }
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      let before = socket.messagesSent
      try socket.perform(
        .createVethPair(
          host: name("cv1"), hostMTU: 1450, hostMaster: bridge, isUp: true,
          peer: VethPeer(name: name("eth0"), mtu: 1450, address: mac("02:00:00:00:00:07"), namespace: other)))
      #expect(socket.messagesSent == before + 1)
      let near = try #require(try socket.link(named: name("cv1")))
      #expect(near.kind == .veth && near.mtu == 1450 && near.master == bridge && near.isUp)
      #expect(try socket.link(named: name("eth0")) == nil)

      var far = try RouteSocket(namespace: other)
      let peer = try #require(try far.link(named: name("eth0")))
      #expect(peer.mtu == 1450 && peer.address == mac("02:00:00:00:00:07") && !peer.isUp && peer.master == nil)
      #expect(near.peerIndex == peer.index && peer.peerIndex == near.index)
      #expect(try far.links().count == 2)
      try far.perform(.changeLink(.index(peer.index), LinkChange(isUp: true)))
      #expect(try eventually { try socket.link(named: name("cv1"))?.flags.contains(.running) == true })

      try socket.perform(.deleteLink(.name(name("cv1"))))
      #expect(try far.link(named: name("eth0")) == nil)
    }
  }

  @Test func aNearEndWithoutAddress() async throws {
    try await NetworkNamespace.run {
      let other = try NetworkNamespace.another()
      defer { close(other) }
      var socket = try RouteSocket()
      var far = try RouteSocket(namespace: other)
      for host in ["silent", "talking"] {
        try socket.perform(
          .createVethPair(
            host: name(host), isUp: true, peer: VethPeer(name: name("peer-\(host)"), namespace: other)))
        if host == "silent" {
          try socket.perform(
            .changeLink(
              .name(name(host)), LinkChange(addressGeneration: LinkChange.AddressGeneration.none)))
        }
        try far.perform(.changeLink(.name(name("peer-\(host)")), LinkChange(isUp: true)))
      }
      #expect(try eventually { try namespaceFile("if_inet6").contains(" talking") })
      #expect(try !namespaceFile("if_inet6").contains(" silent"))
    }
  }

  @Test func ofARefusedPairNothingIsLeft() async throws {
    try await NetworkNamespace.run {
      let other = try NetworkNamespace.another()
      defer { close(other) }
      var socket = try RouteSocket()
      var far = try RouteSocket(namespace: other)
      try far.perform(.createBridge(name("eth0")))
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(
          .createVethPair(host: name("cv1"), peer: VethPeer(name: name("eth0"), namespace: other)))
      }
      #expect(error.code == EEXIST)
      #expect(try socket.links().count == 1)
      #expect(try far.links().count == 2)
      // No namespace's descriptor.
      #expect(throws: NetlinkError.self) {
        try socket.perform(
          .createVethPair(host: name("cv1"), peer: VethPeer(name: name("eth1"), namespace: 0)))
      }
      #expect(try socket.links().count == 1)
    }
  }

  @Test func ipv4BehavesAsTold() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      try Data("1".utf8).write(to: URL(fileURLWithPath: "/proc/sys/net/ipv4/conf/lan100/forwarding"))
      try socket.perform(
        .changeLink(
          .index(bridge),
          LinkChange(
            isUp: true, addressGeneration: LinkChange.AddressGeneration.none,
            ipv4: IPv4Behaviour(forwards: false, reversePathFilter: 1, arpIgnore: 8))))
      #expect(try setting("ipv4/conf/lan100/forwarding") == "0")
      #expect(try setting("ipv4/conf/lan100/rp_filter") == "1")
      #expect(try setting("ipv4/conf/lan100/arp_ignore") == "8")
      #expect(try setting("ipv6/conf/lan100/addr_gen_mode") == "1")
      try socket.perform(
        .changeLink(.index(bridge), LinkChange(ipv4: IPv4Behaviour(reversePathFilter: 2))))
      #expect(try setting("ipv4/conf/lan100/rp_filter") == "2")
      #expect(try setting("ipv4/conf/lan100/arp_ignore") == "8")
    }
  }
}
