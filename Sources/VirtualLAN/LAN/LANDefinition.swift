import ChaosAPI
import NetworkAddresses

/// A virtual LAN as it was asked for: what is kept on disk and laid out again after a reboot of the host.
public struct LANDefinition: Hashable, Sendable {
  public enum Mode: String, Hashable, Sendable, CaseIterable {
    /// A bridge, nothing beyond this host.
    case local
    /// VXLAN to the peers that are listed.
    case `static`
    /// VXLAN to the hosts that BGP tells of (RFC 7432, RFC 8365).
    case evpn
  }

  /// How the address that this host sends VXLAN from is found.
  public enum Underlay: Hashable, Sendable {
    /// By the default route, or the only interface there is.
    case automatic
    case address(IPAddress)
    case device(InterfaceName)
  }

  /// Another host of a static LAN.
  public struct Peer: Hashable, Sendable {
    public let address: IPAddress
    /// What is known to be behind it, so that frames for it go there and nowhere else.
    public var macs: [MACAddress]

    public init(address: IPAddress, macs: [MACAddress] = []) {
      self.address = address
      self.macs = macs
    }
  }

  /// How long a LAN's devices are there.
  public enum Lifetime: Hashable, Sendable {
    /// Until it is deleted: it is written down.
    case kept
    /// As long as somebody is on it: only its members' configuration speaks of it.
    case whileUsed
  }

  public let name: String
  public let lifetime: Lifetime
  public let vni: VNI
  public let mode: Mode
  /// Nil: what the underlay leaves.
  public let mtu: Int?
  /// UDP, where VXLAN is received and sent to.
  public let port: UInt16
  public let underlay: Underlay
  public let bridge: InterfaceName
  public let vxlan: InterfaceName
  public var peers: [Peer]
  /// Interfaces of the host (a NIC, a VLAN) that are members of the LAN.
  public var attached: [InterfaceName]

  /// The port that IANA gave to VXLAN (RFC 7348, section 8).
  public static let standardPort = VXLANSettings.defaultPort
  /// The kernel's default, which is older than the assignment and what Megalos uses.
  public static let megalosPort: UInt16 = 8472
  /// Of a LAN without an underlay to ask.
  public static let localMTU = 1500

  public init(
    name: String, vni: VNI, mode: Mode, mtu: Int? = nil, port: UInt16 = Self.standardPort,
    underlay: Underlay = .automatic, bridge: InterfaceName? = nil, vxlan: InterfaceName? = nil,
    peers: [Peer] = [], attached: [InterfaceName] = [], lifetime: Lifetime = .kept
  ) {
    self.name = name
    self.lifetime = lifetime
    self.vni = vni
    self.mode = mode
    self.mtu = mtu
    self.port = port
    self.underlay = underlay
    self.bridge = bridge ?? InterfaceName("lan\(vni)")!
    self.vxlan = vxlan ?? InterfaceName("vxlan\(vni)")!
    self.peers = peers
    self.attached = attached
  }

  /// The VNI of a LAN that was not given one: FNV-1a (draft-eastlake-fnv, 32 bits) of the name, brought into the
  /// range 1...2^24-1. Every host comes to the same one.
  public static func vni(ofName name: String) -> VNI {
    let hash = name.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    return VNI(rawValue: hash % VNI.range.upperBound + 1)!
  }

  /// Whether the LAN's devices are named and its port is chosen as Megalos does.
  var isMegalos: Bool { port == Self.megalosPort && bridge.description.hasPrefix("kt-") }

  /// How device names are made of a network's name as Megalos knows it.
  public enum MegalosNaming: Sendable {
    /// Megalos's since its commit be73411: only underscores go.
    case current
    /// Megalos's before that, and chaos's for longer.
    case former

    fileprivate func isDropped(_ byte: UInt8) -> Bool {
      switch self {
      case .current: byte == UInt8(ascii: "_")
      case .former: byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
      }
    }
  }

  /// A LAN whose device names, port and underlay are those that Megalos's own plug-in would give it, so that
  /// both share its bridge.
  ///
  /// - Parameters:
  ///   - name: of the NetworkAttachmentDefinition.
  ///   - suffix: of the lab; may be empty.
  public static func megalos(
    name: String, suffix: String, vni: VNI, port: UInt16 = Self.megalosPort, underlay: Underlay = .automatic,
    mode: Mode = .evpn, mtu: Int? = nil, lifetime: Lifetime = .whileUsed, naming: MegalosNaming = .current
  ) throws(LANError) -> LANDefinition {
    let short = String(decoding: name.utf8.filter { !naming.isDropped($0) }.prefix(5), as: UTF8.self)
    let device = suffix.isEmpty ? short : "\(short)-\(suffix)"
    guard let vxlan = InterfaceName(device), let bridge = InterfaceName("kt-\(device)") else {
      throw .refused("suffix", "makes no interface name of at most 15 bytes", "kt-\(device)")
    }
    return LANDefinition(
      name: name, vni: vni, mode: mode, mtu: mtu, port: port, underlay: underlay, bridge: bridge, vxlan: vxlan,
      lifetime: lifetime)
  }
}

// MARK: - JSON

extension LANDefinition {
  /// Raised when an older chaos could not read what this one writes.
  private static let version = 1

  var json: JSON {
    var object = JSONObject()
    object["version"] = .number(Self.version)
    object["name"] = .string(name)
    object["vni"] = .number(vni.rawValue)
    object["mode"] = .string(mode.rawValue)
    object["mtu"] = mtu.map { .number($0) }
    object["port"] = .number(port)
    switch underlay {
    case .automatic: break
    case .address(let address): object["vtep"] = .string(address.description)
    case .device(let device): object["device"] = .string(device.description)
    }
    object["bridge"] = .string(bridge.description)
    object["vxlan"] = .string(vxlan.description)
    object["peers"] = .array(peers.map(\.json))
    object["interfaces"] = .array(attached.map { .string($0.description) })
    return .object(object)
  }

  /// Reads a definition. Total: any JSON gives a definition or an error that names the field.
  init(json: JSON) throws(LANError) {
    let version: Int = try json.number("version", in: 1...Int.max)
    guard version == Self.version else { throw .refused("version", "not one this chaos knows", version) }
    let name = try json.text("name")
    do throws(APIError) {
      try Names.checkLANName(name)
    } catch {
      throw LANError(.invalid, error.message, field: "name")
    }
    let vni = try json.number("vni", in: Int(VNI.range.lowerBound)...Int(VNI.range.upperBound))
    let attached = try json.list("interfaces")
    self.init(
      name: name, vni: VNI(rawValue: UInt32(vni))!,
      mode: try Self.read("mode", try json.text("mode")) { Mode(rawValue: $0) },
      mtu: json["mtu"] == nil ? nil : try json.number("mtu", in: LANLimits.mtu),
      port: UInt16(try json.number("port", in: 1...65535)), underlay: try Self.underlay(json),
      bridge: try Self.read("bridge", try json.text("bridge")) { InterfaceName($0) },
      vxlan: try Self.read("vxlan", try json.text("vxlan")) { InterfaceName($0) })
    for peer in try json.list("peers") { peers.append(try Peer(json: peer)) }
    for interface in attached {
      guard case .string(let text) = interface else { throw LANError(.invalid, "interfaces: not a string") }
      self.attached.append(try Self.read("interfaces", text) { InterfaceName($0) })
    }
  }

  private static func underlay(_ json: JSON) throws(LANError) -> Underlay {
    if json["vtep"] != nil {
      return .address(try read("vtep", try json.text("vtep")) { IPAddress($0) })
    }
    if json["device"] != nil {
      return .device(try read("device", try json.text("device")) { InterfaceName($0) })
    }
    return .automatic
  }

  fileprivate static func read<Value>(
    _ field: String, _ text: String, _ meaning: (String) -> Value?
  ) throws(LANError) -> Value {
    guard let value = meaning(text) else { throw .refused(field, "not understood", text) }
    return value
  }
}

extension LANDefinition.Peer {
  fileprivate var json: JSON {
    .object([
      "address": .string(address.description), "macs": .array(macs.map { .string($0.description) }),
    ])
  }

  fileprivate init(json: JSON) throws(LANError) {
    self.init(address: try LANDefinition.read("address", try json.text("address")) { IPAddress($0) })
    for mac in try json.list("macs") {
      guard case .string(let text) = mac else { throw LANError(.invalid, "macs: not a string") }
      macs.append(try LANDefinition.read("macs", text) { MACAddress($0) })
    }
  }
}

extension JSON {
  fileprivate func text(_ key: String) throws(LANError) -> String {
    guard case .string(let text)? = self[key] else { throw LANError(.invalid, "\(key): not a string") }
    return text
  }

  fileprivate func number(_ key: String, in range: ClosedRange<Int>) throws(LANError) -> Int {
    guard case .integer(let value)? = self[key], let number = Int(exactly: value), range.contains(number) else {
      throw LANError(.invalid, "\(key): not a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// The elements of an array that may be missing.
  fileprivate func list(_ key: String) throws(LANError) -> [JSON] {
    switch self[key] {
    case nil: return []
    case .array(let elements): return elements
    default: throw LANError(.invalid, "\(key): not an array")
    }
  }
}

/// What the kernel and the formats allow of a LAN.
public enum LANLimits {
  /// In bytes: IPv4's least link MTU (RFC 791), and the largest that a frame's length field and the device page hold.
  public static let mtu = 68...65535
  /// What a member's port takes at least, in bytes. A bridge drops a frame above its port's MTU without a word and
  /// without counting it, so the port takes more than members are told, and whoever is behind it says what became
  /// of the frame: a guest takes it, a container's end of its pair counts it. Jumbo frames are meant, and any
  /// guest's ring holds one; with no limit at all a frame that fits no ring would stop its queue for good.
  public static let portMTU = 9216

  /// The MTU of the port of a member that was told `mtu`.
  public static func portMTU(ofMemberWith mtu: Int) -> Int { max(mtu, portMTU) }
}
