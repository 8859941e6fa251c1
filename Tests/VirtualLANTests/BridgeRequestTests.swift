import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct BridgeRequestTests {
  @Test func aPortChanges() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      let tap = try Tap.create(name: name("vif1.0"))
      try socket.perform(.changeLink(.name(tap.name), LinkChange(master: .port(of: bridge))))
      let born = try #require(try socket.link(named: tap.name)?.port)
      #expect(born.learns && born.floods && !born.suppressesNeighbours && !born.isIsolated)

      try socket.perform(.changeBridgePort(.name(tap.name), BridgePortChange(learns: false)))
      let deaf = try #require(try socket.link(named: tap.name))
      #expect(deaf.portLearns == false && deaf.port?.floods == true)

      try socket.perform(
        .changeBridgePort(
          .index(deaf.index),
          BridgePortChange(learns: true, neighbourSuppression: true, floods: false, isIsolated: true)))
      let changed = try #require(try socket.link(named: tap.name)?.port)
      #expect(changed.learns && !changed.floods && changed.suppressesNeighbours && changed.isIsolated)
      #expect(try socket.link(index: bridge)?.port == nil)
    }
  }

  @Test func whatIsNoPortIsRefused() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let tap = try Tap.create(name: name("vif1.0"))
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.changeBridgePort(.name(tap.name), BridgePortChange(learns: false)))
      }
      #expect(error.description.hasPrefix("change bridge port 'vif1.0': "))
    }
  }

  @Test func aBridgeForgetsWhenTold() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      try socket.perform(.changeBridge(.index(bridge), ageingSeconds: 1))
      let port = try Tap.create(name: name("vif1.0"))
      try socket.perform(
        .changeLink(.name(port.name), LinkChange(master: .port(of: bridge), isUp: true)))
      try socket.perform(.changeLink(.index(bridge), LinkChange(isUp: true)))
      let device = try socket.index(of: "vif1.0")
      let aging = ForwardingEntry(device: device, mac: mac("02:00:00:00:00:01"), scope: .master, state: .dynamic)
      let lasting = ForwardingEntry(device: device, mac: mac("02:00:00:00:00:02"), scope: .master)
      try socket.perform([.addForwarding(aging, mode: .create), .addForwarding(lasting, mode: .create)])
      var left: Set<MACAddress> = []
      #expect(
        try eventually {
          left = Set(try socket.forwardingTable(of: device).map(\.mac))
          return !left.contains(aging.mac)
        })
      #expect(left.contains(lasting.mac))
    }
  }

  /// What `createBridge` says of an MTU of the bridge's own.
  @Test func aBridgesMTUAmongItsPorts() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let largest = VXLANSettings.largestMTU
      for (number, text) in ["follows", "holds"].enumerated() {
        try socket.perform(.createBridge(name(text), mtu: 1450))
        let bridge = try socket.index(of: text)
        if text == "holds" { try socket.perform(.changeLink(.index(bridge), LinkChange(mtu: 1451))) }
        let settings = VXLANSettings(
          vni: try #require(VNI(rawValue: UInt32(number + 1))), local: nil, learns: false)
        try socket.perform(.createVXLAN(name("v-\(text)"), settings, mtu: largest, master: bridge))
      }
      #expect(try socket.link(named: name("follows"))?.mtu == largest)
      #expect(try socket.link(named: name("holds"))?.mtu == 1451)
    }
  }
}
