import CContainer
import Foundation
import NetworkAddresses
import Testing
import VirtualLAN

@testable import ContainerNetwork

private let mac = MACAddress("02:00:00:00:00:07")!

/// That neighbours are told whose an address is now.
@Suite(.timeLimit(.minutes(2))) struct AnnouncementTests {
  @Test("a gratuitous ARP request, byte for byte")
  func gratuitousARP() {
    let frame = Announcement.frame(of: IPAddress("10.1.0.2")!, at: mac)
    #expect(
      frame.hex == "ffffffffffff" + "020000000007" + "0806" + "0001" + "0800" + "0604" + "0001" + "020000000007"
        + "0a010002" + "000000000000" + "0a010002")
  }

  @Test("an unsolicited neighbour advertisement, byte for byte")
  func neighborAdvertisement() {
    let frame = Announcement.frame(of: IPAddress("fd00::2")!, at: mac)
    let address = "fd000000000000000000000000000002"
    #expect(
      frame.hex == "333300000001" + "020000000007" + "86dd" + "60000000" + "0020" + "3aff" + address
        + "ff020000000000000000000000000001" + "8800" + "5a93" + "20000000" + address + "0201" + "020000000007")
  }

  @Test("ADD announces each address on the LAN")
  func add() throws {
    let sandbox = try sandbox()
    let descriptor = try sandbox.ask("c2") { try $0.link(named: InterfaceName("eth0")!) }?.index
    let namespace = try NamespaceHandle(path: sandbox.path("/run/netns/c2"))
    let everything: UInt16 = 3
    let socket = ccontainer_open_packet_socket(namespace.descriptor, try #require(descriptor).rawValue, everything)
    try #require(socket >= 0)
    defer { close(socket) }
    let addresses = ["10.1.0.2/24", "10.1.0.5/24", "fd00::2/64"]
    try add(sandbox, mac, addresses)
    var awaited = Set(addresses.map { Announcement.frame(of: IPInterface($0)!.address, at: mac) })
    var buffer = [UInt8](repeating: 0, count: 2048)
    while !awaited.isEmpty {
      var ready = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
      try #require(poll(&ready, 1, 30_000) == 1, "not heard: \(awaited.map(\.hex))")
      let length = recv(socket, &buffer, buffer.count, 0)
      awaited.remove(Array(buffer.prefix(max(0, length))))
    }
  }

  @Test("a neighbour that knew the address with another MAC knows the new one when ADD is done")
  func neighbor() throws {
    let sandbox = try sandbox()
    func known() throws -> String? {
      let lines = try sandbox.shell("nsenter --net=/run/netns/c2 cat /proc/net/arp").split(separator: "\n")
      return lines.first { $0.hasPrefix("10.1.0.2 ") }?.split(separator: " ").dropFirst(3).first.map(String.init)
    }
    try add(sandbox, MACAddress("02:00:00:00:00:01")!, ["10.1.0.2/24"])
    try sandbox.shell("nsenter --net=/run/netns/c2 bash -c 'echo > /dev/udp/10.1.0.2/9'")
    while try known() != "02:00:00:00:00:01" { usleep(1000) }
    #expect(try sandbox.call("DEL", "c1", configuration()).status == 0)
    try add(sandbox, mac, ["10.1.0.2/24"])
    let end = ContinuousClock.now + .seconds(5)
    while try known() != mac.description, ContinuousClock.now < end { usleep(1000) }
    #expect(try known() == mac.description)
  }

  /// One with containers c1 and c2, of which c2 is on a LAN.
  private func sandbox() throws -> Sandbox {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100, mode: .local)
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    let outcome = try sandbox.call("ADD", "c2", configuration(#""addresses":["10.1.0.3/24","fd00::3/64"]"#))
    try #require(outcome.status == 0, "\(outcome.output)")
    return sandbox
  }

  private func add(_ sandbox: Sandbox, _ mac: MACAddress, _ addresses: [String]) throws {
    let members = #""addresses":\#(addresses.description),"runtimeConfig":{"mac":"\#(mac)"}"#
    let outcome = try sandbox.call("ADD", "c1", configuration(members))
    try #require(outcome.status == 0, "\(outcome.output)")
  }
}

extension Sequence<UInt8> {
  fileprivate var hex: String { map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
}
