import CNetlink
import Glibc
import NetworkAddresses

/// One thing to ask of the kernel's rtnetlink: a value that can be made anywhere and sent later, alone or
/// with others in one batch.
public struct RouteRequest: Hashable, Sendable {
  /// For errors: "create bridge".
  let operation: String
  /// For errors: the interface it is asked of.
  let subject: String
  /// The whole message. The socket fills in its sequence number and whether it wants an acknowledgement.
  let message: [UInt8]
}

/// What to change about an interface. What is nil stays as it is.
///
/// The kernel carries out one message step by step: MTU, then master and up or down, then address
/// generation. Where a later step fails the earlier ones stand.
public struct LinkChange: Hashable, Sendable {
  /// A port of which bridge.
  public enum Master: Hashable, Sendable {
    case port(of: InterfaceIndex)
    case none
  }

  /// How the kernel makes the IPv6 link-local address of an interface (IFLA_INET6_ADDR_GEN_MODE).
  public enum AddressGeneration: UInt8, Hashable, Sendable {
    /// From the MAC (EUI-64); what interfaces are born with.
    case eui64 = 0
    /// No address: the interface only carries what others send, as a bridge's port does.
    case none = 1
  }

  public var master: Master?
  public var isUp: Bool?
  /// In bytes, the Ethernet header not counted.
  public var mtu: UInt32?
  /// Comes too late in the message that also sets an interface up: the address is there by then. Set it
  /// while the interface is still down.
  public var addressGeneration: AddressGeneration?
  /// The interface's own Ethernet address.
  public var address: MACAddress?
  /// The one group it is in.
  public var group: InterfaceGroup?
  /// What the host's IPv4 does with the interface.
  public var ipv4: IPv4Behaviour?

  public init(
    master: Master? = nil, isUp: Bool? = nil, mtu: UInt32? = nil,
    addressGeneration: AddressGeneration? = nil, address: MACAddress? = nil, group: InterfaceGroup? = nil,
    ipv4: IPv4Behaviour? = nil
  ) {
    self.master = master
    self.isUp = isUp
    self.mtu = mtu
    self.addressGeneration = addressGeneration
    self.address = address
    self.group = group
    self.ipv4 = ipv4
  }
}

/// What the host's IPv4 does with an interface: net.ipv4.conf.INTERFACE.* (Documentation/networking/ip-sysctl.rst
/// in the kernel). What is nil stays as it is.
public struct IPv4Behaviour: Hashable, Sendable {
  /// Packets that came in by it may go out by another.
  public var forwards: Bool?
  /// rp_filter: 0 takes every packet, 1 only those whose sender is reached by the interface, 2 those whose sender is
  /// reached at all. The larger of this and `all`'s counts.
  public var reversePathFilter: UInt32?
  /// arp_ignore: 0 answers ARP for every address of the host, 8 for none. The larger of this and `all`'s counts.
  public var arpIgnore: UInt32?

  public init(forwards: Bool? = nil, reversePathFilter: UInt32? = nil, arpIgnore: UInt32? = nil) {
    self.forwards = forwards
    self.reversePathFilter = reversePathFilter
    self.arpIgnore = arpIgnore
  }
}

extension RouteRequest {
  /// Changes an interface, in one message.
  public static func changeLink(_ link: LinkReference, _ change: LinkChange) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_SETLINK, link: link, change: change)
    message.append(change)
    return RouteRequest(operation: "change link", subject: link.description, message: message.bytes)
  }

  /// Gives an interface another name and changes it, in one message. By index only, because in a message
  /// that goes by name the name is the key.
  ///
  /// Before Linux 6.2 an interface that is up keeps its name (EBUSY).
  public static func renameLink(
    _ index: InterfaceIndex, to name: InterfaceName, _ change: LinkChange = LinkChange()
  ) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_SETLINK, link: .index(index), change: change)
    message.append(IFLA_IFNAME, text: name.bytes)
    message.append(change)
    return RouteRequest(
      operation: "rename to '\(name)'", subject: LinkReference.index(index).description,
      message: message.bytes)
  }

  /// Deletes an interface: a persistent tap, a bridge (its ports stay, on their own).
  public static func deleteLink(_ link: LinkReference) -> RouteRequest {
    let message = NetlinkMessageBuilder(type: RTM_DELLINK, link: link)
    return RouteRequest(operation: "delete link", subject: link.description, message: message.bytes)
  }

  /// Deletes every interface of a group, or none; refused (ENODEV) when it has none.
  public static func deleteLinks(group: InterfaceGroup) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_DELLINK)
    message.append(contentsOf: [UInt8](repeating: 0, count: NetlinkMessageBuilder.linkHeaderSize))
    message.append(IFLA_GROUP, integer: group.rawValue)
    return RouteRequest(operation: "delete links of", subject: group.description, message: message.bytes)
  }

  /// Asks for one interface, without the counters of its virtual functions (SR-IOV).
  static func link(_ link: LinkReference) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETLINK, link: link)
    message.append(IFLA_EXT_MASK, integer: UInt32(RTEXT_FILTER_SKIP_STATS))
    return RouteRequest(operation: "look up", subject: link.description, message: message.bytes)
  }

  /// Asks for every interface, or for every port of a bridge.
  static func allLinks(master: InterfaceIndex? = nil) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETLINK, flags: NLM_F_DUMP)
    message.append(contentsOf: [UInt8](repeating: 0, count: NetlinkMessageBuilder.linkHeaderSize))
    message.append(IFLA_EXT_MASK, integer: UInt32(RTEXT_FILTER_SKIP_STATS))
    if let master {
      message.append(IFLA_MASTER, integer: master.rawValue)
    }
    return RouteRequest(operation: "list", subject: "interfaces", message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  /// The size of `struct ifinfomsg`.
  static let linkHeaderSize = 16

  /// A message that opens with `struct ifinfomsg`.
  init(
    type: Int, flags: CInt = 0, family: CInt = AF_UNSPEC, link: LinkReference, change: LinkChange = LinkChange()
  ) {
    self.init(type: type, flags: flags)
    appendLinkHeader(link, change, family: family)
  }

  /// Appends `struct ifinfomsg` (linux/rtnetlink.h): family, type, index, flags and which of them to change. An index
  /// of 0 means "the one called IFLA_IFNAME".
  mutating func appendLinkHeader(_ link: LinkReference, _ change: LinkChange, family: CInt = AF_UNSPEC) {
    let up = LinkFlags.up.rawValue
    append(UInt32(family))
    switch link {
    case .index(let index): append(index.rawValue)
    case .name: append(UInt32(0))
    }
    append(change.isUp == true ? up : 0)
    append(change.isUp == nil ? 0 : up)
    if case .name(let name) = link {
      append(IFLA_IFNAME, text: name.bytes)
    }
  }

  mutating func append(_ change: LinkChange) {
    if let mtu = change.mtu {
      append(IFLA_MTU, integer: mtu)
    }
    if let address = change.address {
      append(IFLA_ADDRESS, address.octets)
    }
    if let group = change.group {
      append(IFLA_GROUP, integer: group.rawValue)
    }
    switch change.master {
    case .port(of: let bridge): append(IFLA_MASTER, integer: bridge.rawValue)
    case .some(.none): append(IFLA_MASTER, integer: UInt32(0))
    case nil: break
    }
    appendFamilies(change)
  }

  /// Appends what concerns one address family only.
  private mutating func appendFamilies(_ change: LinkChange) {
    guard change.addressGeneration != nil || change.ipv4 != nil else { return }
    nest(IFLA_AF_SPEC) { families in
      if let behaviour = change.ipv4 {
        families.nest(Int(AF_INET)) { family in
          family.nest(Int(IFLA_INET_CONF)) { $0.append(behaviour) }
        }
      }
      if let mode = change.addressGeneration {
        families.nest(Int(AF_INET6)) { $0.append(IFLA_INET6_ADDR_GEN_MODE, [mode.rawValue]) }
      }
    }
  }

  /// IPV4_DEVCONF_* of linux/ip.h.
  private mutating func append(_ behaviour: IPv4Behaviour) {
    if let forwards = behaviour.forwards {
      append(IPV4_DEVCONF_FORWARDING, integer: UInt32(forwards ? 1 : 0))
    }
    if let filter = behaviour.reversePathFilter {
      append(IPV4_DEVCONF_RP_FILTER, integer: filter)
    }
    if let ignore = behaviour.arpIgnore {
      append(IPV4_DEVCONF_ARP_IGNORE, integer: ignore)
    }
  }
}
