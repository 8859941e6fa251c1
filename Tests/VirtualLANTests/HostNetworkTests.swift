import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct HostNetworkTests {
  @Test func theSocketIsLentOut() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      try network.perform([.createBridge(name("lan100")), .createBridge(name("lan101"))])
      let bridges = try network.query { socket throws(NetlinkError) in
        try socket.linksWithStatistics().filter(\.isBridge).map(\.name)
      }
      #expect(Set(bridges) == [name("lan100"), name("lan101")])
      let error = try #require(throws: NetlinkError.self) {
        try network.query { socket throws(NetlinkError) in try socket.perform(.createBridge(name("lan100"))) }
      }
      #expect(error.code == EEXIST)
      #expect(network.messagesSent == 4)
    }
  }

  @Test func aGuestsTapIsReadyToJoin() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      try network.perform([.createBridge(name("lan100"))])
      let bridge = try #require(try network.link(named: name("lan100")))
      let (queue, index) = try network.createTap(name("vif1.0"))
      defer { close(queue) }
      try network.join([(tap: name("vif1.0"), bridge: bridge.index, bridgeMTU: 1450)])
      let tap = try #require(try network.link(named: name("vif1.0")))
      #expect(tap.isUp && tap.master == bridge.index && tap.mtu == 1450)
      #expect(tap.address == mac("fe:ff:ff:ff:ff:ff"))
      #expect(tap.index == index && tap.group == HostNetwork.tapGroup)
      #expect(try !namespaceFile("if_inet6").contains("vif1.0"))
      try network.delete([name("vif1.0"), name("gone")])
      #expect(try network.links().count == 2)
      try network.delete([index])
    }
  }

  @Test func manyTapsGoTogether() async throws {
    try await NetworkNamespace.run {
      let network = try HostNetwork()
      var taps: [(queue: CInt, index: InterfaceIndex)] = []
      for number in 0..<20 { taps.append(try network.createTap(name("vif\(number).0"))) }
      defer { for tap in taps { close(tap.queue) } }
      let sent = network.messagesSent
      // Somebody else deletes one meanwhile; and one of nobody's stays.
      try network.delete([taps[3].index])
      let (queue, _) = try network.createTap(name("other"))
      defer { close(queue) }
      let before = network.messagesSent
      try network.delete(taps.map(\.index))
      #expect(network.messagesSent - before == 21)
      #expect(before - sent == 3)
      #expect(try network.links().filter { HostNetwork.isTap($0) }.map(\.name) == [name("other")])
      try network.delete(taps.map(\.index))
    }
  }
}
