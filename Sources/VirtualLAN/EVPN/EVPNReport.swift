import ChaosAPI
import NetworkAddresses

/// A BGP session for EVPN, as bgpd tells it.
public struct EVPNPeering: Hashable, Sendable {
  public let neighbor: IPAddress
  /// As BGP names it (RFC 4271 section 8.2.2): "Established", "Active", ...
  public let state: String
  /// Since it was established, in seconds; nil while it is not.
  public let uptimeSeconds: Int?
  /// Nil while there is no session.
  public let routesReceived: Int?

  public var isEstablished: Bool { state == "Established" }
}

/// What one host announced to the others.
public struct EVPNAnnouncement: Hashable, Sendable {
  public let vni: VNI
  /// The station that is behind the VTEP (RFC 7432 section 7.2); nil for the VTEP as such, to which what is for
  /// everybody goes (section 7.3).
  public let mac: MACAddress?
  public let vtep: IPAddress
  /// By this host.
  public let isLocal: Bool
}

/// Reads what FRR's daemons print for programs. Total: what is not as expected is left out.
enum EVPNReport {
  /// Reads `show bgp l2vpn evpn summary json`: the sessions, by address. An empty object stands for none.
  static func peerings(_ text: String) -> [EVPNPeering] {
    guard let json = try? JSON(parsing: text), case .object(let peers)? = json["peers"] else { return [] }
    return peers.members.compactMap { peering($0.key, $0.value) }.sorted { $0.neighbor < $1.neighbor }
  }

  private static func peering(_ name: String, _ json: JSON) -> EVPNPeering? {
    guard let neighbor = IPAddress(name), case .string(let state)? = json["state"] else { return nil }
    let isEstablished = state == "Established"
    return EVPNPeering(
      neighbor: neighbor, state: state,
      uptimeSeconds: isEstablished ? json.count("peerUptimeMsec").map { $0 / 1000 } : nil,
      routesReceived: isEstablished ? json.count("pfxRcd") : nil)
  }

  /// Reads `show bgp l2vpn evpn route json`: the best path of each MAC address and VTEP, by VNI.
  static func routes(_ text: String) -> [EVPNAnnouncement] {
    guard let json = try? JSON(parsing: text), case .object(let distinguishers) = json else { return [] }
    var found: Set<EVPNAnnouncement> = []
    for distinguisher in distinguishers.members {
      guard case .object(let prefixes) = distinguisher.value else { continue }
      for prefix in prefixes.members {
        guard case .array(let groups)? = prefix.value["paths"] else { continue }
        for case .array(let paths) in groups {
          for path in paths where path["bestpath"] == .bool(true) {
            if let route = announcement(path) { found.insert(route) }
          }
        }
      }
    }
    return found.sorted { $0.order < $1.order }
  }

  private static func announcement(_ path: JSON) -> EVPNAnnouncement? {
    guard let vni = vni(of: path), case .array(let hops)? = path["nexthops"],
      case .string(let hop)? = hops.first?["ip"], let vtep = IPAddress(hop)
    else { return nil }
    // The routes of this host have no peer.
    let isLocal = path["peerId"] == .string("(unspec)")
    switch path["routeType"] {
    case .integer(2):
      guard case .string(let text)? = path["mac"], let mac = MACAddress(text) else { return nil }
      return EVPNAnnouncement(vni: vni, mac: mac, vtep: vtep, isLocal: isLocal)
    case .integer(3): return EVPNAnnouncement(vni: vni, mac: nil, vtep: vtep, isLocal: isLocal)
    default: return nil
    }
  }

  /// The VNI is the second half of the route target that FRR derives from it, `RT:AS:VNI` (RFC 8365 section 5.1.2.1).
  private static func vni(of path: JSON) -> VNI? {
    guard case .string(let communities)? = path["extendedCommunity"]?["string"] else { return nil }
    for community in communities.split(separator: " ") where community.hasPrefix("RT:") {
      if let number = community.split(separator: ":").last.flatMap({ UInt32($0) }) { return VNI(rawValue: number) }
    }
    return nil
  }
}

extension EVPNAnnouncement {
  fileprivate var order: (UInt32, UInt64, IPAddress, Int) {
    (vni.rawValue, mac?.rawValue ?? 0, vtep, isLocal ? 0 : 1)
  }
}

extension JSON {
  fileprivate func count(_ key: String) -> Int? {
    guard case .integer(let value)? = self[key] else { return nil }
    return Int(exactly: value)
  }
}
