import CNetlink
import Glibc
import NetworkAddresses

/// The far end of a pair of virtual Ethernet interfaces, down: the kernel sets up no end that has no other yet
/// (ENOTCONN of veth_open in drivers/net/veth.c).
public struct VethPeer: Hashable, Sendable {
  public var name: InterfaceName
  /// In bytes, the Ethernet header not counted.
  public var mtu: UInt32?
  /// Nil for one of the kernel's choice.
  public var address: MACAddress?
  /// An open descriptor of the network namespace in which it is made; nil for the socket's own.
  public var namespace: CInt?

  public init(
    name: InterfaceName, mtu: UInt32? = nil, address: MACAddress? = nil, namespace: CInt? = nil
  ) {
    self.name = name
    self.mtu = mtu
    self.address = address
    self.namespace = namespace
  }
}

extension RouteRequest {
  /// Creates a bridge, down; refused (EEXIST) when the name is taken.
  ///
  /// - Parameters:
  ///   - mtu: in bytes, until a port comes or goes: then the bridge takes the smallest of its ports'. Only one that
  ///     `changeLink` changed, to another than it was, stays (br_change_mtu in net/bridge/br_device.c).
  ///   - defaultVLAN: what untagged frames of new ports belong to once VLANs are filtered; 0: to none. With one (1
  ///     where nothing is said) every entry set in the forwarding table is there twice, with the VLAN and without.
  ///   - snoopsMulticast: send multicast frames only where somebody asked for them, once a querier is heard.
  public static func createBridge(
    _ name: InterfaceName, mtu: UInt32? = nil, group: InterfaceGroup? = nil, defaultVLAN: UInt16? = nil,
    snoopsMulticast: Bool? = nil
  ) -> RouteRequest {
    create(.bridge, name, LinkChange(mtu: mtu, group: group)) { data in
      if let defaultVLAN { data.append(IFLA_BR_VLAN_DEFAULT_PVID, integer: defaultVLAN) }
      if let snoopsMulticast { data.append(IFLA_BR_MCAST_SNOOPING, [snoopsMulticast ? 1 : 0]) }
    }
  }

  /// Creates a VXLAN device, down, as a port of a bridge where one is named.
  ///
  /// Refused with EEXIST when the name is taken, or when another device of the namespace has its VNI and port.
  public static func createVXLAN(
    _ name: InterfaceName, _ settings: VXLANSettings, mtu: UInt32? = nil, group: InterfaceGroup? = nil,
    master: InterfaceIndex? = nil
  ) -> RouteRequest {
    let change = LinkChange(master: master.map { .port(of: $0) }, mtu: mtu, group: group)
    return create(.vxlan, name, change) { $0.append(settings) }
  }

  /// Creates a pair of virtual Ethernet interfaces, the near one as a port of a bridge where one is named, the far
  /// one in its namespace, under its name and with its address from its first moment on.
  ///
  /// The near end gives itself an IPv6 address once both ends are up. To have none, change it with
  /// `LinkChange(addressGeneration: .none)` before the far end is set up.
  ///
  /// Refused with EEXIST when either name is taken; nothing is left then.
  public static func createVethPair(
    host: InterfaceName, hostMTU: UInt32? = nil, hostMaster: InterfaceIndex? = nil, isUp: Bool = false,
    peer: VethPeer
  ) -> RouteRequest {
    let change = LinkChange(
      master: hostMaster.map { .port(of: $0) }, isUp: isUp ? true : nil, mtu: hostMTU)
    return create(.veth, host, change) { data in
      data.nest(CNetlink.VETH_INFO_PEER) { $0.append(peer) }
    }
  }

  /// One RTM_NEWLINK for a link of a kind. Of `change` the kernel takes MTU, group, master and up or down here, and
  /// no per-family settings.
  private static func create(
    _ kind: LinkKind, _ name: InterfaceName, _ change: LinkChange,
    _ appendData: (inout NetlinkMessageBuilder) -> Void
  ) -> RouteRequest {
    var message = NetlinkMessageBuilder(
      type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, link: .name(name), change: change)
    message.append(change)
    message.nest(IFLA_LINKINFO) { info in
      info.append(IFLA_INFO_KIND, text: Array(kind.rawValue.utf8))
      info.nest(IFLA_INFO_DATA, appendData)
    }
    return RouteRequest(operation: "create \(kind.rawValue)", subject: "'\(name)'", message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  /// Appends what VETH_INFO_PEER holds (linux/veth.h): a `struct ifinfomsg` and attributes, as a message has them.
  fileprivate mutating func append(_ peer: VethPeer) {
    appendLinkHeader(.name(peer.name), LinkChange())
    append(LinkChange(mtu: peer.mtu, address: peer.address))
    if let namespace = peer.namespace {
      append(IFLA_NET_NS_FD, integer: namespace)
    }
  }
}
