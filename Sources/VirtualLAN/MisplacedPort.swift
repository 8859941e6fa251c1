/// A guest's tap that is not a port of the bridge it belongs to, though both are there: somebody took it out, or deleted
/// the bridge and made it again.
public struct MisplacedPort: Hashable, Sendable {
  public let tap: InterfaceName
  public let tapIndex: InterfaceIndex
  /// The bridge that it is a port of instead; nil when it is none's.
  public let elsewhere: InterfaceIndex?
  public let bridge: InterfaceName
  public let bridgeIndex: InterfaceIndex
  /// In bytes. A port below it would lower it for all who are on the bridge.
  public let bridgeMTU: Int

  /// Pure.
  ///
  /// - Parameters:
  ///   - wanted: guests' taps, and the names of the bridges they belong to.
  ///   - links: every interface of the host. A tap or a bridge that is not among them is left out.
  public static func find(
    wanted: [(tap: InterfaceName, bridge: InterfaceName)], links: [Link]
  ) -> [MisplacedPort] {
    let byName = Dictionary(links.map { ($0.name, $0) }) { first, _ in first }
    return wanted.compactMap { port in
      guard let tap = byName[port.tap], let bridge = byName[port.bridge], bridge.isBridge,
        tap.master != bridge.index || !tap.isUp
      else { return nil }
      return MisplacedPort(
        tap: tap.name, tapIndex: tap.index, elsewhere: tap.master.flatMap { $0 == bridge.index ? nil : $0 },
        bridge: bridge.name, bridgeIndex: bridge.index, bridgeMTU: Int(bridge.mtu))
    }
  }
}

extension HostNetwork {
  /// Puts taps back into the bridges they belong to.
  public func putBack(_ ports: [MisplacedPort]) throws(NetlinkError) {
    try join(ports.map { (tap: $0.tap, bridge: $0.bridgeIndex, bridgeMTU: $0.bridgeMTU) })
  }
}
