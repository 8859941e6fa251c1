import NetworkAddresses
import VirtualLAN

extension Plugin {
  /// CHECK: whether everything is as ADD left it, as far as later plug-ins of a chain did not change it, which
  /// `prevResult` tells.
  func check() throws(CNIError) {
    let id = try id
    guard let expected = try configuration.previousResult() else {
      throw CNIError(.invalidConfiguration, "prevResult: missing")
    }
    guard let record = try CNIError.wrapping({ try attachments.load(id) }) else {
      throw .refused("CNI_CONTAINERID", "not attached by this plug-in", id.container, code: .changed)
    }
    let namespace = try containerNamespace()
    let lan = try definition(of: try configuration.lan())
    let network = try network()
    try CNIError.wrapping {
      let host = try HostInspection(lan: lan, record: record, network: network).run()
      var socket = try RouteSocket(namespace: namespace.descriptor)
      try ContainerInspection(record: record, expected: expected).run(&socket, host: host)
    }
    try addressManager()?.perform("CHECK")
  }
}

/// What is not as it was left.
private func changed(_ subject: String, _ what: String) -> CNIError { CNIError(.changed, "\(subject): \(what)") }

/// The host's side of an attachment, looked at.
private struct HostInspection {
  let lan: LANDefinition
  let record: AttachmentRecord
  let network: HostNetwork

  /// - Returns: the host's end of the pair.
  func run() throws -> Link {
    guard record.bridge == lan.bridge else {
      throw changed("lan", "made anew since, with the bridge '\(lan.bridge)' instead of '\(record.bridge)'")
    }
    let name = record.id.hostInterface
    guard let bridge = try network.link(named: lan.bridge), bridge.isBridge else {
      throw changed("bridge '\(lan.bridge)'", "not there")
    }
    guard bridge.isUp else { throw changed("bridge '\(lan.bridge)'", "down") }
    guard let host = try network.link(named: name) else { throw changed("host interface '\(name)'", "not there") }
    guard host.master == bridge.index else {
      throw changed("host interface '\(name)'", "no port of the bridge '\(lan.bridge)'")
    }
    guard host.isUp else { throw changed("host interface '\(name)'", "down") }
    guard host.mtu >= bridge.mtu else {
      throw changed("host interface '\(name)'", "its MTU is \(host.mtu), the LAN's \(bridge.mtu)")
    }
    try checkForwarding(host)
    if lan.mode != .local { try checkTunnel(bridge) }
    return host
  }

  /// The entry by which other hosts know the container.
  private func checkForwarding(_ host: Link) throws {
    guard let mac = record.mac else {
      throw changed("host interface '\(host.name)'", "ADD did not come to its end")
    }
    let table = try network.query { socket throws(NetlinkError) in try socket.forwardingTable(of: host.index) }
    guard table.contains(where: { $0.mac == mac && $0.scope == .master && $0.state == .static }) else {
      throw changed("host interface '\(host.name)'", "no static forwarding entry for \(mac)")
    }
  }

  private func checkTunnel(_ bridge: Link) throws {
    guard let vxlan = try network.link(named: lan.vxlan), vxlan.master == bridge.index else {
      throw changed("VXLAN interface '\(lan.vxlan)'", "no port of the bridge '\(lan.bridge)'")
    }
    guard vxlan.isUp else { throw changed("VXLAN interface '\(lan.vxlan)'", "down") }
  }
}

/// A container's side of an attachment, looked at from inside its namespace.
private struct ContainerInspection {
  let record: AttachmentRecord
  let expected: AttachmentResult

  private var subject: String { "interface '\(record.id.interface)'" }

  func run(_ socket: inout RouteSocket, host: Link) throws {
    let name = record.id.interface.description
    guard let position = expected.interfaces.firstIndex(where: { $0.name == name && $0.sandbox != nil }) else {
      throw CNIError(.invalidConfiguration, "prevResult.interfaces: no interface of the container: '\(name)'")
    }
    guard let link = try socket.link(named: record.id.interface), link.peerIndex == host.index else {
      throw changed(subject, "not there")
    }
    guard link.isUp else { throw changed(subject, "down") }
    try check(link, against: expected.interfaces[position])
    let routes = expected.routes
    try check(expected.addresses.filter { $0.interface == position }.map(\.address), of: link, &socket)
    for route in routes { try check(route, &socket) }
  }

  private func check(_ link: Link, against interface: AttachmentResult.Interface) throws {
    let mac = interface.mac.flatMap { MACAddress($0) } ?? record.mac
    if let mac, link.address != mac {
      throw changed(subject, "its address is \(link.address?.description ?? "none"), not \(mac)")
    }
    // Where the result has no place for it (before 1.1.0), a later plug-in could not say that it changed it.
    if let mtu = interface.mtu, Int(link.mtu) != mtu {
      throw changed(subject, "its MTU is \(link.mtu), not \(mtu)")
    }
  }

  private func check(_ addresses: [IPInterface], of link: Link, _ socket: inout RouteSocket) throws {
    guard !addresses.isEmpty else { return }
    let present = try socket.addresses().filter { $0.index == link.index }
    for address in addresses where !present.contains(where: { $0.address == address }) {
      throw changed(subject, "without its address \(address)")
    }
  }

  /// Whether anything leads to the destination. Which way it leads, and for whom, is for the whole chain to say: a
  /// later plug-in may have moved the route to a table of its own.
  private func check(_ route: AttachmentResult.Route, _ socket: inout RouteSocket) throws {
    let destination = route.destination
    let network = IPInterface(address: destination.network, prefixLength: destination.prefixLength)
    let sought = destination.prefixLength == 0 ? nil : network
    let routes = try socket.routesOfAllTables(isIPv6: destination.address.isIPv6)
    if routes.contains(where: { !$0.isLocal && $0.destination == sought }) { return }
    // Or a wider one, which was there before.
    if try sought != nil && socket.route(to: destination.network) != nil { return }
    throw changed("the container", "without its route to \(destination)")
  }
}
