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
      try network.join([(tap: name("vif1.0"), bridge: bridge.index, mtu: 1450)])
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
}
