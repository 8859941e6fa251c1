import CNetlink
import Glibc
import NetworkAddresses

/// One line of a forwarding table (FDB): behind which port of a bridge an Ethernet address is, or behind which
/// peer of a VXLAN device.
public struct ForwardingEntry: Hashable, Sendable {
  /// Whose table the entry is in.
  public enum Scope: Hashable, Sendable {
    /// That of the bridge which the device is a port of (NTF_MASTER), or is.
    case master
    /// The device's own (NTF_SELF): a VXLAN device's peers.
    case device
  }

  /// How the entry came to be and how long it stays.
  public enum State: Hashable, Sendable {
    /// In a bridge: an address of the host's own (NUD_PERMANENT). In a VXLAN device: it does not age.
    case permanent
    /// Set by somebody, and does not age (NUD_NOARP).
    case `static`
    /// Learned, or made to age like it (NUD_REACHABLE).
    case dynamic
  }

  public var device: InterfaceIndex
  /// Zero in a VXLAN device: every destination that is unknown, or not a single station.
  public var mac: MACAddress
  /// The peer of a VXLAN device.
  public var destination: IPAddress?
  /// The only interface by which a VXLAN device sends to that peer; nil where the route to it decides.
  public var via: InterfaceIndex?
  public var scope: Scope
  public var state: State
  /// Set by a routing daemon, which looks after its age (NTF_EXT_LEARNED).
  public var isExternallyLearned: Bool
  /// Learning never moves it to another port (NTF_STICKY). Bridges only.
  public var isSticky: Bool
  /// The bridge whose table the entry is in. Given by the kernel, not read in requests.
  public var master: InterfaceIndex?

  public init(
    device: InterfaceIndex, mac: MACAddress, destination: IPAddress? = nil, via: InterfaceIndex? = nil,
    scope: Scope, state: State = .static, isExternallyLearned: Bool = false, isSticky: Bool = false,
    master: InterfaceIndex? = nil
  ) {
    self.device = device
    self.mac = mac
    self.destination = destination
    self.via = via
    self.scope = scope
    self.state = state
    self.isExternallyLearned = isExternallyLearned
    self.isSticky = isSticky
    self.master = master
  }
}

extension ForwardingEntry: CustomStringConvertible {
  public var description: String {
    "\(mac) of interface \(device)" + (destination.map { " at \($0)" } ?? "")
  }
}

// MARK: - Requests

extension RouteRequest {
  /// What to do about an entry of the same address.
  public enum ForwardingMode: Hashable, Sendable {
    /// Refuse (EEXIST).
    case create
    /// Put the new one in its place. One that is externally learned takes over less: in a VXLAN device only the
    /// destination changes (vxlan_fdb_update_existing in drivers/net/vxlan), in a bridge a static one stays static
    /// (br_fdb_external_learn_add in net/bridge/br_fdb.c).
    case replace
    /// Let both be: a VXLAN device sends to each destination. For addresses that are no single station's, zero
    /// among them. Nothing happens when that very entry is there.
    case append

    fileprivate var flags: CInt {
      switch self {
      case .create: NLM_F_CREATE | NLM_F_EXCL
      case .replace: NLM_F_CREATE | NLM_F_REPLACE
      case .append: NLM_F_CREATE | NLM_F_APPEND
      }
    }
  }

  /// Puts an entry into a table. A bridge refuses (EPERM) a dynamic one for a port that does not forward, because it
  /// or the bridge is down.
  public static func addForwarding(_ entry: ForwardingEntry, mode: ForwardingMode) -> RouteRequest {
    forwarding("add forwarding of", entry, type: RTM_NEWNEIGH, flags: mode.flags)
  }

  /// Deletes the entry of that address, and of that destination (and `via`) where one is given; refused (ENOENT)
  /// when there is none of that address. Where only the destination is another, nothing happens.
  public static func deleteForwarding(_ entry: ForwardingEntry) -> RouteRequest {
    forwarding("delete forwarding of", entry, type: RTM_DELNEIGH, flags: 0)
  }

  /// `struct ndmsg` (linux/neighbour.h): family, padding, index, state, flags, type.
  private static func forwarding(
    _ operation: String, _ entry: ForwardingEntry, type: Int, flags: CInt
  ) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: type, flags: flags)
    message.append(UInt32(AF_BRIDGE))
    message.append(entry.device.rawValue)
    message.append(entry.state.bits)
    message.append(entry.flagBits)
    message.append(UInt8(0))
    message.append(NDA_LLADDR, entry.mac.octets)
    if let destination = entry.destination {
      message.append(NDA_DST, destination.octets)
    }
    if let via = entry.via {
      message.append(NDA_IFINDEX, integer: via.rawValue)
    }
    return RouteRequest(operation: operation, subject: entry.description, message: message.bytes)
  }

  /// Asks for forwarding tables: of one device, of one bridge and its ports, of all.
  static func allForwarding(device: InterfaceIndex?, bridge: InterfaceIndex?) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETNEIGH, flags: NLM_F_DUMP)
    message.append(UInt32(AF_BRIDGE))
    message.append(device?.rawValue ?? 0)
    message.append(UInt32(0))
    if let bridge {
      message.append(NDA_MASTER, integer: bridge.rawValue)
    }
    let subject = (device ?? bridge).map { "forwarding table of interface \($0)" } ?? "forwarding tables"
    return RouteRequest(operation: "list", subject: subject, message: message.bytes)
  }
}

extension ForwardingEntry.State {
  /// NUD_* of linux/neighbour.h. A VXLAN device takes no entry that is neither permanent nor reachable.
  fileprivate var bits: UInt16 {
    switch self {
    case .permanent: UInt16(NUD_PERMANENT)
    case .static: UInt16(NUD_NOARP | NUD_REACHABLE)
    case .dynamic: UInt16(NUD_REACHABLE)
    }
  }

  fileprivate init(bits: UInt16) {
    if bits & UInt16(NUD_PERMANENT) != 0 {
      self = .permanent
    } else {
      self = bits & UInt16(NUD_NOARP) != 0 ? .static : .dynamic
    }
  }
}

// MARK: - Replies

extension ForwardingEntry {
  /// NTF_* of linux/neighbour.h.
  fileprivate var flagBits: UInt8 {
    var bits = scope == .master ? NTF_MASTER : NTF_SELF
    if isExternallyLearned { bits |= NTF_EXT_LEARNED }
    if isSticky { bits |= NTF_STICKY }
    return UInt8(bits)
  }

  /// Reads `struct ndmsg` and its attributes; nil when it is about no Ethernet address of a forwarding table: the
  /// kernel's ARP and neighbour tables have the same messages.
  init?(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = 12
    guard let family: UInt8 = payload.integer(at: 0), let number: Int32 = payload.integer(at: 4),
      let state: UInt16 = payload.integer(at: 8), let flags: UInt8 = payload.integer(at: 10),
      payload.byteCount >= headerSize
    else {
      throw .truncated(what: "neighbour", needed: headerSize, left: payload.byteCount)
    }
    var mac: MACAddress?
    var destination: IPAddress?
    var via: InterfaceIndex?
    var master: InterfaceIndex?
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case NDA_LLADDR: mac = MACAddress(octets: attribute.payload.copied)
      case NDA_DST: destination = IPAddress(octets: attribute.payload.copied)
      case NDA_IFINDEX: via = InterfaceIndex(rawValue: try attribute.integer())
      case NDA_MASTER: master = InterfaceIndex(rawValue: try attribute.integer())
      default: break
      }
    }
    guard family == AF_BRIDGE, let mac, let device = InterfaceIndex(rawValue: number) else { return nil }
    self.init(
      device: device, mac: mac, destination: destination, via: via, scope: master == nil ? .device : .master,
      state: State(bits: state), isExternallyLearned: CInt(flags) & NTF_EXT_LEARNED != 0,
      isSticky: CInt(flags) & NTF_STICKY != 0, master: master)
  }
}
