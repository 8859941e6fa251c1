/// A guest's tap that is not as it should be at the bridge it belongs to, though both are there: somebody took it out, or
/// deleted the bridge and made it again; or it does not get all multicast frames yet.
///
/// A bridge that snoops passes multicast, once it hears a querier, to those who asked for it, and guests do not ask
/// (RFC 3810): not even for the neighbour solicitations that look for them. The bridge is not chaos's to change, but to a
/// port that is said to lead to a router it passes all.
public struct MisplacedPort: Hashable, Sendable {
  public let tap: InterfaceName
  public let tapIndex: InterfaceIndex
  /// The bridge that it is a port of instead; nil when it is none's.
  public let elsewhere: InterfaceIndex?
  public let bridge: InterfaceName
  public let bridgeIndex: InterfaceIndex
  /// Whether it is where it belongs and only lacks its settings as a port, which are made after it joined.
  public let isPlaced: Bool
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
        tap.master != bridge.index || !tap.isUp || tap.port?.isMulticastRouter == false
      else { return nil }
      return MisplacedPort(
        tap: tap.name, tapIndex: tap.index, elsewhere: tap.master.flatMap { $0 == bridge.index ? nil : $0 },
        bridge: bridge.name, bridgeIndex: bridge.index, isPlaced: tap.master == bridge.index && tap.isUp,
        bridgeMTU: Int(bridge.mtu))
    }
  }
}
