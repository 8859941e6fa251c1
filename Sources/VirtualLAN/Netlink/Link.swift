import Glibc
import NetworkAddresses

/// A network interface as the kernel describes it.
public struct Link: Hashable, Sendable {
  public let index: InterfaceIndex
  public let name: InterfaceName
  /// In bytes, the Ethernet header not counted. Zero where the kernel did not say.
  public let mtu: UInt32
  public let flags: LinkFlags
  /// The driver behind a virtual interface; nil for hardware and the loopback.
  public let kind: LinkKind?
  /// The bridge (or bond, or VRF) that the interface is a port of.
  public let master: InterfaceIndex?
  /// Nil for interfaces without an Ethernet address.
  public let address: MACAddress?
  /// 0 unless it was put into one.
  public let group: InterfaceGroup
  /// Of a pair of virtual Ethernet interfaces the other one, of others the one below. Counted in that one's network
  /// namespace, which need not be this one's.
  public let peerIndex: InterfaceIndex?
  /// What a VXLAN device was made with; nil for other kinds.
  public let vxlan: VXLANSettings?
  /// How a bridge's port behaves; nil for what is no bridge's port.
  public let port: BridgePort?
  /// Its counters at that moment; nil where the kernel did not say.
  public let statistics: LinkStatistics?

  public init(
    index: InterfaceIndex, name: InterfaceName, mtu: UInt32, flags: LinkFlags, kind: LinkKind?,
    master: InterfaceIndex?, address: MACAddress?, group: InterfaceGroup, peerIndex: InterfaceIndex?,
    vxlan: VXLANSettings?, port: BridgePort?, statistics: LinkStatistics?
  ) {
    self.index = index
    self.name = name
    self.mtu = mtu
    self.flags = flags
    self.kind = kind
    self.master = master
    self.address = address
    self.group = group
    self.peerIndex = peerIndex
    self.vxlan = vxlan
    self.port = port
    self.statistics = statistics
  }

  /// Set up by the administrator; says nothing of a carrier.
  public var isUp: Bool { flags.contains(.up) }
  public var isBridge: Bool { kind == .bridge }
  /// Whether a bridge's port learns; nil for what is no bridge's port.
  public var portLearns: Bool? { port?.learns }
}

/// What an interface received and sent since it was made: `struct rtnl_link_stats64` (linux/if_link.h).
public struct LinkStatistics: Hashable, Sendable {
  public let rxPackets: UInt64
  public let txPackets: UInt64
  public let rxBytes: UInt64
  public let txBytes: UInt64
  public let rxErrors: UInt64
  public let txErrors: UInt64
  public let rxDropped: UInt64
  public let txDropped: UInt64
}

/// IFF_* of net/if.h.
public struct LinkFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Set up by the administrator.
  public static let up = LinkFlags(rawValue: 1)
  /// Up, and there is a carrier: for a tap, somebody holds its queue.
  public static let running = LinkFlags(rawValue: 0x40)
}

/// The name of the driver of a virtual interface (IFLA_INFO_KIND).
public struct LinkKind: RawRepresentable, Hashable, Sendable {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  public static let bridge = LinkKind(rawValue: "bridge")
  /// Taps too: the kernel's driver has one name for both.
  public static let tun = LinkKind(rawValue: "tun")
  public static let veth = LinkKind(rawValue: "veth")
  public static let vxlan = LinkKind(rawValue: "vxlan")
}
