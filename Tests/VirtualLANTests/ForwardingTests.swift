import CNetlink
import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct ForwardingTests {
  /// A bridge with a VXLAN device and a tap.
  private struct LAN {
    let bridge: InterfaceIndex
    let vxlan: InterfaceIndex
    let tap: InterfaceIndex
    /// Of the tap, which has a carrier while this is open.
    let queue: CInt

    init(_ socket: inout RouteSocket, local: String = "10.0.0.1") throws {
      bridge = try socket.makeBridge("lan100")
      let settings = VXLANSettings(vni: LinkCreationTests.vni, local: address(local), learns: false)
      try socket.perform(.createVXLAN(name("vxlan100"), settings, master: bridge))
      vxlan = try socket.index(of: "vxlan100")
      queue = try Tap.create(name: name("vif1.0")).takeDescriptor()
      tap = try socket.index(of: "vif1.0")
      try socket.perform([
        .changeLink(.index(bridge), LinkChange(isUp: true)),
        .changeLink(.index(vxlan), LinkChange(isUp: true)),
        .changeLink(.index(tap), LinkChange(master: .port(of: bridge), isUp: true)),
      ])
    }
  }

  private static let guest = mac("02:00:00:00:00:01")

  @Test(arguments: [ForwardingEntry.State.permanent, .static, .dynamic])
  func anEntryOfABridge(state: ForwardingEntry.State) async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      let entry = ForwardingEntry(device: lan.tap, mac: Self.guest, scope: .master, state: state)
      try socket.perform(.addForwarding(entry, mode: .create))
      var expected = entry
      expected.master = lan.bridge
      #expect(try socket.forwardingTable(of: lan.tap).filter { $0.mac == Self.guest } == [expected])

      let again = try #require(throws: NetlinkError.self) {
        try socket.perform(.addForwarding(entry, mode: .create))
      }
      #expect(again.code == EEXIST)
      #expect(
        again.description
          == "add forwarding of 02:00:00:00:00:01 of interface \(lan.tap): File exists")
      try socket.perform(.addForwarding(entry, mode: .replace))

      try socket.perform(.deleteForwarding(entry))
      #expect(try socket.forwardingTable(of: lan.tap).allSatisfy { $0.mac != Self.guest })
      let gone = try #require(throws: NetlinkError.self) { try socket.perform(.deleteForwarding(entry)) }
      #expect(gone.code == ENOENT)
    }
  }

  @Test func anEntryMovesToAnotherPort() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      var entry = ForwardingEntry(device: lan.tap, mac: Self.guest, scope: .master)
      try socket.perform(.addForwarding(entry, mode: .create))
      entry.device = lan.vxlan
      entry.isExternallyLearned = true
      entry.state = .dynamic
      try socket.perform(.addForwarding(entry, mode: .replace))
      entry.master = lan.bridge
      // It was, and stays.
      entry.state = .static
      #expect(try socket.forwardingTable(bridge: lan.bridge).filter { $0.mac == Self.guest } == [entry])
    }
  }

  @Test func anEntrySticks() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      let entry = ForwardingEntry(
        device: lan.tap, mac: Self.guest, scope: .master, state: .dynamic, isSticky: true, master: lan.bridge)
      try socket.perform(.addForwarding(entry, mode: .create))
      #expect(try socket.forwardingTable(of: lan.tap).contains(entry))
    }
  }

  @Test(arguments: [("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd00::2", "fd00::3")])
  func everyPeerIsFloodedTo(local: String, first: String, second: String) async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket, local: local)
      defer { close(lan.queue) }
      let entries = [first, second].map {
        ForwardingEntry(
          device: lan.vxlan, mac: .zero, destination: address($0), scope: .device, state: .static)
      }
      try socket.perform(entries.map { .addForwarding($0, mode: .append) })
      let flood = try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == .zero }
      #expect(Set(flood) == Set(entries) && flood.count == 2)
      try socket.perform(.addForwarding(entries[0], mode: .append))
      #expect(try socket.forwardingTable(of: lan.vxlan).count { $0.mac == .zero } == 2)

      try socket.perform(.deleteForwarding(entries[0]))
      #expect(try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == .zero } == [entries[1]])
      try socket.perform(.deleteForwarding(entries[0]))
      #expect(try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == .zero } == [entries[1]])
      try socket.perform(.deleteForwarding(entries[1]))
      let gone = try #require(throws: NetlinkError.self) {
        try socket.perform(.deleteForwarding(entries[1]))
      }
      #expect(gone.code == ENOENT)
    }
  }

  @Test func aStationMovesToAnotherPeer() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      var entry = ForwardingEntry(
        device: lan.vxlan, mac: Self.guest, destination: address("10.0.0.2"), scope: .device)
      try socket.perform(.addForwarding(entry, mode: .replace))
      #expect(try socket.forwardingTable(of: lan.vxlan).contains(entry))
      entry.destination = address("10.0.0.3")
      try socket.perform(.addForwarding(entry, mode: .replace))
      #expect(try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == Self.guest } == [entry])
    }
  }

  /// An entry of ours that a routing daemon's takes the place of: only in the bridge is that to be seen, unless ours
  /// names the interface its packets leave by.
  @Test func anEntryBecomesExternallyLearned() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      let monitor = try ForwardingMonitor()
      let loopback = try socket.index(of: "lo")
      func entry(_ mac: MACAddress, _ scope: ForwardingEntry.Scope) -> ForwardingEntry {
        ForwardingEntry(
          device: lan.vxlan, mac: mac, destination: scope == .device ? address("10.0.0.2") : nil, scope: scope,
          master: scope == .master ? lan.bridge : nil)
      }
      func learned(_ entry: ForwardingEntry) -> ForwardingEntry {
        var entry = entry
        entry.state = .dynamic
        entry.isExternallyLearned = true
        return entry
      }
      func take(_ entry: ForwardingEntry, over held: ForwardingEntry) throws -> [ForwardingChange] {
        try socket.perform(.addForwarding(held, mode: held.mac == .zero ? .append : .replace))
        _ = try monitor.changes(within: .seconds(30))
        try socket.perform(.addForwarding(entry, mode: entry.mac == .zero ? .append : .replace))
        return try #require(try monitor.changes(within: .zero))
      }

      let inBridge = entry(Self.guest, .master)
      var kept = inBridge
      kept.isExternallyLearned = true
      #expect(try take(learned(inBridge), over: inBridge) == [.added(kept)])

      let inDevice = entry(Self.guest, .device)
      #expect(try take(learned(inDevice), over: inDevice) == [])
      #expect(try socket.forwardingTable(of: lan.vxlan).contains(inDevice))
      try socket.perform(.deleteForwarding(inDevice))
      var marked = inDevice
      marked.via = loopback
      #expect(try take(learned(inDevice), over: marked) == [.added(inDevice)])

      let flood = entry(.zero, .device)
      marked = flood
      marked.via = loopback
      #expect(try take(learned(flood), over: marked) == [.added(flood)])
      #expect(Set(try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == .zero }) == [flood, marked])
      try socket.perform(.deleteForwarding(marked))
      #expect(try socket.forwardingTable(of: lan.vxlan).filter { $0.mac == .zero } == [flood])
    }
  }

  @Test func tablesAreListedOneByOne() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      let other = try socket.makeBridge("lan101")
      try socket.perform([
        .addForwarding(ForwardingEntry(device: lan.tap, mac: Self.guest, scope: .master), mode: .create),
        .addForwarding(
          ForwardingEntry(device: lan.vxlan, mac: .zero, destination: address("10.0.0.2"), scope: .device),
          mode: .append),
      ])
      let whole = try socket.forwardingTable(bridge: lan.bridge)
      #expect(whole.contains { $0.mac == Self.guest && $0.master == lan.bridge && $0.scope == .master })
      #expect(whole.contains { $0.mac == .zero && $0.scope == .device })
      #expect(!whole.contains { $0.device == other })
      #expect(try socket.forwardingTable(of: lan.vxlan).allSatisfy { $0.device == lan.vxlan })
      #expect(try socket.forwardingTable(of: lan.tap).allSatisfy { $0.device == lan.tap })
      #expect(try socket.forwardingTable().contains { $0.device == other })
    }
  }

  @Test func aThousandEntriesAreListed() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lan = try LAN(&socket)
      defer { close(lan.queue) }
      let first = mac("02:00:00:01:00:00")
      let macs = (0..<2000).compactMap { first.advanced(by: $0) }
      try socket.perform(
        macs.map {
          .addForwarding(ForwardingEntry(device: lan.tap, mac: $0, scope: .master), mode: .create)
        })
      let listed = try socket.forwardingTable(bridge: lan.bridge).filter { $0.state == .static }
      #expect(Set(listed.map(\.mac)) == Set(macs) && listed.count == macs.count)
    }
  }
}

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct ForwardingMonitorTests {
  @Test func changesAreHeardOf() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let settings = VXLANSettings(vni: LinkCreationTests.vni, local: address("10.0.0.1"), learns: false)
      try socket.perform(.createVXLAN(name("vxlan100"), settings))
      let monitor = try ForwardingMonitor()
      #expect(try monitor.changes(within: .zero) == [])
      var entry = ForwardingEntry(
        device: try socket.index(of: "vxlan100"), mac: mac("02:00:00:00:00:01"),
        destination: address("10.0.0.2"), scope: .device, state: .dynamic, isExternallyLearned: true)
      try socket.perform([.addForwarding(entry, mode: .create), .deleteForwarding(entry)])
      #expect(try monitor.changes(within: .seconds(30)) == [.added(entry), .removed(entry)])

      entry.mac = .zero
      try socket.perform(.addForwarding(entry, mode: .append))
      #expect(try monitor.changes() == [.added(entry)])
      // The device takes its table with it.
      try socket.perform(.deleteLink(.name(name("vxlan100"))))
      #expect(try #require(try monitor.changes(within: .seconds(30))).contains(.removed(entry)))
    }
  }

  /// ARP's table is no forwarding table.
  @Test func otherNeighboursAreNoNews() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let monitor = try ForwardingMonitor()
      let tap = try Tap.create(name: name("vif1.0"))
      let index = try socket.index(of: "vif1.0")
      try socket.perform([
        .changeLink(.name(tap.name), LinkChange(isUp: true)),
        .addAddress(IPInterface("10.0.0.1/24")!, to: index),
      ])
      // Nobody answers, which makes an entry that is incomplete.
      let udp = Glibc.socket(AF_INET, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      defer { close(udp) }
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = in_port_t(9).bigEndian
      target.sin_addr.s_addr = UInt32(0x0a00_0002).bigEndian
      let sent = withUnsafeBytes(of: &target) {
        sendto(
          udp, "x", 1, 0, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
      #expect(sent == 1)
      for case .added(let entry) in try #require(try monitor.changes(within: .seconds(5))) {
        #expect(entry.destination == nil, "\(entry)")
      }
    }
  }

  @Test func lossIsNoSilence() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let monitor = try ForwardingMonitor(receiveBufferSize: 4096)
      let bridge = try socket.makeBridge("lan100")
      let first = mac("02:00:00:01:00:00")
      try socket.perform(
        (0..<100).compactMap { first.advanced(by: $0) }.map {
          .addForwarding(ForwardingEntry(device: bridge, mac: $0, scope: .device, state: .permanent), mode: .create)
        })
      let changes = try #require(try monitor.changes(within: .seconds(30)))
      #expect(changes.contains(.lost) && changes.count < 100)
      try socket.perform(.deleteLink(.index(bridge)))
      #expect(try monitor.changes(within: .seconds(30))?.isEmpty == false)
    }
  }

  /// A burst such as a routing daemon makes when it ends.
  @Test func aBurstFindsRoom() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let monitor = try ForwardingMonitor()
      let settings = VXLANSettings(vni: LinkCreationTests.vni, local: address("10.0.0.1"), learns: false)
      try socket.perform(.createVXLAN(name("vxlan100"), settings))
      let device = try socket.index(of: "vxlan100")
      let first = mac("02:00:00:01:00:00")
      let entries = (0..<5000).compactMap { first.advanced(by: $0) }.map {
        ForwardingEntry(device: device, mac: $0, destination: address("10.0.0.2"), scope: .device)
      }
      try socket.perform(entries.map { .addForwarding($0, mode: .create) })
      var changes: [ForwardingChange] = []
      while let more = try monitor.changes(within: .zero), !more.isEmpty { changes += more }
      #expect(
        changes.filter { if case .added(let entry) = $0 { entry.device == device } else { false } }.count >= 5000)
      #expect(!changes.contains(.lost))
    }
  }

  @Test func closingEndsAWait() async throws {
    try await NetworkNamespace.run {
      let monitor = try ForwardingMonitor()
      let closer = Thread {
        usleep(100_000)
        monitor.close()
      }
      closer.start()
      #expect(try monitor.changes() == nil)
      #expect(try monitor.changes(within: .seconds(30)) == nil)
    }
  }
}
