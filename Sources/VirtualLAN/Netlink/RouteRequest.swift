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

  public init(
    master: Master? = nil, isUp: Bool? = nil, mtu: UInt32? = nil,
    addressGeneration: AddressGeneration? = nil, address: MACAddress? = nil
  ) {
    self.master = master
    self.isUp = isUp
    self.mtu = mtu
    self.addressGeneration = addressGeneration
    self.address = address
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

  /// Creates a bridge, down; refused (EEXIST) when the name is taken.
  public static func createBridge(_ name: InterfaceName) -> RouteRequest {
    var message = NetlinkMessageBuilder(
      type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, link: .name(name))
    message.nest(IFLA_LINKINFO) {
      $0.append(IFLA_INFO_KIND, text: Array(LinkKind.bridge.rawValue.utf8))
    }
    return RouteRequest(operation: "create bridge", subject: "'\(name)'", message: message.bytes)
  }

  /// Gives an interface an IPv4 address; refused (EEXIST) when it has it.
  public static func addAddress(_ interface: IPv4Interface, to index: InterfaceIndex)
    -> RouteRequest
  {
    // struct ifaddrmsg (linux/if_addr.h): family, prefix length, flags, scope (0 is global), index.
    var message = NetlinkMessageBuilder(type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL)
    message.append(UInt8(AF_INET))
    message.append(UInt8(interface.prefixLength))
    message.append(UInt16(0))
    message.append(UInt32(bitPattern: index.rawValue))
    message.append(IFA_LOCAL, interface.address.octets)
    message.append(IFA_ADDRESS, interface.address.octets)
    if interface.prefixLength < 31 {
      message.append(IFA_BROADCAST, interface.broadcast.octets)
    }
    return RouteRequest(
      operation: "add address \(interface) to", subject: LinkReference.index(index).description,
      message: message.bytes)
  }

  /// Asks for one interface, without its counters.
  static func link(_ link: LinkReference) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETLINK, link: link)
    message.append(IFLA_EXT_MASK, integer: UInt32(RTEXT_FILTER_SKIP_STATS))
    return RouteRequest(operation: "look up", subject: link.description, message: message.bytes)
  }

  /// Asks for every interface, without their counters.
  static var allLinks: RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETLINK, flags: NLM_F_DUMP)
    message.append(contentsOf: [UInt8](repeating: 0, count: 16))
    message.append(IFLA_EXT_MASK, integer: UInt32(RTEXT_FILTER_SKIP_STATS))
    return RouteRequest(operation: "list", subject: "interfaces", message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  /// A message that opens with `struct ifinfomsg` (linux/rtnetlink.h): family, type, index, flags and which
  /// of them to change. An index of 0 means "the one called IFLA_IFNAME".
  fileprivate init(
    type: Int, flags: CInt = 0, link: LinkReference, change: LinkChange = LinkChange()
  ) {
    let up = LinkFlags.up.rawValue
    self.init(type: type, flags: flags)
    append(UInt32(0))
    switch link {
    case .index(let index): append(UInt32(bitPattern: index.rawValue))
    case .name: append(UInt32(0))
    }
    append(change.isUp == true ? up : 0)
    append(change.isUp == nil ? 0 : up)
    if case .name(let name) = link {
      append(IFLA_IFNAME, text: name.bytes)
    }
  }

  fileprivate mutating func append(_ change: LinkChange) {
    if let mtu = change.mtu {
      append(IFLA_MTU, integer: mtu)
    }
    if let address = change.address {
      append(IFLA_ADDRESS, address.octets)
    }
    switch change.master {
    case .port(of: let bridge): append(IFLA_MASTER, integer: UInt32(bitPattern: bridge.rawValue))
    case .some(.none): append(IFLA_MASTER, integer: UInt32(0))
    case nil: break
    }
    if let mode = change.addressGeneration {
      nest(IFLA_AF_SPEC) { families in
        families.nest(Int(AF_INET6)) { $0.append(IFLA_INET6_ADDR_GEN_MODE, [mode.rawValue]) }
      }
    }
  }
}
