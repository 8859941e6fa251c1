/// How the hosts of a LAN come to know one another, and where each MAC address is.
public enum LANMode: String, Sendable, CaseIterable {
  /// One bridge on this host alone.
  case local
  /// From the list of peers.
  case `static`
  /// From what the hosts announce to one another by BGP EVPN (RFC 8365).
  case evpn
}

/// Whether a LAN is laid out.
public enum LANState: String, Sendable, CaseIterable {
  case ready
  /// Something it needs is not there yet, such as its underlay's address.
  case waiting
}

/// A virtual LAN to be made: the body of `POST /v1/lans`.
///
/// Reading one checks its shape only (known keys, right types); `validate()` checks the values.
public struct LANRequest: Sendable, Equatable {
  public var name: String
  /// The VXLAN network identifier (RFC 7348, section 5: 24 bits). Nil: made from the name, the same on every
  /// host.
  public var vni: Int?
  /// In bytes, of the frames' payload. Nil: what the underlay leaves.
  public var mtu: Int?
  /// Nil: `evpn` where EVPN is enabled on the host, else `static`.
  public var mode: LANMode?
  /// The UDP port of the tunnels. Nil: `defaultPort`, or `megalosPort` of a LAN shared with Megalos.
  public var port: Int?
  /// This host's tunnel endpoint: one of its IP addresses. Nil: that of `device`, or of the default route.
  public var vtep: String?
  /// The interface whose address is the tunnel endpoint.
  public var device: String?
  /// Share the LAN with Megalos, whose bridges are named by its lab's suffix (which may be empty).
  public var megalos: String?

  public init(
    name: String, vni: Int? = nil, mtu: Int? = nil, mode: LANMode? = nil, port: Int? = nil, vtep: String? = nil,
    device: String? = nil, megalos: String? = nil
  ) {
    self.name = name
    self.vni = vni
    self.mtu = mtu
    self.mode = mode
    self.port = port
    self.vtep = vtep
    self.device = device
    self.megalos = megalos
  }

  /// VXLAN's own (RFC 7348, section 5).
  public static let defaultPort = 4789
  /// The Linux kernel's default, from before there was an assignment, which Megalos leaves as it is.
  public static let megalosPort = 8472
}

extension LANRequest: JSONConvertible {
  static let keys = ["name", "vni", "mtu", "mode", "port", "vtep", "device", "megalos"]

  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: Self.keys)
    name = try reader.string("name")
    vni = try reader.optionalInteger("vni")
    mtu = try reader.optionalInteger("mtu")
    mode = try reader.optionalChoice("mode")
    port = try reader.optionalInteger("port")
    vtep = try reader.optionalString("vtep")
    device = try reader.optionalString("device")
    megalos = try reader.optionalString("megalos")
  }

  public var json: JSON {
    var object: JSONObject = ["name": .string(name)]
    object.append("vni", vni.map { .number($0) })
    object.append("mtu", mtu.map { .number($0) })
    object.append("mode", mode.map { .string($0.rawValue) })
    object.append("port", port.map { .number($0) })
    object.append("vtep", vtep.map(JSON.string))
    object.append("device", device.map(JSON.string))
    object.append("megalos", megalos.map(JSON.string))
    return .object(object)
  }
}

/// A LAN in a list.
public struct LANSummary: Sendable, Equatable {
  public var name: String
  public var vni: Int
  public var mode: LANMode
  /// In bytes; nil while it is not known, because the underlay is not there.
  public var mtu: Int?
  public var state: LANState
  /// How many guests, containers and interfaces this host has on it.
  public var members: Int
  /// Its bridge's interface name.
  public var bridge: String

  public init(
    name: String, vni: Int, mode: LANMode, mtu: Int? = nil, state: LANState, members: Int, bridge: String
  ) {
    self.name = name
    self.vni = vni
    self.mode = mode
    self.mtu = mtu
    self.state = state
    self.members = members
    self.bridge = bridge
  }
}

extension LANSummary: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    vni = try reader.integer("vni")
    mode = try reader.choice("mode")
    mtu = try reader.optionalInteger("mtu")
    state = try reader.choice("state")
    members = try reader.integer("members")
    bridge = try reader.string("bridge")
  }

  public var json: JSON {
    var object: JSONObject = ["name": .string(name), "vni": .number(vni), "mode": .string(mode.rawValue)]
    object.append("mtu", mtu.map { .number($0) })
    object.append("state", .string(state.rawValue))
    object.append("members", .number(members))
    object.append("bridge", .string(bridge))
    return .object(object)
  }
}

/// The answer to `GET /v1/lans`.
public struct LANList: Sendable, Equatable {
  public var lans: [LANSummary]

  public init(lans: [LANSummary]) {
    self.lans = lans
  }
}

extension LANList: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    lans = try ObjectReader(json, at: path).array("lans")
  }

  public var json: JSON { ["lans": .list(lans)] }
}

/// A LAN as it is on this host.
public struct LANInfo: Sendable, Equatable {
  public var name: String
  public var vni: Int
  public var mode: LANMode
  /// The UDP port of the tunnels; nil for a local LAN.
  public var port: Int?
  /// In bytes; nil while it is not known, because the underlay is not there.
  public var mtu: Int?
  /// This host's tunnel endpoint, as far as it is known.
  public var vtep: String?
  /// The interface that the tunnels leave by.
  public var device: String?
  /// The bridge's interface name.
  public var bridge: String
  /// The VXLAN device's interface name; nil for a local LAN.
  public var vxlan: String?
  /// The VXLAN device is up, as it is while this host has a member.
  public var isUp: Bool
  public var state: LANState
  /// What a waiting LAN waits for, in one line.
  public var reason: String?
  public var peers: [LANPeer]
  /// The interfaces that were attached, there or not.
  public var attached: [String]
  public var members: [LANMember]
  public var forwarding: [LANForwarding]
  /// Packets dropped, both ways, on all ports and the VXLAN device.
  public var drops: Int
  /// One line each.
  public var warnings: [String]

  public init(
    name: String, vni: Int, mode: LANMode, port: Int? = nil, mtu: Int? = nil, vtep: String? = nil,
    device: String? = nil, bridge: String, vxlan: String? = nil, isUp: Bool, state: LANState,
    reason: String? = nil, peers: [LANPeer] = [], attached: [String] = [], members: [LANMember] = [],
    forwarding: [LANForwarding] = [], drops: Int = 0, warnings: [String] = []
  ) {
    self.name = name
    self.vni = vni
    self.mode = mode
    self.port = port
    self.mtu = mtu
    self.vtep = vtep
    self.device = device
    self.bridge = bridge
    self.vxlan = vxlan
    self.isUp = isUp
    self.state = state
    self.reason = reason
    self.peers = peers
    self.attached = attached
    self.members = members
    self.forwarding = forwarding
    self.drops = drops
    self.warnings = warnings
  }
}

extension LANInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    vni = try reader.integer("vni")
    mode = try reader.choice("mode")
    port = try reader.optionalInteger("port")
    mtu = try reader.optionalInteger("mtu")
    vtep = try reader.optionalString("vtep")
    device = try reader.optionalString("device")
    bridge = try reader.string("bridge")
    vxlan = try reader.optionalString("vxlan")
    isUp = try reader.bool("up")
    state = try reader.choice("state")
    reason = try reader.optionalString("reason")
    peers = try reader.array("peers")
    attached = try reader.strings("attached")
    members = try reader.array("members")
    forwarding = try reader.array("forwarding")
    drops = try reader.integer("drops")
    warnings = try reader.strings("warnings")
  }

  public var json: JSON {
    var object: JSONObject = ["name": .string(name), "vni": .number(vni), "mode": .string(mode.rawValue)]
    object.append("port", port.map { .number($0) })
    object.append("mtu", mtu.map { .number($0) })
    object.append("vtep", vtep.map(JSON.string))
    object.append("device", device.map(JSON.string))
    object.append("bridge", .string(bridge))
    object.append("vxlan", vxlan.map(JSON.string))
    object.append("up", .bool(isUp))
    object.append("state", .string(state.rawValue))
    object.append("reason", reason.map(JSON.string))
    object.append("peers", .list(peers))
    object.append("attached", .strings(attached))
    object.append("members", .list(members))
    object.append("forwarding", .list(forwarding))
    object.append("drops", .number(drops))
    object.append("warnings", .strings(warnings))
    return .object(object)
  }
}

/// Another host of a LAN: the body of `POST /v1/lans/NAME/peers`, and what is known of one.
public struct LANPeer: Sendable, Equatable {
  /// Its tunnel endpoint's IP address.
  public var address: String
  /// The MAC addresses known to be there.
  public var macs: [String]

  public init(address: String, macs: [String] = []) {
    self.address = address
    self.macs = macs
  }
}

extension LANPeer: JSONConvertible {
  static let keys = ["address", "macs"]

  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    // Alone it is a request, which has no unknown keys; inside an answer it may.
    if path.isEmpty { try reader.refuseKeys(notIn: Self.keys) }
    address = try reader.string("address")
    macs = try reader.strings("macs")
  }

  public var json: JSON { ["address": .string(address), "macs": .strings(macs)] }
}

/// The answer to `GET /v1/lans/NAME/peers`, and to adding one.
public struct LANPeerList: Sendable, Equatable {
  public var peers: [LANPeer]

  public init(peers: [LANPeer]) {
    self.peers = peers
  }
}

extension LANPeerList: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    peers = try ObjectReader(json, at: path).array("peers")
  }

  public var json: JSON { ["peers": .list(peers)] }
}

/// What a port of a LAN's bridge leads to.
public enum LANMemberKind: String, Sendable, CaseIterable {
  case guest
  case container
  /// One that was attached.
  case interface
  /// One that somebody else put there.
  case other
}

/// A port of a LAN's bridge, other than its VXLAN device, with its counters since it was made. "Received" is
/// what the member sent to the LAN.
public struct LANMember: Sendable, Equatable {
  /// Its name on the host.
  public var interface: String
  public var kind: LANMemberKind
  /// The guest's name, or the container's ID.
  public var name: String?
  /// The guest's vif.
  public var vif: Int?
  public var mac: String?
  public var rxPackets: Int
  public var rxBytes: Int
  public var rxDropped: Int
  public var rxErrors: Int
  public var txPackets: Int
  public var txBytes: Int
  public var txDropped: Int
  public var txErrors: Int

  public init(
    interface: String, kind: LANMemberKind, name: String? = nil, vif: Int? = nil, mac: String? = nil,
    rxPackets: Int = 0, rxBytes: Int = 0, rxDropped: Int = 0, rxErrors: Int = 0, txPackets: Int = 0,
    txBytes: Int = 0, txDropped: Int = 0, txErrors: Int = 0
  ) {
    self.interface = interface
    self.kind = kind
    self.name = name
    self.vif = vif
    self.mac = mac
    self.rxPackets = rxPackets
    self.rxBytes = rxBytes
    self.rxDropped = rxDropped
    self.rxErrors = rxErrors
    self.txPackets = txPackets
    self.txBytes = txBytes
    self.txDropped = txDropped
    self.txErrors = txErrors
  }
}

extension LANMember: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    interface = try reader.string("interface")
    kind = try reader.choice("kind")
    name = try reader.optionalString("name")
    vif = try reader.optionalInteger("vif")
    mac = try reader.optionalString("mac")
    rxPackets = try reader.integer("rxPackets")
    rxBytes = try reader.integer("rxBytes")
    rxDropped = try reader.integer("rxDropped")
    rxErrors = try reader.integer("rxErrors")
    txPackets = try reader.integer("txPackets")
    txBytes = try reader.integer("txBytes")
    txDropped = try reader.integer("txDropped")
    txErrors = try reader.integer("txErrors")
  }

  public var json: JSON {
    var object: JSONObject = ["interface": .string(interface), "kind": .string(kind.rawValue)]
    object.append("name", name.map(JSON.string))
    object.append("vif", vif.map { .number($0) })
    object.append("mac", mac.map(JSON.string))
    object.append("rxPackets", .number(rxPackets))
    object.append("rxBytes", .number(rxBytes))
    object.append("rxDropped", .number(rxDropped))
    object.append("rxErrors", .number(rxErrors))
    object.append("txPackets", .number(txPackets))
    object.append("txBytes", .number(txBytes))
    object.append("txDropped", .number(txDropped))
    object.append("txErrors", .number(txErrors))
    return .object(object)
  }
}

/// Where an entry of a LAN's forwarding tables leads.
public enum LANForwardingKind: String, Sendable, CaseIterable {
  /// To a port of this host's bridge.
  case local
  /// To another host's tunnel endpoint.
  case remote
  /// To another host's tunnel endpoint, every frame whose destination nobody knows.
  case flood
}

/// An entry of a LAN's forwarding tables: frames to this address go there.
public struct LANForwarding: Sendable, Equatable {
  /// All zeroes in an entry that floods.
  public var mac: String
  /// The port of the bridge.
  public var interface: String
  /// The other host's tunnel endpoint; nil for a local one.
  public var destination: String?
  public var kind: LANForwardingKind
  /// Set, and not forgotten with time as learned ones are.
  public var isStatic: Bool

  public init(
    mac: String, interface: String, destination: String? = nil, kind: LANForwardingKind, isStatic: Bool
  ) {
    self.mac = mac
    self.interface = interface
    self.destination = destination
    self.kind = kind
    self.isStatic = isStatic
  }
}

extension LANForwarding: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    mac = try reader.string("mac")
    interface = try reader.string("interface")
    destination = try reader.optionalString("destination")
    kind = try reader.choice("kind")
    isStatic = try reader.bool("static")
  }

  public var json: JSON {
    var object: JSONObject = ["mac": .string(mac), "interface": .string(interface)]
    object.append("destination", destination.map(JSON.string))
    object.append("kind", .string(kind.rawValue))
    object.append("static", .bool(isStatic))
    return .object(object)
  }
}

/// An interface of the host that is to join a LAN: the body of `POST /v1/lans/NAME/interfaces`.
public struct AttachRequest: Sendable, Equatable {
  public var interface: String

  public init(interface: String) {
    self.interface = interface
  }
}

extension AttachRequest: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: ["interface"])
    interface = try reader.string("interface")
  }

  public var json: JSON { ["interface": .string(interface)] }
}
