import CNetlink
import Glibc

/// How a bridge's port behaves. What the kernel does not mention is taken to be as a port is born.
public struct BridgePort: Hashable, Sendable {
  /// Takes the sender of each frame that comes in by the port as the way back to it.
  public private(set) var learns = true
  /// Answers ARP and neighbour solicitations for what is known to be behind the port, instead of asking there.
  public private(set) var suppressesNeighbours = false
  /// Sends frames for unknown unicast addresses out by the port.
  public private(set) var floods = true
  /// Exchanges no frames with the other isolated ports.
  public private(set) var isIsolated = false
  /// Gets every multicast frame of a bridge that snoops, because somebody said that a router is behind it.
  public private(set) var isMulticastRouter = false

  /// As a port is born.
  public init() {}

  /// Reads the IFLA_INFO_SLAVE_DATA of a bridge's port (IFLA_BRPORT_* of linux/if_link.h).
  init(_ bytes: RawSpan) throws(NetlinkFormatError) {
    var attributes = NetlinkAttributes(bytes)
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(IFLA_BRPORT_LEARNING): learns = try attribute.flag()
      case Int(IFLA_BRPORT_NEIGH_SUPPRESS): suppressesNeighbours = try attribute.flag()
      case Int(IFLA_BRPORT_UNICAST_FLOOD): floods = try attribute.flag()
      case Int(IFLA_BRPORT_ISOLATED): isIsolated = try attribute.flag()
      // MDB_RTR_TYPE_PERM of linux/if_bridge.h.
      case Int(IFLA_BRPORT_MULTICAST_ROUTER): isMulticastRouter = try attribute.integer(as: UInt8.self) == 2
      default: break
      }
    }
  }
}

/// What to change about a bridge's port, as `BridgePort` has it. What is nil stays as it is.
public struct BridgePortChange: Hashable, Sendable {
  public var learns: Bool?
  public var neighbourSuppression: Bool?
  public var floods: Bool?
  public var isIsolated: Bool?
  /// Gets every multicast frame of a bridge that snoops, whatever was asked for; false for as long as a router is
  /// heard behind it.
  public var isMulticastRouter: Bool?

  public init(
    learns: Bool? = nil, neighbourSuppression: Bool? = nil, floods: Bool? = nil, isIsolated: Bool? = nil,
    isMulticastRouter: Bool? = nil
  ) {
    self.isMulticastRouter = isMulticastRouter
    self.learns = learns
    self.neighbourSuppression = neighbourSuppression
    self.floods = floods
    self.isIsolated = isIsolated
  }
}

extension RouteRequest {
  /// Changes a port of a bridge; refused (EOPNOTSUPP) for what is none.
  public static func changeBridgePort(_ link: LinkReference, _ change: BridgePortChange) -> RouteRequest {
    // A message of family AF_BRIDGE would do it too, but by index only.
    var message = NetlinkMessageBuilder(type: RTM_NEWLINK, link: link)
    message.nest(IFLA_LINKINFO) { info in
      info.append(IFLA_INFO_SLAVE_KIND, text: Array(LinkKind.bridge.rawValue.utf8))
      info.nest(IFLA_INFO_SLAVE_DATA) { port in
        port.append(IFLA_BRPORT_LEARNING, flag: change.learns)
        port.append(IFLA_BRPORT_NEIGH_SUPPRESS, flag: change.neighbourSuppression)
        port.append(IFLA_BRPORT_UNICAST_FLOOD, flag: change.floods)
        port.append(IFLA_BRPORT_ISOLATED, flag: change.isIsolated)
        // MDB_RTR_TYPE_PERM or _TEMP_QUERY, which ports are born with.
        if let isRouter = change.isMulticastRouter {
          port.append(IFLA_BRPORT_MULTICAST_ROUTER, [isRouter ? 2 : 1])
        }
      }
    }
    return RouteRequest(operation: "change bridge port", subject: link.description, message: message.bytes)
  }

  /// Changes a bridge; refused (EEXIST or EOPNOTSUPP) for what is no bridge.
  ///
  /// - Parameters:
  ///   - ageingSeconds: after how many seconds without a frame it forgets an address that it learned.
  ///   - snoopsMulticast: send multicast frames only where somebody asked for them, once a querier is heard.
  public static func changeBridge(
    _ link: LinkReference, ageingSeconds: UInt32? = nil, snoopsMulticast: Bool? = nil
  ) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_NEWLINK, link: link)
    message.nest(IFLA_LINKINFO) { info in
      info.append(IFLA_INFO_KIND, text: Array(LinkKind.bridge.rawValue.utf8))
      info.nest(IFLA_INFO_DATA) { data in
        // In the ticks that the kernel shows to user space (USER_HZ), 100 a second on every architecture in use.
        if let ageingSeconds {
          data.append(
            IFLA_BR_AGEING_TIME, integer: ageingSeconds.multipliedReportingOverflow(by: 100).partialValue)
        }
        data.append(IFLA_BR_MCAST_SNOOPING, flag: snoopsMulticast)
      }
    }
    return RouteRequest(operation: "change bridge", subject: link.description, message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  fileprivate mutating func append(_ type: Int, flag: Bool?) {
    guard let flag else { return }
    append(type, [flag ? 1 : 0])
  }
}
