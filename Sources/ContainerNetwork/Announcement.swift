import CContainer
import Glibc
import NetworkAddresses
import VirtualLAN

/// What tells everybody on a LAN that an address is a container's from now on. A neighbour that knew the same IP
/// address with another MAC, of a container that came before, would go on sending there until it gives up.
enum Announcement {
  /// The frame that announces an address: a gratuitous ARP request (RFC 5227 section 2.3), or an unsolicited
  /// neighbour advertisement that overrides (RFC 4861 section 7.2.6).
  static func frame(of address: IPAddress, at mac: MACAddress) -> [UInt8] {
    switch address {
    case .v4(let address): gratuitousARP(address.octets, mac.octets)
    case .v6(let address): neighborAdvertisement(address.octets, mac.octets)
    }
  }

  private static func gratuitousARP(_ address: [UInt8], _ mac: [UInt8]) -> [UInt8] {
    let everybody = [UInt8](repeating: 0xff, count: 6)
    // RFC 826: Ethernet, IPv4, lengths of addresses, request; the sender; whom it asks for.
    let header: [UInt8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1]
    return everybody + mac + [0x08, 0x06] + header + mac + address + [0, 0, 0, 0, 0, 0] + address
  }

  private static func neighborAdvertisement(_ address: [UInt8], _ mac: [UInt8]) -> [UInt8] {
    let allNodes: [UInt8] = [0xff, 0x02] + [UInt8](repeating: 0, count: 13) + [1]
    let override: UInt8 = 0x20
    let linkAddressOption: [UInt8] = [2, 1] + mac
    var message: [UInt8] = [136, 0, 0, 0, override, 0, 0, 0] + address + linkAddressOption
    let icmpv6: UInt8 = 58
    // RFC 8200 section 8.1: what the checksum covers besides the message.
    let pseudoHeader = address + allNodes + [0, 0, 0, UInt8(message.count), 0, 0, 0, icmpv6]
    let checksum = checksum(pseudoHeader + message)
    message[2] = UInt8(checksum >> 8)
    message[3] = UInt8(checksum & 0xff)
    // 255 is how the receiver knows that no router passed it on.
    let header: [UInt8] = [0x60, 0, 0, 0, 0, UInt8(message.count), icmpv6, 255] + address + allNodes
    return [0x33, 0x33, 0, 0, 0, 1] + mac + [0x86, 0xdd] + header + message
  }

  /// RFC 1071, of an even number of bytes.
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count - 1, by: 2) {
      sum += UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
    }
    while sum > 0xffff { sum = sum >> 16 + sum & 0xffff }
    return ~UInt16(sum)
  }
}

// MARK: - Sending

extension ContainerSide {
  /// Announces addresses by the interface. Neighbours find out without it, but late: what goes wrong here is no
  /// reason to refuse the container.
  func announce(_ addresses: [IPAddress], at mac: MACAddress) {
    guard let index = (try? RouteSocket(namespace: namespace).index(of: interface)) ?? nil else { return }
    let socket = ccontainer_open_packet_socket(namespace, index.rawValue, 0)
    guard socket >= 0 else { return }
    defer { close(socket) }
    for address in addresses {
      let frame = Announcement.frame(of: address, at: mac)
      _ = send(socket, frame, frame.count, 0)
    }
  }
}

extension RouteSocket {
  fileprivate consuming func index(of name: InterfaceName) throws(NetlinkError) -> InterfaceIndex? {
    try link(named: name)?.index
  }
}

extension LANMembership {
  private static let pollInterval: UInt32 = 5000

  /// Waits until what a new member sends gets to the others, for as long as a creation may be held up by that: its
  /// port forwards once the kernel has looked at its carrier, which it does on its own time, and where it is the
  /// first member here, FRR has to tell the VXLAN device who else there is.
  func awaitReach(of host: InterfaceName, on lan: LANDefinition, isFirst: Bool) {
    let end = ContinuousClock.now + .milliseconds(500)
    while !canReach(host, lan, isFirst: isFirst), ContinuousClock.now < end { usleep(Self.pollInterval) }
  }

  private func canReach(_ host: InterfaceName, _ lan: LANDefinition, isFirst: Bool) -> Bool {
    let isThere = try? network.query { socket throws(NetlinkError) in
      guard try socket.link(named: host)?.flags.contains(.running) == true else { return false }
      guard isFirst, lan.mode == .evpn, Self.isFRRRunning, let vxlan = try socket.link(named: lan.vxlan) else {
        return true
      }
      return try socket.forwardingTable(of: vxlan.index).contains { $0.mac.isZero }
    }
    // Where the kernel does not say there is nothing to wait for.
    return isThere ?? true
  }

  private static var isFRRRunning: Bool { access("\(FRRInstallation.standard.sockets)/bgpd.vty", F_OK) == 0 }
}
