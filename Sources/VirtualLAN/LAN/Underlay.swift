import NetworkAddresses

/// This host's end of a LAN's tunnels: the address VXLAN is sent from, and the interface that carries it.
public struct Underlay: Hashable, Sendable {
  public let address: IPAddress
  public let device: InterfaceName
  /// Of the interface, in bytes.
  public let deviceMTU: Int

  /// What is left for frames on a LAN, in bytes.
  public var mtu: Int { deviceMTU - VXLANSettings.overhead(overIPv6: address.isIPv6) }
}

extension LANWiring {
  /// The address that LANs are sent from where nothing else is said; nil when that cannot be told.
  public var automaticAddress: IPAddress? { try? network.underlay(.automatic).address }
}

extension HostNetwork {
  /// Finds the host's end for a choice.
  ///
  /// - Throws: `LANError` that names `vtep` or `device`; its kind is `unavailable` where waiting may help (an
  ///   interface or address that is not there yet).
  func underlay(_ choice: LANDefinition.Underlay) throws(LANError) -> Underlay {
    switch choice {
    case .address(let address): try underlay(address)
    case .device(let name): try underlay(on: name)
    case .automatic: try automaticUnderlay()
    }
  }

  private func underlay(_ address: IPAddress) throws(LANError) -> Underlay {
    guard let holder = try holder(of: address), let link = try link(holder) else {
      throw .refused("vtep", "not an address of this host", address, as: .unavailable)
    }
    return Underlay(address: address, device: link.name, deviceMTU: Int(link.mtu))
  }

  private func holder(of address: IPAddress) throws(LANError) -> InterfaceIndex? {
    if let holder = try ask({ socket throws(NetlinkError) in try socket.holder(of: address) }) { return holder }
    // An interface that is down has its address all the same.
    return try addresses().first { $0.address.address == address }?.index
  }

  private func underlay(on name: InterfaceName) throws(LANError) -> Underlay {
    guard let link = try ask({ socket throws(NetlinkError) in try socket.link(named: name) }) else {
      throw .refused("device", "no such interface", name, as: .unavailable)
    }
    guard let address = try usableAddresses(of: link.index).first else {
      throw .refused("device", "has no address to send VXLAN from", name, as: .unavailable)
    }
    return Underlay(address: address, device: name, deviceMTU: Int(link.mtu))
  }

  /// The default route's interface; without such a route the only one with an address, virtual ones counting only
  /// where there is no other.
  private func automaticUnderlay() throws(LANError) -> Underlay {
    let routes = try ask { socket throws(NetlinkError) in try socket.defaultRoutes() }
    let candidates = routes.isEmpty ? try interfacesWithAddresses() : routes.map(\.device)
    for device in candidates {
      guard let address = try usableAddresses(of: device).first, let link = try link(device) else { continue }
      return Underlay(address: address, device: link.name, deviceMTU: Int(link.mtu))
    }
    throw LANError(.unavailable, "vtep: this host has no address to send VXLAN from", field: "vtep")
  }

  private func interfacesWithAddresses() throws(LANError) -> [InterfaceIndex] {
    let all = Set(try addresses().filter { Self.isUsable($0) }.map(\.index))
    let links = try ask { socket throws(NetlinkError) in try socket.links() }
    let hardware = all.intersection(links.filter { $0.kind == nil }.map(\.index))
    let candidates = hardware.isEmpty ? all : hardware
    guard candidates.count <= 1 else {
      throw LANError(
        .invalid,
        "vtep: several interfaces have addresses and no default route tells which to use: give --vtep or --device",
        field: "vtep")
    }
    return Array(candidates)
  }

  /// Addresses that other hosts can send to, IPv4 first.
  private func usableAddresses(of index: InterfaceIndex) throws(LANError) -> [IPAddress] {
    let usable = try addresses(of: index).filter { Self.isUsable($0) }.map(\.address.address)
    return usable.filter { !$0.isIPv6 } + usable.filter(\.isIPv6)
  }

  private static func isUsable(_ entry: InterfaceAddress) -> Bool {
    let address = entry.address.address
    return !address.isLoopback && !address.isLinkLocal && !address.isMulticast
  }

  private func addresses(of device: InterfaceIndex? = nil) throws(LANError) -> [InterfaceAddress] {
    try ask { socket throws(NetlinkError) in try socket.addresses(of: device) }
  }

  private func link(_ index: InterfaceIndex) throws(LANError) -> Link? {
    try ask { socket throws(NetlinkError) in try socket.link(index: index) }
  }

  /// Asks the kernel, with failures in this layer's form.
  func ask<Answer: Sendable>(
    _ body: (inout RouteSocket) throws(NetlinkError) -> Answer
  ) throws(LANError) -> Answer {
    do throws(NetlinkError) {
      return try query(body)
    } catch {
      throw LANError(error)
    }
  }
}
