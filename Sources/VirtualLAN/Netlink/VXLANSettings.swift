import CNetlink
import Glibc
import NetworkAddresses

/// What makes a VXLAN device: which network it carries, from which address and port, and whether it learns from
/// what it receives. Without a lower device, so that routing decides where each packet leaves the host.
public struct VXLANSettings: Hashable, Sendable {
  public var vni: VNI
  /// The source of its packets, whose family its peers' addresses have too. Nil leaves the choice to routing,
  /// for IPv4 peers only.
  public var local: IPAddress?
  /// The UDP port it listens at and sends to.
  public var port: UInt16
  /// Takes the sender of each frame received as the way back to it.
  public var learns: Bool

  /// The port that IANA gave to VXLAN (RFC 7348).
  public static let defaultPort: UInt16 = 4789

  /// The largest MTU that the kernel takes for such a device, whatever its family: ETH_MAX_MTU
  /// (linux/if_ether.h), to which drivers/net/vxlan sets `max_mtu`.
  public static let largestMTU: UInt32 = 65535

  public init(vni: VNI, local: IPAddress?, port: UInt16 = VXLANSettings.defaultPort, learns: Bool) {
    self.vni = vni
    self.local = local
    self.port = port
    self.learns = learns
  }

  /// The bytes that encapsulation adds to a frame's payload, which is what an MTU counts: the inner Ethernet header
  /// (14), VXLAN (8), UDP (8) and IPv4 (20) or IPv6 (40) (RFC 7348 section 5).
  public static func overhead(overIPv6: Bool) -> Int { overIPv6 ? 70 : 50 }
}

extension VXLANSettings {
  /// Reads the IFLA_INFO_DATA of a VXLAN device (IFLA_VXLAN_* of linux/if_link.h); nil for one without a VNI of its
  /// own, whose frames' VNIs come from routing (`external`).
  init?(data: RawSpan) throws(NetlinkFormatError) {
    var vni: VNI?
    var local: IPAddress?
    var port: UInt16 = 0
    var learns = false
    var attributes = NetlinkAttributes(data)
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_VXLAN_ID): vni = VNI(rawValue: try attribute.integer())
      case Int(IFLA_VXLAN_LOCAL), Int(IFLA_VXLAN_LOCAL6): local = IPAddress(octets: attribute.payload.copied)
      case Int(IFLA_VXLAN_PORT): port = UInt16(bigEndian: try attribute.integer())
      case Int(IFLA_VXLAN_LEARNING): learns = try attribute.flag()
      default: break
      }
    }
    guard let vni else { return nil }
    self.init(vni: vni, local: local, port: port, learns: learns)
  }

  /// The UDP port in the IFLA_INFO_DATA of any VXLAN device.
  static func port(data: RawSpan) throws(NetlinkFormatError) -> UInt16? {
    var attributes = NetlinkAttributes(data)
    while let attribute = try attributes.next() {
      if Int(attribute.type) == Int(IFLA_VXLAN_PORT) { return UInt16(bigEndian: try attribute.integer()) }
    }
    return nil
  }
}

extension NetlinkMessageBuilder {
  /// Appends what IFLA_INFO_DATA holds for a VXLAN device.
  mutating func append(_ settings: VXLANSettings) {
    append(IFLA_VXLAN_ID, integer: settings.vni.rawValue)
    switch settings.local {
    case .v4(let address): append(IFLA_VXLAN_LOCAL, address.octets)
    case .v6(let address): append(IFLA_VXLAN_LOCAL6, address.octets)
    case nil: break
    }
    append(IFLA_VXLAN_PORT, integer: settings.port.bigEndian)
    append(IFLA_VXLAN_LEARNING, integer: UInt8(settings.learns ? 1 : 0))
  }
}
