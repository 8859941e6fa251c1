import CNetlink
import Glibc
import NetworkAddresses

extension Link {
  /// Reads `struct ifinfomsg` and its attributes (linux/rtnetlink.h, linux/if_link.h).
  init(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = NetlinkMessageBuilder.linkHeaderSize
    guard let number: Int32 = payload.integer(at: 4), let flags: UInt32 = payload.integer(at: 8),
      payload.byteCount >= headerSize
    else {
      throw .truncated(what: "link", needed: headerSize, left: payload.byteCount)
    }
    guard let index = InterfaceIndex(rawValue: number) else {
      throw .badValue(what: "interface index")
    }

    var name: InterfaceName?
    var alternativeNames: [String] = []
    var mtu: UInt32 = 0
    var info = LinkInfo()
    var master: InterfaceIndex?
    var address: MACAddress?
    var permanentAddress: MACAddress?
    var families = FamilySettings()
    var group: UInt32 = 0
    var peerIndex: InterfaceIndex?
    var statistics: LinkStatistics?
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_IFNAME): name = InterfaceName(bytes: attribute.text)
      case Int(IFLA_MTU): mtu = try attribute.integer()
      case Int(IFLA_PROP_LIST): alternativeNames = try Self.alternativeNames(attribute.payload)
      case Int(IFLA_ADDRESS): address = MACAddress(octets: attribute.payload.copied)
      case Int(IFLA_PERM_ADDRESS): permanentAddress = MACAddress(octets: attribute.payload.copied)
      case Int(IFLA_AF_SPEC): families = try FamilySettings(attribute.payload)
      case Int(IFLA_MASTER): master = InterfaceIndex(rawValue: try attribute.integer())
      case Int(IFLA_GROUP): group = try attribute.integer()
      case Int(IFLA_LINK): peerIndex = InterfaceIndex(rawValue: try attribute.integer())
      case Int(IFLA_LINKINFO): info = try LinkInfo(attribute.payload)
      case Int(IFLA_STATS64): statistics = try LinkStatistics(attribute.payload)
      default: break
      }
    }
    guard let name else { throw .badValue(what: "name of interface \(index)") }
    self.init(
      index: index, name: name, alternativeNames: alternativeNames, mtu: mtu, flags: LinkFlags(rawValue: flags),
      kind: info.kind, master: master, address: address, permanentAddress: permanentAddress,
      group: InterfaceGroup(rawValue: group), peerIndex: peerIndex, vxlan: info.vxlan, vxlanPort: info.vxlanPort,
      snoopsMulticast: info.snoopsMulticast, ipv4: families.ipv4, isIPv6Disabled: families.isIPv6Disabled,
      port: info.port, statistics: statistics)
  }

  /// The names of a property list (IFLA_PROP_LIST).
  private static func alternativeNames(_ bytes: RawSpan) throws(NetlinkFormatError) -> [String] {
    var names: [String] = []
    var attributes = NetlinkAttributes(bytes)
    while let attribute = try attributes.next() {
      guard Int(attribute.type) == Int(IFLA_ALT_IFNAME) else { continue }
      names.append(String(decoding: attribute.text, as: UTF8.self))
    }
    return names
  }
}

/// What IFLA_LINKINFO says of a virtual interface, and of an interface as a port.
private struct LinkInfo {
  private(set) var kind: LinkKind?
  private(set) var vxlan: VXLANSettings?
  private(set) var vxlanPort: UInt16?
  private(set) var snoopsMulticast: Bool?
  private(set) var port: BridgePort?

  init() {}

  init(_ bytes: RawSpan) throws(NetlinkFormatError) {
    var portKind: LinkKind?
    var attributes = NetlinkAttributes(bytes)
    // The kernel writes each kind before the data that it tells how to read.
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_INFO_KIND): kind = LinkKind(attribute)
      case Int(IFLA_INFO_DATA) where kind == .vxlan:
        vxlan = try VXLANSettings(data: attribute.payload)
        vxlanPort = try VXLANSettings.port(data: attribute.payload)
      case Int(IFLA_INFO_DATA) where kind == .bridge: snoopsMulticast = try Self.snooping(attribute.payload)
      case Int(IFLA_INFO_SLAVE_KIND): portKind = LinkKind(attribute)
      case Int(IFLA_INFO_SLAVE_DATA) where portKind == .bridge:
        port = try BridgePort(attribute.payload)
      default: break
      }
    }
  }
}

extension LinkInfo {
  /// Reads the IFLA_INFO_DATA of a bridge (IFLA_BR_* of linux/if_link.h).
  private static func snooping(_ data: RawSpan) throws(NetlinkFormatError) -> Bool? {
    var attributes = NetlinkAttributes(data)
    while let attribute = try attributes.next() {
      if Int(attribute.type) == Int(IFLA_BR_MCAST_SNOOPING) { return try attribute.flag() }
    }
    return nil
  }
}

/// What IFLA_AF_SPEC says of an interface's settings in the address families.
private struct FamilySettings {
  private(set) var ipv4: IPv4Behaviour?
  private(set) var isIPv6Disabled: Bool?

  init() {}

  init(_ bytes: RawSpan) throws(NetlinkFormatError) {
    var families = NetlinkAttributes(bytes)
    while let family = try families.next() {
      var attributes = NetlinkAttributes(family.payload)
      while let attribute = try attributes.next() {
        switch (CInt(family.type), Int(attribute.type)) {
        case (AF_INET, Int(IFLA_INET_CONF)): ipv4 = IPv4Behaviour(attribute.payload)
        case (AF_INET6, Int(IFLA_INET6_CONF)):
          let value: Int32? = attribute.payload.integer(at: 4 * Int(cnetlink_devconf_disable_ipv6))
          isIPv6Disabled = value.map { $0 != 0 }
        default: break
        }
      }
    }
  }
}

extension IPv4Behaviour {
  /// Reads the array of all settings, each at its number (IPV4_DEVCONF_* of linux/ip.h) less one. An older kernel's
  /// may be shorter.
  fileprivate init(_ settings: RawSpan) {
    func setting(_ number: Int) -> UInt32? { settings.integer(at: 4 * (number - 1)) }
    self.init(
      forwards: setting(Int(IPV4_DEVCONF_FORWARDING)).map { $0 != 0 },
      reversePathFilter: setting(Int(IPV4_DEVCONF_RP_FILTER)), arpIgnore: setting(Int(IPV4_DEVCONF_ARP_IGNORE)))
  }
}

extension LinkKind {
  fileprivate init(_ attribute: borrowing NetlinkAttribute) {
    self.init(rawValue: String(decoding: attribute.text, as: UTF8.self))
  }
}

extension LinkStatistics {
  /// Reads the first eight counters of `struct rtnl_link_stats64`; the kernel may add to its end.
  fileprivate init(_ bytes: RawSpan) throws(NetlinkFormatError) {
    func counter(_ position: Int) throws(NetlinkFormatError) -> UInt64 {
      guard let value: UInt64 = bytes.integer(at: 8 * position) else {
        throw .truncated(what: "statistics", needed: 64, left: bytes.byteCount)
      }
      return value
    }
    rxPackets = try counter(0)
    txPackets = try counter(1)
    rxBytes = try counter(2)
    txBytes = try counter(3)
    rxErrors = try counter(4)
    txErrors = try counter(5)
    rxDropped = try counter(6)
    txDropped = try counter(7)
  }
}
