import NetworkAddresses
import Testing

@testable import VirtualLAN

/// What is read from each kind of message.
@Suite struct NetlinkContentTests {
  private func content(of bytes: [UInt8]) throws -> NetlinkReply.Content {
    try #require(try NetlinkReply.parse(bytes).first).content
  }

  @Test func lengthsAreRight() {
    for message in NetlinkMessages.all {
      #expect(message.span.bytes.integer(at: 0, as: UInt32.self) == UInt32(message.count))
    }
  }

  @Test func aVXLANDeviceIsRead() throws {
    guard case .link(let link) = try content(of: NetlinkMessages.vxlanLink) else {
      Issue.record("no link")
      return
    }
    #expect(link.kind == .vxlan && link.group.rawValue == 0x6300_0064 && link.peerIndex?.rawValue == 2)
    #expect(
      link.vxlan
        == VXLANSettings(
          vni: try #require(VNI(rawValue: 100)), local: IPAddress("10.0.0.1"), port: 8472, learns: true))
    let port = try #require(link.port)
    #expect(!port.learns && port.floods && port.isIsolated && !port.suppressesNeighbours)
    let statistics = try #require(link.statistics)
    #expect(statistics.rxPackets == 1 && statistics.txPackets == 2)
    #expect(statistics.rxBytes == 0x8000_0000_0000_0003 && statistics.txBytes == 4)
    #expect(statistics.rxErrors == 5 && statistics.txErrors == 6)
    #expect(statistics.rxDropped == 7 && statistics.txDropped == 8)
  }

  /// A device for many networks has VNI 0.
  @Test func aVXLANDeviceWithoutANetworkOfItsOwn() throws {
    var bytes = NetlinkMessages.vxlanLink
    bytes[88] = 0
    guard case .link(let link) = try content(of: bytes) else {
      Issue.record("no link")
      return
    }
    #expect(link.kind == .vxlan && link.vxlan == nil)
  }

  @Test func anAddressIsRead() throws {
    guard case .address(let address) = try content(of: NetlinkMessages.address) else {
      Issue.record("no address")
      return
    }
    #expect(address.index.rawValue == 3)
    #expect(address.address == IPInterface("10.0.0.1/24"))
    #expect(address.scope == .global && address.flags.contains(.secondary) && !address.flags.contains(.tentative))
  }

  @Test func anAddressLongerThanItsFamilysIsRefused() throws {
    var bytes = NetlinkMessages.address
    bytes[17] = 33
    #expect(throws: NetlinkFormatError.badValue(what: "prefix length of 10.0.0.1")) { try content(of: bytes) }
  }

  @Test func aRouteIsRead() throws {
    guard case .route(let route) = try content(of: NetlinkMessages.route) else {
      Issue.record("no route")
      return
    }
    #expect(route.device.rawValue == 3 && route.destination == nil && route.gateway == IPAddress("10.0.0.254"))
    #expect(route.source == IPAddress("10.0.0.1") && route.metric == 100 && route.mtu == 1400)
    #expect(!route.isLocal && !route.isIPv6)
  }

  @Test(arguments: [7, 37])
  func aNextHopOfImpossibleLengthIsRefused(length: UInt8) throws {
    var bytes = NetlinkMessages.route
    bytes[60] = length
    #expect(throws: NetlinkFormatError.badLength(what: "next hop", length: Int(length), left: 32)) {
      try content(of: bytes)
    }
  }

  @Test func forwardingEntriesAreRead() throws {
    let mac = mac("02:00:00:00:00:01")
    let device = try #require(InterfaceIndex(rawValue: 7))
    #expect(
      try content(of: NetlinkMessages.forwarding)
        == .forwarding(
          ForwardingEntry(
            device: device, mac: mac, destination: IPAddress("fd00::2"), scope: .device, state: .dynamic,
            isExternallyLearned: true)))
    #expect(
      try content(of: NetlinkMessages.forwardingRemoved)
        == .forwardingRemoved(
          ForwardingEntry(
            device: device, mac: mac, scope: .master, state: .static, isSticky: true,
            master: InterfaceIndex(rawValue: 5))))
  }

  @Test func aNeighbourIsNoForwardingEntry() throws {
    var bytes = NetlinkMessages.forwarding
    bytes[16] = 2
    #expect(try content(of: bytes) == .other(type: 0x1c))
  }

  @Test func aChainIsRead() throws {
    guard case .chain(let chain) = try content(of: NetlinkMessages.chain) else {
      Issue.record("no chain")
      return
    }
    #expect(chain.family == .ipv4 && chain.table == "filter" && chain.name == "FORWARD")
    #expect(chain.hook == 2 && chain.policy == 0 && chain.dropsForwarded)
  }

  @Test(arguments: [(16, 3), (55, 1), (71, 1)])
  func otherChainsDropNothingThatIsForwarded(offset: Int, byte: UInt8) throws {
    var bytes = NetlinkMessages.chain
    bytes[offset] = byte
    guard case .chain(let chain) = try content(of: bytes) else {
      Issue.record("no chain")
      return
    }
    #expect(!chain.dropsForwarded)
  }

  /// They go into words for people.
  @Test func namesOfChainsAreHeldToALine() throws {
    var bytes = NetlinkMessages.chain
    bytes[24] = 0x0a
    guard case .chain(let chain) = try content(of: bytes) else {
      Issue.record("no chain")
      return
    }
    #expect(chain.table == "?ilter")
  }

  @Test func aRuleIsRead() throws {
    #expect(try content(of: NetlinkMessages.rule) == .rule(NetfilterRule(looksAtBridgePorts: true)))
    var bytes = NetlinkMessages.rule
    bytes[72] = 0x71
    #expect(try content(of: bytes) == .rule(NetfilterRule(looksAtBridgePorts: false)))
  }

  @Test func everyTruncationIsRefused() {
    for message in NetlinkMessages.all {
      for length in 1..<message.count {
        #expect(throws: NetlinkFormatError.self) { try NetlinkReply.parse(Array(message[..<length])) }
      }
    }
  }

  /// Cut at every place with lengths to match, so that what is inside is read.
  @Test func noShorterMessageTraps() {
    var read = 0
    for message in NetlinkMessages.all {
      for length in 16..<message.count {
        var bytes = Array(message[..<length])
        bytes.overwrite(at: 0, with: UInt32(length))
        if (try? NetlinkReply.parse(bytes)) != nil { read += 1 }
      }
    }
    #expect(read > 20)
  }
}
