import CNetlink
import Glibc
import NetworkAddresses

/// Where packets for a destination go.
public struct Route: Hashable, Sendable {
  /// The interface they leave by: the loopback for the host's own addresses.
  public let device: InterfaceIndex
  /// The destinations it is for; nil for all (a default route).
  public let destination: IPInterface?
  /// The address they leave with, where the route or the look-up says.
  public let source: IPAddress?
  /// Nil when the destination is on the link itself.
  public let gateway: IPAddress?
  /// In bytes, where the route sets it or the path's was found; otherwise the device's counts.
  public let mtu: UInt32?
  /// The smallest comes first among routes for the same destination.
  public let metric: UInt32
  /// The destination is one of the host's own addresses.
  public let isLocal: Bool
  public let isIPv6: Bool
}

extension RouteRequest {
  /// Adds a route to the main table; refused (EEXIST) when the table has one for the same destination.
  ///
  /// - Parameters:
  ///   - destination: nil for all destinations, of the gateway's family, or IPv4 without a gateway.
  ///   - gateway: nil when the destinations are on the link itself. The kernel must know how to reach it through
  ///     the device, and the device must be up (ENETUNREACH, ENETDOWN).
  public static func addRoute(
    destination: IPInterface?, gateway: IPAddress?, device: InterfaceIndex
  ) -> RouteRequest {
    let family = (destination?.address ?? gateway)?.family ?? UInt8(AF_INET)
    var message = NetlinkMessageBuilder(type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL)
    message.appendRouteHeader(
      family: family, destinationLength: destination?.prefixLength ?? 0,
      scope: gateway == nil && family == UInt8(AF_INET) ? .link : .global)
    if let destination {
      message.append(Int(RTA_DST.rawValue), destination.network.octets)
    }
    message.append(gateway: gateway, family: family)
    message.append(Int(RTA_OIF.rawValue), integer: device.rawValue)
    let subject = destination.map { "to \($0)" } ?? "by default"
    return RouteRequest(
      operation: "add route", subject: "\(subject) through interface \(device)", message: message.bytes)
  }

  /// Asks which way packets for an address go.
  ///
  /// - Parameter asWritten: the route as the table has it, not what comes of it: of one of the host's own addresses
  ///   with the interface that has it.
  static func route(to destination: IPAddress, asWritten: Bool = false) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETROUTE)
    message.append(destination.family)
    message.append(UInt8(destination.width))
    message.append(contentsOf: [UInt8](repeating: 0, count: 6))
    message.append(asWritten ? UInt32(RTM_F_FIB_MATCH) : 0)
    message.append(Int(RTA_DST.rawValue), destination.octets)
    return RouteRequest(operation: "look up route to", subject: "\(destination)", message: message.bytes)
  }

  /// Asks for a family's routes in the main table, or in all.
  static func allRoutes(isIPv6: Bool, inAllTables: Bool = false) -> RouteRequest {
    let table = inAllTables ? RT_TABLE_UNSPEC : RT_TABLE_MAIN
    var message = NetlinkMessageBuilder(type: RTM_GETROUTE, flags: NLM_F_DUMP)
    message.append(UInt8(isIPv6 ? AF_INET6 : AF_INET))
    message.append(contentsOf: [0, 0, 0, UInt8(table.rawValue), 0, 0, 0, 0, 0, 0, 0])
    return RouteRequest(operation: "list", subject: isIPv6 ? "IPv6 routes" : "IPv4 routes", message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  /// `struct rtmsg` (linux/rtnetlink.h): family, lengths of destination and source, TOS, table, protocol, scope,
  /// type, flags.
  fileprivate mutating func appendRouteHeader(family: UInt8, destinationLength: Int, scope: AddressScope) {
    append(contentsOf: [
      family, UInt8(destinationLength), 0, 0, UInt8(RT_TABLE_MAIN.rawValue), UInt8(RTPROT_STATIC),
    ])
    append(contentsOf: [scope.rawValue, UInt8(RTN_UNICAST)])
    append(UInt32(0))
  }

  /// A gateway of the other family goes in `struct rtvia`: family, address.
  fileprivate mutating func append(gateway: IPAddress?, family: UInt8) {
    guard let gateway else { return }
    if gateway.family == family {
      append(Int(RTA_GATEWAY.rawValue), gateway.octets)
    } else {
      nest(Int(RTA_VIA.rawValue), flag: 0) { via in
        via.append(UInt16(gateway.family))
        via.append(contentsOf: gateway.octets)
      }
    }
  }
}

// MARK: - Replies

extension Route {
  /// Reads `struct rtmsg` and its attributes (linux/rtnetlink.h); nil for a route that goes nowhere, or is of another
  /// family. Of a route with several ways the first is read.
  init?(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = 12
    guard let family: UInt8 = payload.integer(at: 0), let length: UInt8 = payload.integer(at: 1),
      let type: UInt8 = payload.integer(at: 7), payload.byteCount >= headerSize
    else {
      throw .truncated(what: "route", needed: headerSize, left: payload.byteCount)
    }
    var destination: IPAddress?
    var source: IPAddress?
    var mtu: UInt32?
    var metric: UInt32 = 0
    var hop = Hop()
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(RTA_DST.rawValue): destination = IPAddress(octets: attribute.payload.copied)
      case Int(RTA_PREFSRC.rawValue): source = IPAddress(octets: attribute.payload.copied)
      case Int(RTA_PRIORITY.rawValue): metric = try attribute.integer()
      case Int(RTA_METRICS.rawValue): mtu = try Self.mtu(in: attribute.payload)
      case Int(RTA_MULTIPATH.rawValue): try hop.read(nextHops: attribute.payload)
      default: try hop.read(attribute)
      }
    }
    let leadsNowhere = [RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW].contains { type == UInt8($0) }
    guard let device = hop.device, !leadsNowhere, family == AF_INET || family == AF_INET6 else { return nil }
    self.init(
      device: device,
      destination: length == 0 ? nil : destination.flatMap { IPInterface(address: $0, prefixLength: Int(length)) },
      source: source, gateway: hop.gateway, mtu: mtu, metric: metric, isLocal: type == UInt8(RTN_LOCAL),
      isIPv6: family == AF_INET6)
  }

  /// One way: an interface, and who to hand packets to.
  private struct Hop {
    var device: InterfaceIndex?
    var gateway: IPAddress?

    mutating func read(_ attribute: borrowing NetlinkAttribute) throws(NetlinkFormatError) {
      switch Int(attribute.type) {
      case Int(RTA_OIF.rawValue): device = InterfaceIndex(rawValue: try attribute.integer())
      case Int(RTA_GATEWAY.rawValue): gateway = IPAddress(octets: attribute.payload.copied)
      case Int(RTA_VIA.rawValue): gateway = IPAddress(octets: attribute.payload.dropping(2).copied)
      default: break
      }
    }

    /// The first `struct rtnexthop`: its length, flags, hops, interface, attributes.
    mutating func read(nextHops: RawSpan) throws(NetlinkFormatError) {
      let headerSize = 8
      guard let length: UInt16 = nextHops.integer(at: 0), let number: Int32 = nextHops.integer(at: 4) else {
        throw .truncated(what: "next hop", needed: headerSize, left: nextHops.byteCount)
      }
      guard length >= headerSize, length <= nextHops.byteCount else {
        throw .badLength(what: "next hop", length: Int(length), left: nextHops.byteCount)
      }
      device = InterfaceIndex(rawValue: number)
      var attributes = NetlinkAttributes(nextHops.extracting(headerSize..<Int(length)))
      while let attribute = try attributes.next() {
        try read(attribute)
      }
    }
  }

  private static func mtu(in metrics: RawSpan) throws(NetlinkFormatError) -> UInt32? {
    var attributes = NetlinkAttributes(metrics)
    while let attribute = try attributes.next() {
      if Int(attribute.type) == RTAX_MTU { return try attribute.integer() }
    }
    return nil
  }
}
