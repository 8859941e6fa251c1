import Glibc
import NetworkAddresses
import VirtualLAN

/// A container's place on a LAN, as the host sees it. Everything here is done under the LAN's lock.
struct LANMembership {
  let network: HostNetwork

  /// The address of the host's end of every pair, as of guests' taps. The highest there is, so that a bridge,
  /// which takes the lowest of its ports' addresses, never changes its own when a container comes or goes.
  static let hostAddress = MACAddress("fe:ff:ff:ff:ff:ff")!

  /// What fits the LAN, in bytes. On a bridge that Megalos's own plug-in made it is the bridge's: its members
  /// send frames of that size.
  func mtu(of lan: LANDefinition, _ laid: LaidLAN) throws(CNIError) -> Int {
    let bridge = try CNIError.wrapping {
      try network.query { socket throws(NetlinkError) in try socket.link(index: laid.bridge) }
    }
    guard let bridge, bridge.group != LANWiring.group(of: lan) else { return laid.mtu }
    return Int(bridge.mtu)
  }

  /// What a container's interface is made with.
  struct Wish {
    var name: InterfaceName
    var mac: MACAddress
    /// In bytes.
    var mtu: Int
    /// A descriptor of its network namespace.
    var namespace: CInt
  }

  /// Makes the pair, its far end in the container, and puts the near end into the LAN, with an entry in the
  /// bridge's forwarding table by which the container is known before its first frame.
  ///
  /// - Parameter mtu: of the LAN, in bytes. The near end takes more, so that the bridge drops nothing in silence.
  func join(_ bridge: InterfaceIndex, host: InterfaceName, mtu: Int, _ wish: Wish) throws {
    // Down: the driver sets neither end up before both are there (veth_open in drivers/net/veth.c).
    let peer = VethPeer(name: wish.name, mtu: UInt32(wish.mtu), address: wish.mac, namespace: wish.namespace)
    try network.perform(
      .createVethPair(
        host: host, hostMTU: UInt32(LANLimits.portMTU(ofMemberWith: mtu)), hostMaster: bridge, peer: peer))
    guard let link = try network.link(named: host) else {
      throw NetlinkError.noSuchInterface(operation: "look up", name: host)
    }
    try network.perform([
      // Before it is up: an address given then stays.
      .changeLink(
        .index(link.index),
        LinkChange(addressGeneration: LinkChange.AddressGeneration.none, address: Self.hostAddress)),
      .changeLink(.index(link.index), LinkChange(isUp: true)),
    ])
    try announce(wish.mac, at: link.index)
    var container = try RouteSocket(namespace: wish.namespace)
    try container.perform(.changeLink(.name(wish.name), LinkChange(isUp: true)))
  }

  /// Adds the entry. One of the same address that was learned, from a frame or by a routing daemon, gives way:
  /// the container may have come from another host.
  private func announce(_ mac: MACAddress, at port: InterfaceIndex) throws {
    let entry = Self.entry(for: mac, at: port)
    do throws(NetlinkError) {
      try network.perform(.addForwarding(entry, mode: .create))
    } catch {
      guard error.code == EEXIST else { throw error }
      if let other = try owner(of: mac, beside: port) {
        throw CNIError(.alreadyAttached, "mac: taken by another member of the LAN, '\(other)': '\(mac)'")
      }
      try network.perform(.addForwarding(entry, mode: .replace))
    }
  }

  /// The other member here that an address was given to. What stands for another host is no member.
  private func owner(of mac: MACAddress, beside port: InterfaceIndex) throws(NetlinkError) -> InterfaceName? {
    try network.query { socket throws(NetlinkError) in
      let bridge = try socket.link(index: port)?.master
      for entry in try socket.forwardingTable(bridge: bridge) {
        guard entry.mac == mac, entry.scope == .master, entry.state != .dynamic, entry.device != port,
          let link = try socket.link(index: entry.device), link.kind != .vxlan
        else { continue }
        return link.name
      }
      return nil
    }
  }

  /// Static, so that it neither ages nor goes with the carrier, and is announced by a routing daemon, as a
  /// permanent one, which stands for the host itself, is not. It goes with the port.
  static func entry(for mac: MACAddress, at port: InterfaceIndex) -> ForwardingEntry {
    ForwardingEntry(device: port, mac: mac, scope: .master, state: .static)
  }

  /// What is left of a LAN after a member went.
  enum Rest: Hashable {
    /// It has other members, or its devices are not there.
    case inUse
    /// Its devices are there, without a member.
    case empty
  }

  /// Sets a LAN's VXLAN device down if the LAN has no member here any more.
  func settle(_ lan: LANDefinition) throws(NetlinkError) -> Rest {
    guard let bridge = try network.link(named: lan.bridge), bridge.isBridge else { return .inUse }
    let ports = try network.query { socket throws(NetlinkError) in
      try socket.linksWithStatistics(master: bridge.index)
    }
    guard !ports.contains(where: { $0.name != lan.vxlan }) else { return .inUse }
    if let vxlan = ports.first, vxlan.isUp {
      try network.perform([.changeLink(.index(vxlan.index), LinkChange(isUp: false))])
    }
    return .empty
  }
}

extension HostNetwork {
  /// One request, with the kernel's refusal of it as the error.
  func perform(_ request: RouteRequest) throws(NetlinkError) {
    try query { socket throws(NetlinkError) in try socket.perform(request) }
  }
}
