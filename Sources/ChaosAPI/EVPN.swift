/// How this host takes part in BGP EVPN: the body of `PUT /v1/evpn`.
///
/// Reading one checks its shape only (known keys, right types); `validate()` checks the values.
public struct EVPNRequest: Sendable, Equatable {
  /// The autonomous system number, the same on every host (RFC 6793: 32 bits).
  public var asNumber: Int
  /// Pass the other hosts' routes on to one another (RFC 4456), and take them as neighbours as they come.
  public var reflector: Bool
  /// The IP addresses of the reflectors; none for a reflector.
  public var neighbors: [String]
  /// The prefixes a reflector takes neighbours from. None: every address, of IPv4 and IPv6.
  public var listen: [String]

  public init(asNumber: Int, reflector: Bool = false, neighbors: [String] = [], listen: [String] = []) {
    self.asNumber = asNumber
    self.reflector = reflector
    self.neighbors = neighbors
    self.listen = listen
  }
}

extension EVPNRequest: JSONConvertible {
  static let keys = ["as", "reflector", "neighbors", "listen"]

  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: Self.keys)
    asNumber = try reader.integer("as")
    reflector = try reader.optionalBool("reflector") ?? false
    neighbors = try reader.strings("neighbors")
    listen = try reader.strings("listen")
  }

  /// What is as it would be anyway is left out.
  public var json: JSON {
    var object: JSONObject = ["as": .number(asNumber)]
    object.append("reflector", reflector ? true : nil)
    object.append("neighbors", neighbors.isEmpty ? nil : .strings(neighbors))
    object.append("listen", listen.isEmpty ? nil : .strings(listen))
    return .object(object)
  }
}

/// A BGP session with another host.
public struct EVPNSession: Sendable, Equatable {
  /// The other's IP address.
  public var neighbor: String
  /// As BGP names it (RFC 4271, section 8.2.2): `Established`, `Active`, ...
  public var state: String
  /// Nil while there is none.
  public var uptimeSeconds: Int?
  /// How many routes it announces; nil while there is no session.
  public var routesReceived: Int?

  public init(neighbor: String, state: String, uptimeSeconds: Int? = nil, routesReceived: Int? = nil) {
    self.neighbor = neighbor
    self.state = state
    self.uptimeSeconds = uptimeSeconds
    self.routesReceived = routesReceived
  }
}

extension EVPNSession: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    neighbor = try reader.string("neighbor")
    state = try reader.string("state")
    uptimeSeconds = try reader.optionalInteger("uptimeSeconds")
    routesReceived = try reader.optionalInteger("routesReceived")
  }

  public var json: JSON {
    var object: JSONObject = ["neighbor": .string(neighbor), "state": .string(state)]
    object.append("uptimeSeconds", uptimeSeconds.map { .number($0) })
    object.append("routesReceived", routesReceived.map { .number($0) })
    return .object(object)
  }
}

/// What an EVPN route tells.
public enum EVPNRouteKind: String, Sendable, CaseIterable {
  /// Where a MAC address is (RFC 7432, section 7.2: type 2).
  case mac
  /// That a host has members of the LAN (RFC 7432, section 7.3: type 3).
  case vtep
}

/// One thing that hosts announce to one another.
public struct EVPNRoute: Sendable, Equatable {
  public var vni: Int
  public var kind: EVPNRouteKind
  /// Of a `mac` route only.
  public var mac: String?
  /// The announcing host's tunnel endpoint.
  public var vtep: String
  /// Announced by this host.
  public var isLocal: Bool
  /// No longer announced, as the session was lost; kept until it is known whether it still holds.
  public var held: Bool

  public init(
    vni: Int, kind: EVPNRouteKind, mac: String? = nil, vtep: String, isLocal: Bool, held: Bool = false
  ) {
    self.vni = vni
    self.kind = kind
    self.mac = mac
    self.vtep = vtep
    self.isLocal = isLocal
    self.held = held
  }
}

extension EVPNRoute: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    vni = try reader.integer("vni")
    kind = try reader.choice("kind")
    mac = try reader.optionalString("mac")
    vtep = try reader.string("vtep")
    isLocal = try reader.bool("local")
    held = try reader.bool("held")
  }

  public var json: JSON {
    var object: JSONObject = ["vni": .number(vni), "kind": .string(kind.rawValue)]
    object.append("mac", mac.map(JSON.string))
    object.append("vtep", .string(vtep))
    object.append("local", .bool(isLocal))
    object.append("held", .bool(held))
    return .object(object)
  }
}

/// How this host takes part in BGP EVPN, and what is known by it.
public struct EVPNStatus: Sendable, Equatable {
  public var enabled: Bool
  /// The autonomous system number; nil where EVPN is not enabled.
  public var asNumber: Int?
  public var reflector: Bool
  /// As they were given.
  public var neighbors: [String]
  /// As they were given.
  public var listen: [String]
  public var sessions: [EVPNSession]
  public var routes: [EVPNRoute]
  /// What is not as it should be, in one line each.
  public var problems: [String]

  public init(
    enabled: Bool, asNumber: Int? = nil, reflector: Bool = false, neighbors: [String] = [],
    listen: [String] = [], sessions: [EVPNSession] = [], routes: [EVPNRoute] = [], problems: [String] = []
  ) {
    self.enabled = enabled
    self.asNumber = asNumber
    self.reflector = reflector
    self.neighbors = neighbors
    self.listen = listen
    self.sessions = sessions
    self.routes = routes
    self.problems = problems
  }
}

extension EVPNStatus: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    enabled = try reader.bool("enabled")
    asNumber = try reader.optionalInteger("as")
    reflector = try reader.bool("reflector")
    neighbors = try reader.strings("neighbors")
    listen = try reader.strings("listen")
    sessions = try reader.array("sessions")
    routes = try reader.array("routes")
    problems = try reader.strings("problems")
  }

  public var json: JSON {
    var object: JSONObject = ["enabled": .bool(enabled)]
    object.append("as", asNumber.map { .number($0) })
    object.append("reflector", .bool(reflector))
    object.append("neighbors", .strings(neighbors))
    object.append("listen", .strings(listen))
    object.append("sessions", .list(sessions))
    object.append("routes", .list(routes))
    object.append("problems", .strings(problems))
    return .object(object)
  }
}
