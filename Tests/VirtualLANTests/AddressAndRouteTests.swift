import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct AddressAndRouteTests {
  /// An interface that is up and has a carrier.
  private static func makeLink(_ text: String, _ socket: inout RouteSocket) throws -> InterfaceIndex {
    try socket.perform([
      .createVethPair(host: name(text), isUp: true, peer: VethPeer(name: name("p-\(text)"))),
      .changeLink(.name(name("p-\(text)")), LinkChange(isUp: true)),
      // By which a host's own addresses are reached.
      .changeLink(.name(name("lo")), LinkChange(isUp: true)),
    ])
    return try socket.index(of: text)
  }

  private static func interface(_ text: String) -> IPInterface { IPInterface(text)! }

  @Test func addressesComeAndGo() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let link = try Self.makeLink("eth0", &socket)
      let own = ["10.0.0.1/24", "10.0.0.2/24", "10.1.0.1/32", "fd00::1/64"].map(Self.interface)
      try socket.perform(own.map { .addAddress($0, to: link, detectsDuplicates: false) })
      let listed = try socket.addresses().filter { $0.index == link }
      #expect(Set(listed.map(\.address)).isSuperset(of: own))
      let second = try #require(listed.first { $0.address == own[1] })
      #expect(second.flags.contains(.secondary) && second.scope == .global)
      let six = try #require(listed.first { $0.address == own[3] })
      #expect(!six.flags.contains(.tentative))
      // What every interface has that is up.
      let generated = try #require(listed.first { $0.address.address.isLinkLocal })
      #expect(generated.scope == .link)

      try socket.perform([.deleteAddress(own[1], from: link), .deleteAddress(own[3], from: link)])
      #expect(
        Set(try socket.addresses().filter { $0.index == link && $0.scope == .global }.map(\.address))
          == [own[0], own[2]])
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.deleteAddress(own[3], from: link))
      }
      #expect(error.code == EADDRNOTAVAIL)
      #expect(error.description.hasPrefix("delete address fd00::1/64 from interface \(link): "))
    }
  }

  @Test func duplicatesAreLookedForUnlessSaidOtherwise() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let link = try Self.makeLink("eth0", &socket)
      try socket.perform(.addAddress(Self.interface("fd00::1/64"), to: link))
      let listed = try socket.addresses().first { $0.address == Self.interface("fd00::1/64") }
      #expect(try #require(listed).flags.contains(.tentative))
    }
  }

  @Test func nothingLeadsOutOfANewNamespace() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      #expect(try socket.route(to: address("10.0.0.1")) == nil)
      #expect(try socket.route(to: address("fd00::1")) == nil)
      #expect(try socket.defaultRoutes() == [])
      #expect(try socket.addresses() == [])
    }
  }

  @Test(arguments: [
    ("10.0.0.1/24", "10.0.0.254", "192.0.2.1", "10.9.0.0/16"),
    ("fd00::1/64", "fd00::fe", "2001:db8::1", "fd00:9::/32"),
  ])
  func packetsGoTheWayTheyAreTold(own: String, gateway: String, elsewhere: String, network: String) async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let link = try Self.makeLink("eth0", &socket)
      let own = Self.interface(own)
      try socket.perform(.addAddress(own, to: link, detectsDuplicates: false))
      let near = try #require(try socket.route(to: address(gateway)))
      #expect(near.device == link && near.source == own.address && near.gateway == nil && !near.isLocal)
      #expect(near.mtu == nil && near.isIPv6 == own.address.isIPv6)
      #expect(try socket.route(to: address(elsewhere)) == nil)
      // IPv6 makes an address its own on a thread of the kernel's (addrconf_dad_work in net/ipv6/addrconf.c).
      #expect(try eventually { try socket.route(to: own.address)?.isLocal == true })

      try socket.perform(.addRoute(destination: nil, gateway: address(gateway), device: link))
      let far = try #require(try socket.route(to: address(elsewhere)))
      #expect(far.device == link && far.source == own.address && far.gateway == address(gateway))
      let ways = try socket.defaultRoutes()
      #expect(ways.count == 1)
      #expect(ways.first?.device == link && ways.first?.gateway == address(gateway))

      let again = try #require(throws: NetlinkError.self) {
        try socket.perform(.addRoute(destination: nil, gateway: address(gateway), device: link))
      }
      #expect(again.code == EEXIST)
      #expect(again.description == "add route by default through interface \(link): File exists")

      // On the link itself, and from an address inside the network.
      try socket.perform(.addRoute(destination: Self.interface(network), gateway: nil, device: link))
      let inside = try #require(Self.interface(network).network.octets.last) | 7
      let target = try #require(IPAddress(octets: Self.interface(network).network.octets.dropLast() + [inside]))
      let direct = try #require(try socket.route(to: target))
      #expect(direct.device == link && direct.gateway == nil)
      #expect(try socket.defaultRoutes() == ways)
    }
  }

  @Test func aGatewayMustBeReachable() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let link = try Self.makeLink("eth0", &socket)
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.addRoute(destination: nil, gateway: address("10.0.0.254"), device: link))
      }
      #expect(error.code == ENETUNREACH)
      #expect(error.description.hasSuffix(": Nexthop has invalid gateway"))
    }
  }

  /// RFC 8950's way: IPv4 through a neighbour that has IPv6 only.
  @Test func aGatewayOfTheOtherFamily() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let link = try Self.makeLink("eth0", &socket)
      try socket.perform([
        .addAddress(Self.interface("10.0.0.1/32"), to: link),
        .addRoute(destination: Self.interface("192.0.2.0/24"), gateway: address("fe80::1"), device: link),
      ])
      #expect(try socket.route(to: address("192.0.2.1"))?.gateway == address("fe80::1"))
    }
  }
}

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct StatisticsTests {
  @Test func framesAreCounted() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let bridge = try socket.makeBridge("lan100")
      _ = try socket.makeBridge("lan101")
      let queue = try Tap.create(name: name("vif1.0")).takeDescriptor()
      defer { close(queue) }
      try socket.perform(
        .changeLink(.name(name("vif1.0")), LinkChange(master: .port(of: bridge), isUp: true)))
      let frame =
        [UInt8](repeating: 0, count: 12) + MACAddress.broadcast.octets + mac("02:00:00:00:00:01").octets
        + [0x88, 0xb5] + [UInt8](repeating: 0, count: 46)
      #expect(write(queue, frame, frame.count) == frame.count)
      let ports = try socket.linksWithStatistics(master: bridge)
      #expect(ports.map(\.name) == [name("vif1.0")])
      let statistics = try #require(ports.first?.statistics)
      #expect(statistics.rxPackets == 1 && statistics.rxBytes == 60)
      #expect(statistics.rxErrors == 0 && statistics.txErrors == 0)
      let all = try socket.linksWithStatistics()
      #expect(all.count == 4 && all.allSatisfy { $0.statistics != nil })
    }
  }
}

@Suite struct NamespaceHandleTests {
  @Test func aHandleKnowsItsNamespace() async throws {
    try await NetworkNamespace.run {
      let own = try NamespaceHandle.own()
      let same = try NamespaceHandle(path: "/proc/thread-self/ns/net")
      #expect(own.identity == same.identity)
      let other = try NetworkNamespace.another()
      defer { close(other) }
      let another = try NamespaceHandle(path: "/proc/self/fd/\(other)")
      #expect(another.identity != own.identity)

      // The socket speaks there; the thread stays here.
      var far = try RouteSocket(namespace: another.descriptor)
      try far.perform(.createBridge(name("far0")))
      #expect(try NamespaceHandle.own().identity == own.identity)
      var near = try RouteSocket()
      #expect(try near.link(named: name("far0")) == nil)
      #expect(try !namespaceFile("dev").contains("far0"))
    }
  }

  @Test func whatIsNoNamespaceIsRefused() throws {
    let missing = try #require(throws: NetlinkError.self) { _ = try NamespaceHandle(path: "/nonexistent") }
    #expect(missing.code == ENOENT)
    #expect(
      missing.description
        == "open network namespace '/nonexistent': open: No such file or directory")
    for path in ["/etc/passwd", "/", "/proc/self/ns/mnt"] {
      let error = try #require(throws: NetlinkError.self) { _ = try NamespaceHandle(path: path) }
      #expect(error.code == EINVAL, "\(path)")
    }
  }

  @Test func aSocketInNoNamespace() throws {
    let file = open("/etc/passwd", O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    let error = try #require(throws: NetlinkError.self) { _ = try RouteSocket(namespace: file) }
    #expect(error.code == EINVAL)
  }
}
