import NetworkAddresses

/// How this host takes part in BGP EVPN (RFC 7432, RFC 8365): one autonomous system, all sessions inside it.
public struct EVPNSettings: Hashable, Sendable {
  public enum Role: Hashable, Sendable {
    /// Passes routes on between the other hosts (RFC 4456), and takes those that connect from these prefixes as
    /// neighbours. No prefix stands for every address there is.
    case reflector(listen: [IPInterface])
    /// Has sessions with these reflectors.
    case client(neighbors: [IPAddress])
  }

  /// The same on every host (RFC 6793: 32 bits, zero is nobody's).
  public let asNumber: UInt32
  public let role: Role

  /// Repeated neighbours and prefixes count once; of a prefix only the network counts. Their order is none of the
  /// asker's: FRR has one of its own, and what runs is compared with what is wanted.
  ///
  /// - Throws: `EVPNError` of the kind `invalid` that names `as`, `neighbor` or `listen`.
  public init(asNumber: UInt32, role: Role) throws(EVPNError) {
    guard asNumber != 0 else { throw EVPNError(.invalid, "as: nobody's number: '0'", field: "as") }
    self.asNumber = asNumber
    switch role {
    case .reflector(let listen):
      let networks = Self.sorted(listen.map(Self.network))
      self.role = .reflector(listen: networks == Self.everywhere ? [] : networks)
    case .client(let neighbors):
      guard !neighbors.isEmpty else {
        throw EVPNError(.invalid, "neighbor: none given, and this host is no reflector", field: "neighbor")
      }
      for neighbor in neighbors where !Self.canBeNeighbor(neighbor) {
        throw EVPNError(.invalid, "neighbor: no address of another host: '\(neighbor)'", field: "neighbor")
      }
      self.role = .client(neighbors: Set(neighbors).sorted())
    }
  }

  var isReflector: Bool {
    if case .reflector = role { true } else { false }
  }

  /// The prefixes to listen to, as FRR is told them.
  var ranges: [IPInterface] {
    guard case .reflector(let listen) = role else { return [] }
    return listen.isEmpty ? Self.everywhere : listen
  }

  var neighbors: [IPAddress] {
    guard case .client(let neighbors) = role else { return [] }
    return neighbors
  }

  static let everywhere = [IPInterface("0.0.0.0/0")!, IPInterface("::/0")!]

  private static func canBeNeighbor(_ address: IPAddress) -> Bool {
    !address.isMulticast && !address.isUnspecified && !address.isLoopback && !address.isLinkLocal
      && !address.isBroadcast
  }

  private static func network(of interface: IPInterface) -> IPInterface {
    IPInterface(address: interface.network, prefixLength: interface.prefixLength) ?? interface
  }

  private static func sorted(_ networks: [IPInterface]) -> [IPInterface] {
    Set(networks).sorted { ($0.address, $0.prefixLength) < ($1.address, $1.prefixLength) }
  }
}
