import Glibc
import NetworkAddresses

/// This host's end of a LAN's tunnels: the address VXLAN is sent from, and the interface by which it leaves.
public struct Underlay: Hashable, Sendable {
  public let address: IPAddress
  public let device: InterfaceName
  /// What fits the way out, in bytes.
  public let deviceMTU: Int

  /// What is left for frames on a LAN, in bytes.
  public var mtu: Int { deviceMTU - VXLANSettings.overhead(overIPv6: address.isIPv6) }
}

extension LANWiring {
  /// The address that LANs are sent from where nothing else is said; nil when that cannot be told.
  public var automaticAddress: IPAddress? { try? network.automaticUnderlay().address }
}

extension HostFacts {
  /// Finds the host's end of a LAN's tunnels. A choice that was made once stays as long as the host has that address:
  /// the other hosts know it, and a VXLAN device with another would have to be made anew under its members.
  ///
  /// - Throws: `LANError` that names `vtep` or `device`; its kind is `unavailable` where waiting may help (an
  ///   interface or address that is not there yet).
  func underlay(of lan: LANDefinition) throws(LANError) -> Underlay {
    switch lan.underlay {
    case .address(let address): return try underlay(address)
    case .device(let name):
      let device = try link(.name(name))
      if let kept = try keptUnderlay(lan, on: device) { return kept }
      return try underlay(on: name, device)
    case .automatic:
      if let kept = try keptUnderlay(lan, on: nil) { return kept }
      return try automaticUnderlay()
    }
  }

  /// The choice that was written down or, where none was, the one that the LAN's VXLAN device was made with.
  private func keptUnderlay(_ lan: LANDefinition, on device: Link?) throws(LANError) -> Underlay? {
    var address = lan.chosen
    if address == nil { address = try laidAddress(lan) }
    guard let address, let holder = try holder(of: address), device == nil || device?.index == holder else {
      return nil
    }
    // Somebody else on the link has it.
    if address.isIPv6, try addresses(of: holder).contains(where: { $0.isDuplicate(of: address) }) { return nil }
    return try underlay(address)
  }

  private func laidAddress(_ lan: LANDefinition) throws(LANError) -> IPAddress? {
    guard let vxlan = try link(.name(lan.vxlan)), vxlan.group == LANWiring.group(of: lan) else { return nil }
    return vxlan.vxlan?.local
  }

  private func underlay(_ address: IPAddress) throws(LANError) -> Underlay {
    guard let holder = try holder(of: address), let link = try link(.index(holder)) else {
      throw .refused("vtep", "not an address of this host", address, as: .unavailable)
    }
    return try underlay(address, on: link)
  }

  /// An address of a loopback or a dummy belongs to the host, and packets leave where routing says.
  private func underlay(_ address: IPAddress, on link: Link) throws(LANError) -> Underlay {
    let isVirtual = link.flags.contains(.loopback) || link.kind == .dummy
    if isVirtual, let way = try wayOut(isIPv6: address.isIPv6) {
      return Underlay(address: address, device: way.device, deviceMTU: way.mtu)
    }
    if link.flags.contains(.loopback) {
      throw .refused(
        "vtep", "is on '\(link.name)', and no default route tells by which interface VXLAN leaves", address,
        as: .unavailable)
    }
    return Underlay(address: address, device: link.name, deviceMTU: Int(link.mtu))
  }

  /// The narrowest of the preferred default routes; nil without one.
  private func wayOut(isIPv6: Bool) throws(LANError) -> (device: InterfaceName, mtu: Int)? {
    let routes = try defaultRoutes().filter { $0.isIPv6 == isIPv6 }
    var narrowest: (device: InterfaceName, mtu: Int)?
    for route in routes where route.metric == routes.first?.metric {
      guard let link = try link(.index(route.device)), !link.flags.contains(.loopback) else { continue }
      let mtu = Int(route.mtu ?? link.mtu)
      if narrowest.map({ mtu < $0.mtu }) != false { narrowest = (link.name, mtu) }
    }
    return narrowest
  }

  private func underlay(on name: InterfaceName, _ device: Link?) throws(LANError) -> Underlay {
    guard let device else { throw .refused("device", "no such interface", name, as: .unavailable) }
    guard let address = try choosableAddresses(of: device.index).first else {
      throw .refused("device", "has no address to send VXLAN from", name, as: .unavailable)
    }
    return try underlay(address, on: device)
  }

  /// The default route's interface; without such a route the only one with an address, virtual ones counting only
  /// where there is no other.
  func automaticUnderlay() throws(LANError) -> Underlay {
    let routes = try defaultRoutes()
    let candidates = routes.isEmpty ? try interfacesWithAddresses() : routes.map(\.device)
    for device in candidates {
      guard let address = try choosableAddresses(of: device).first, let link = try link(.index(device)) else {
        continue
      }
      return try underlay(address, on: link)
    }
    throw LANError(.unavailable, "vtep: this host has no address to send VXLAN from", field: "vtep")
  }

  private func interfacesWithAddresses() throws(LANError) -> [InterfaceIndex] {
    let all = Set(try addresses(of: nil).filter(\.isChoosable).map(\.index))
    let hardware = all.intersection(try everyLink().filter { $0.kind == nil }.map(\.index))
    let candidates = hardware.isEmpty ? all : hardware
    guard candidates.count <= 1 else {
      throw LANError(
        .invalid,
        "vtep: several interfaces have addresses and no default route tells which to use: give --vtep or --device",
        field: "vtep")
    }
    return Array(candidates)
  }

  /// Addresses that other hosts can send to for long, IPv4 first.
  private func choosableAddresses(of index: InterfaceIndex) throws(LANError) -> [IPAddress] {
    let choosable = try addresses(of: index).filter(\.isChoosable).map(\.address.address)
    return choosable.filter { !$0.isIPv6 } + choosable.filter(\.isIPv6)
  }
}

extension InterfaceAddress {
  /// Whether other hosts can be told to send to it: neither of this link or host only, nor one that is going, or not
  /// there for certain yet.
  fileprivate var isChoosable: Bool {
    let own = address.address
    guard !own.isLoopback, !own.isLinkLocal, !own.isMulticast else { return false }
    // Of IPv4 the flag says no more than that another of the same network came first.
    let passing: AddressFlags = own.isIPv6 ? [.secondary, .deprecated, .tentative, .duplicated] : .deprecated
    return flags.isDisjoint(with: passing)
  }

  fileprivate func isDuplicate(of address: IPAddress) -> Bool {
    self.address.address == address && flags.contains(.duplicated)
  }
}
