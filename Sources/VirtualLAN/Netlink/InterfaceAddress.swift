import CNetlink
import Glibc
import NetworkAddresses

/// An address that an interface has.
public struct InterfaceAddress: Hashable, Sendable {
  public let index: InterfaceIndex
  public let address: IPInterface
  public let scope: AddressScope
  public let flags: AddressFlags
}

/// How far an address or a route is good for (RT_SCOPE_* of linux/rtnetlink.h).
public struct AddressScope: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) {
    self.rawValue = rawValue
  }

  public static let global = AddressScope(rawValue: 0)
  public static let link = AddressScope(rawValue: 253)
  public static let host = AddressScope(rawValue: 254)
}

/// IFA_F_* of linux/if_addr.h.
public struct AddressFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Another address of the same network comes first (IPv4), or it is a temporary one (IPv6, RFC 8981).
  public static let secondary = AddressFlags(rawValue: 0x01)
  /// Somebody else on the link has it.
  public static let duplicated = AddressFlags(rawValue: 0x08)
  public static let deprecated = AddressFlags(rawValue: 0x20)
  /// Not in use before it is known that nobody else has it.
  public static let tentative = AddressFlags(rawValue: 0x40)
}

extension RouteRequest {
  /// Gives an interface an address; refused (EEXIST) when it has it.
  ///
  /// - Parameter detectsDuplicates: an IPv6 address is in use only after a second in which nobody else claimed
  ///   it (RFC 4862); otherwise as soon as a thread of the kernel's gets to it.
  public static func addAddress(
    _ interface: IPInterface, to index: InterfaceIndex, detectsDuplicates: Bool = true
  ) -> RouteRequest {
    address(
      "add address \(interface) to", interface, of: index, type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL,
      addressFlags: detectsDuplicates ? 0 : UInt8(IFA_F_NODAD))
  }

  /// Takes an address from an interface; refused (EADDRNOTAVAIL) when it does not have it.
  public static func deleteAddress(_ interface: IPInterface, from index: InterfaceIndex) -> RouteRequest {
    address(
      "delete address \(interface) from", interface, of: index, type: RTM_DELADDR, flags: 0, addressFlags: 0)
  }

  /// `struct ifaddrmsg` (linux/if_addr.h): family, prefix length, flags, scope, index.
  private static func address(
    _ operation: String, _ interface: IPInterface, of index: InterfaceIndex, type: Int, flags: CInt,
    addressFlags: UInt8
  ) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: type, flags: flags)
    message.append(interface.address.family)
    message.append(UInt8(interface.prefixLength))
    message.append(addressFlags)
    message.append(AddressScope.global.rawValue)
    message.append(index.rawValue)
    message.append(IFA_LOCAL, interface.address.octets)
    message.append(IFA_ADDRESS, interface.address.octets)
    if case .v4(let interface) = interface, interface.prefixLength < 31 {
      message.append(IFA_BROADCAST, interface.broadcast.octets)
    }
    return RouteRequest(
      operation: operation, subject: LinkReference.index(index).description, message: message.bytes)
  }

  /// Asks for every address of every interface, or of one. Kernels before 5.0 heed no such wish.
  static func allAddresses(of device: InterfaceIndex? = nil) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETADDR, flags: NLM_F_DUMP)
    message.append(contentsOf: [0, 0, 0, 0])
    message.append(device?.rawValue ?? 0)
    return RouteRequest(operation: "list", subject: "addresses", message: message.bytes)
  }
}

extension IPAddress {
  /// AF_INET or AF_INET6.
  var family: UInt8 { UInt8(isIPv6 ? AF_INET6 : AF_INET) }
}

extension InterfaceAddress {
  /// Reads `struct ifaddrmsg` and its attributes; nil for other families' addresses.
  init?(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = 8
    guard let prefixLength: UInt8 = payload.integer(at: 1), let shortFlags: UInt8 = payload.integer(at: 2),
      let scope: UInt8 = payload.integer(at: 3), let number: Int32 = payload.integer(at: 4)
    else {
      throw .truncated(what: "address", needed: headerSize, left: payload.byteCount)
    }
    guard let index = InterfaceIndex(rawValue: number) else {
      throw .badValue(what: "interface index of address")
    }
    var own: IPAddress?
    var peer: IPAddress?
    var flags = UInt32(shortFlags)
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFA_LOCAL): own = IPAddress(octets: attribute.payload.copied)
      case Int(IFA_ADDRESS): peer = IPAddress(octets: attribute.payload.copied)
      case Int(IFA_FLAGS): flags = try attribute.integer()
      default: break
      }
    }
    // Only where the link has two ends do the two differ; then IFA_ADDRESS is the other end's.
    guard let address = own ?? peer else { return nil }
    guard let interface = IPInterface(address: address, prefixLength: Int(prefixLength)) else {
      throw .badValue(what: "prefix length of \(address)")
    }
    self.init(
      index: index, address: interface, scope: AddressScope(rawValue: scope), flags: AddressFlags(rawValue: flags))
  }
}
