import NetworkAddresses

/// One look at all that LANs stand on and consist of: the interfaces of the host, its addresses, its default routes,
/// the forwarding tables. A value: what is concluded from it needs no kernel.
public struct HostSnapshot: HostFacts, Sendable {
  public let links: [Link]
  /// Bridges that hand nothing to the host, by their filters; nil where that was not looked at.
  let sealed: Set<InterfaceIndex>?
  private let byIndex: [InterfaceIndex: Link]
  private let byName: [InterfaceName: Link]
  private let byMaster: [InterfaceIndex: [Link]]
  private let addresses: [InterfaceAddress]
  private let routes: [Route]
  private let byBridge: [InterfaceIndex: [ForwardingEntry]]
  private let byDevice: [InterfaceIndex: [ForwardingEntry]]

  init(
    links: [Link], addresses: [InterfaceAddress] = [], routes: [Route] = [], forwarding: [ForwardingEntry] = [],
    sealed: Set<InterfaceIndex>? = nil
  ) {
    self.links = links
    self.addresses = addresses
    self.routes = routes
    self.sealed = sealed
    byIndex = Dictionary(links.map { ($0.index, $0) }) { first, _ in first }
    // What is called so goes before what is also called so.
    let others = links.flatMap { link in link.alternativeNames.compactMap { InterfaceName($0) }.map { ($0, link) } }
    byName = Dictionary(links.map { ($0.name, $0) } + others) { first, _ in first }
    byMaster = Dictionary(grouping: links.filter { $0.master != nil }) { $0.master ?? $0.index }
    byBridge = Dictionary(grouping: forwarding.filter { $0.master != nil }) { $0.master ?? $0.device }
    byDevice = Dictionary(grouping: forwarding.filter { $0.scope == .device }, by: \.device)
  }

  func link(_ reference: LinkReference) -> Link? {
    switch reference {
    case .index(let index): byIndex[index]
    case .name(let name): byName[name]
    }
  }

  func everyLink() -> [Link] { links }

  /// Those whose interfaces are there.
  public func present(_ ports: [LANPort]) -> [LANPort] { ports.filter { byName[$0.interface] != nil } }

  func addresses(of device: InterfaceIndex?) -> [InterfaceAddress] {
    device == nil ? addresses : addresses.filter { $0.index == device }
  }

  func holder(of address: IPAddress) -> InterfaceIndex? {
    addresses.first { $0.address.address == address }?.index
  }

  func defaultRoutes() -> [Route] { routes }

  /// The ports of a bridge.
  func ports(of bridge: InterfaceIndex) -> [Link] { byMaster[bridge] ?? [] }

  /// What a bridge knows.
  func forwarding(of bridge: InterfaceIndex) -> [ForwardingEntry] { byBridge[bridge] ?? [] }

  /// What a VXLAN device knows for itself.
  func forwarding(ofDevice device: InterfaceIndex) -> [ForwardingEntry] { byDevice[device] ?? [] }
}

extension HostSnapshot {
  /// Whether the host's routes have a say in where a LAN is sent from, or how much fits the way. On a router they are
  /// many, and take long to list.
  fileprivate func needsRoutes(_ lan: LANDefinition) -> Bool {
    guard lan.mode != .local else { return false }
    var address = lan.chosen
    if case .address(let given) = lan.underlay { address = given }
    guard let address, let holder = holder(of: address), let link = link(.index(holder)) else { return true }
    return link.flags.contains(.loopback) || link.kind == .dummy
  }
}

extension HostNetwork {
  /// Looks at everything that LANs stand on and consist of.
  ///
  /// - Parameter isThorough: also at the bridges' filters, one by one; otherwise they count as right.
  public func snapshot(for lans: [LANDefinition], isThorough: Bool) throws(LANError) -> HostSnapshot {
    try ask { socket throws(NetlinkError) in
      let links = try socket.links()
      let addresses = try socket.addresses()
      let known = HostSnapshot(links: links, addresses: addresses)
      let routes = lans.contains(where: known.needsRoutes) ? try socket.defaultRoutes() : []
      var sealed: Set<InterfaceIndex>?
      if isThorough {
        let bridges = lans.compactMap { known.link(.name($0.bridge)) }.filter(\.isBridge).map(\.index)
        sealed = []
        for bridge in bridges where try socket.ingressFilters(of: bridge).contains(where: \.dropsAll) {
          sealed?.insert(bridge)
        }
      }
      return HostSnapshot(
        links: links, addresses: addresses, routes: routes, forwarding: try socket.forwardingTable(), sealed: sealed
      )
    }
  }
}
