import CNetlink
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
    var mtu: UInt32 = 0
    var info = LinkInfo()
    var master: InterfaceIndex?
    var address: MACAddress?
    var group: UInt32 = 0
    var peerIndex: InterfaceIndex?
    var statistics: LinkStatistics?
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_IFNAME): name = InterfaceName(bytes: attribute.text)
      case Int(IFLA_MTU): mtu = try attribute.integer()
      case Int(IFLA_ADDRESS): address = MACAddress(octets: attribute.payload.copied)
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
      index: index, name: name, mtu: mtu, flags: LinkFlags(rawValue: flags), kind: info.kind, master: master,
      address: address, group: InterfaceGroup(rawValue: group), peerIndex: peerIndex, vxlan: info.vxlan,
      port: info.port, statistics: statistics)
  }
}

/// What IFLA_LINKINFO says of a virtual interface, and of an interface as a port.
private struct LinkInfo {
  private(set) var kind: LinkKind?
  private(set) var vxlan: VXLANSettings?
  private(set) var port: BridgePort?

  init() {}

  init(_ bytes: RawSpan) throws(NetlinkFormatError) {
    var portKind: LinkKind?
    var attributes = NetlinkAttributes(bytes)
    // The kernel writes each kind before the data that it tells how to read.
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_INFO_KIND): kind = LinkKind(attribute)
      case Int(IFLA_INFO_DATA) where kind == .vxlan: vxlan = try VXLANSettings(data: attribute.payload)
      case Int(IFLA_INFO_SLAVE_KIND): portKind = LinkKind(attribute)
      case Int(IFLA_INFO_SLAVE_DATA) where portKind == .bridge:
        port = try BridgePort(attribute.payload)
      default: break
      }
    }
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
