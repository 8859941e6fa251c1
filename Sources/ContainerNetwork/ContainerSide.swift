import CContainer
import Glibc
import NetworkAddresses
import VirtualLAN

/// A container's interface, as the container sees it.
struct ContainerSide {
  let interface: InterfaceName
  /// A descriptor of the container's network namespace.
  let namespace: CInt

  /// Gives the interface addresses and routes, and the container a way to each.
  func configure(_ result: AttachmentResult) throws(CNIError) {
    guard !result.addresses.isEmpty || !result.routes.isEmpty else { return }
    try enableIPv6(for: result)
    let routes = try routes(of: result)
    try CNIError.wrapping {
      var socket = try RouteSocket(namespace: namespace)
      guard let link = try socket.link(named: interface) else {
        throw NetlinkError.noSuchInterface(operation: "look up", name: interface)
      }
      for address in result.addresses {
        // Used at once: whoever gave it out knows who has it, and ADD would have to wait for it otherwise.
        try socket.perform(.addAddress(address.address, to: link.index, detectsDuplicates: false))
      }
      for route in routes { try add(route, through: link.index, &socket) }
    }
  }

  /// Some runtimes start containers with IPv6 switched off.
  private func enableIPv6(for result: AttachmentResult) throws(CNIError) {
    guard result.addresses.contains(where: { $0.address.address.isIPv6 }) else { return }
    let code = ccontainer_enable_ipv6(namespace, interface.description)
    guard code == 0 else {
      throw CNIError(.system, "enable IPv6 on '\(interface)': \(String(cString: strerror(-code)))")
    }
  }

  private struct Route {
    let destination: IPInterface
    let gateway: IPAddress?
  }

  /// The routes with the gateways they lack.
  private func routes(of result: AttachmentResult) throws(CNIError) -> [Route] {
    var routes: [Route] = []
    for (index, route) in result.routes.enumerated() {
      guard route.details == AttachmentResult.RouteDetails() else {
        throw CNIError(
          .delegate, "routes[\(index)]: only 'dst' and 'gw' are supported: \(quoted(route.destination.description))"
        )
      }
      let isIPv6 = route.destination.address.isIPv6
      let own = result.addresses.first { $0.address.address.isIPv6 == isIPv6 && $0.gateway != nil }?.gateway
      routes.append(Route(destination: route.destination, gateway: route.gateway ?? own))
    }
    return routes
  }

  /// A container that has a route of that destination by another interface keeps it.
  private func add(
    _ route: Route, through link: InterfaceIndex, _ socket: inout RouteSocket
  ) throws(NetlinkError) {
    let isDefault = route.destination.prefixLength == 0 && route.gateway != nil
    do throws(NetlinkError) {
      try socket.perform(
        .addRoute(destination: isDefault ? nil : route.destination, gateway: route.gateway, device: link))
    } catch {
      if error.code != EEXIST { throw error }
    }
  }
}
