import Glibc
import NetworkAddresses

/// A LAN's devices as they are in the kernel now.
public struct LaidLAN: Hashable, Sendable {
  public let bridge: InterfaceIndex
  /// Nil for a local LAN.
  public let vxlan: InterfaceIndex?
  /// What members are told, in bytes.
  public let mtu: Int
  /// Nil for a local LAN.
  public let underlay: Underlay?
  /// Attached interfaces that are not there now.
  public let missing: [InterfaceName]
  /// Its devices were all made when it was laid out: nobody was on it but who is attached.
  public let isNew: Bool
}

/// Lays LANs out in the kernel: a bridge and, for all but local ones, a VXLAN device as one of its ports.
///
/// Everything here may be repeated: what is as it should be stays untouched, so that laying out again after a
/// restart disturbs no traffic. Callers hold the LAN's lock (``LANStore/lock(bridge:)``).
public struct LANWiring: Sendable {
  public let network: HostNetwork

  public init(network: HostNetwork) { self.network = network }

  private static let keptGroups: UInt32 = 0x63
  private static let passingGroups: UInt32 = 0x64

  /// The interface group (IFLA_GROUP) of a LAN's two devices, by which one message deletes both. The high byte
  /// tells chaos's groups from others, and LANs that are written down from those that are not.
  public static func group(of lan: LANDefinition) -> InterfaceGroup {
    let kind = lan.lifetime == .kept ? keptGroups : passingGroups
    return InterfaceGroup(rawValue: kind << 24 | lan.vni.rawValue)
  }

  // MARK: Lay out

  /// What a LAN is laid out on (nil: nothing, because it is local), and what its members are told, in bytes.
  public typealias Ground = (underlay: Underlay?, mtu: Int)

  /// What has to be true before anything is made: the underlay is there and leaves room for the MTU.
  public func check(_ lan: LANDefinition) throws(LANError) -> Ground {
    guard lan.mode != .local else { return (nil, lan.mtu ?? LANDefinition.localMTU) }
    let underlay = try network.underlay(lan.underlay)
    if lan.mode == .evpn, underlay.address.isIPv6 {
      throw .refused("vtep", "EVPN needs an IPv4 address (FRR carries no IPv6 VTEPs)", underlay.address)
    }
    for peer in lan.peers { try Self.check(peer.address, against: underlay.address) }
    guard underlay.mtu >= LANLimits.mtu.lowerBound else {
      throw .refused("device", "its MTU of \(underlay.deviceMTU) leaves no room for VXLAN", underlay.device)
    }
    if let mtu = lan.mtu, mtu > underlay.mtu {
      throw .refused(
        "mtu",
        "above the \(underlay.mtu) that \(underlay.device) leaves (its \(underlay.deviceMTU) less VXLAN's "
          + "\(VXLANSettings.overhead(overIPv6: underlay.address.isIPv6)))", mtu)
    }
    // Megalos leaves its pods the underlay's own MTU; what does not fit is sent in fragments or answered.
    return (underlay, lan.mtu ?? (lan.isMegalos ? underlay.deviceMTU : underlay.mtu))
  }

  /// What a peer's address must be.
  public static func check(_ peer: IPAddress, against vtep: IPAddress) throws(LANError) {
    guard peer.isIPv6 == vtep.isIPv6 else {
      throw .refused("address", "not of the family of this host's \(vtep)", peer)
    }
    guard peer != vtep else { throw .refused("address", "this host's own", peer) }
  }

  /// Brings a LAN's devices into the state its definition asks for, its VXLAN device up or down by whether it
  /// has members here.
  @discardableResult
  public func layOut(_ lan: LANDefinition) throws(LANError) -> LaidLAN {
    try layOut(lan, on: try check(lan))
  }

  /// - Parameter ground: what ``check(_:)`` found a moment ago.
  public func layOut(_ lan: LANDefinition, on ground: Ground) throws(LANError) -> LaidLAN {
    let bridge = try layBridge(lan, mtu: ground.mtu)
    var vxlan: Device?
    if let underlay = ground.underlay { vxlan = try layVXLAN(lan, underlay, bridge: bridge.index) }
    var missing: [InterfaceName] = []
    for name in lan.attached where try find(name) == nil { missing.append(name) }
    let laid = LaidLAN(
      bridge: bridge.index, vxlan: vxlan?.index, mtu: ground.mtu, underlay: ground.underlay, missing: missing,
      isNew: bridge.isNew && vxlan?.isNew != false)
    if lan.mode == .static, let vxlan { try layPeers(lan, on: vxlan) }
    for name in lan.attached where !missing.contains(name) { try join(name, laid) }
    // Settling looks at all interfaces of the host.
    if !laid.isNew || !lan.attached.isEmpty { try settle(laid) }
    return laid
  }

  /// A device of a LAN, found or made.
  private struct Device {
    let index: InterfaceIndex
    let isNew: Bool
  }

  private func layBridge(_ lan: LANDefinition, mtu: Int) throws(LANError) -> Device {
    if let index = try makeBridge(lan, mtu: mtu) { return Device(index: index, isNew: true) }
    guard let link = try find(lan.bridge), link.isBridge else {
      throw .refused("bridge", "an interface that is no bridge", lan.bridge, as: .conflict)
    }
    guard try isOurs(link, lan) else {
      throw .refused("bridge", "is there already and not this LAN's", lan.bridge, as: .conflict)
    }
    if link.group == Self.group(of: lan), !link.isUp || Int(link.mtu) != mtu {
      try setUp(link.index, lan.bridge, mtu: mtu)
    }
    return Device(index: link.index, isNew: false)
  }

  /// Makes a LAN's bridge and sets it up; nil when the name is taken.
  private func makeBridge(_ lan: LANDefinition, mtu: Int) throws(LANError) -> InterfaceIndex? {
    // Only a change of a bridge's MTU keeps it from following its ports' (br_change_mtu), so it is born with another.
    let other: UInt32 = mtu == 1500 ? 1501 : 1500
    let request = RouteRequest.createBridge(
      lan.bridge, mtu: other, group: Self.group(of: lan), defaultVLAN: 0)
    guard let index = try make(lan.bridge, request, field: "bridge") else { return nil }
    do throws(LANError) {
      try setUp(index, lan.bridge, mtu: mtu)
    } catch {
      try? perform([.deleteLink(.index(index))])
      throw error
    }
    return index
  }

  /// Makes an interface; nil when what it is known by is taken.
  private func make(
    _ name: InterfaceName, _ request: RouteRequest, field: String
  ) throws(LANError) -> InterfaceIndex? {
    do throws(NetlinkError) {
      try network.perform([request])
    } catch {
      if error.code == EEXIST { return nil }
      throw LANError(error)
    }
    guard let index = InterfaceIndex(of: name) else {
      throw .refused(field, "gone as soon as it was made", name, as: .system)
    }
    return index
  }

  /// A bridge made by somebody else is shared when the definition names it and its VXLAN port has the LAN's VNI
  /// and port, as on a node that Megalos's own plug-in runs on.
  private func isOurs(_ bridge: Link, _ lan: LANDefinition) throws(LANError) -> Bool {
    if bridge.group == Self.group(of: lan) { return true }
    guard let vxlan = try find(lan.vxlan), vxlan.master == bridge.index, let settings = vxlan.vxlan else {
      return false
    }
    return settings.vni == lan.vni && settings.port == lan.port
  }

  /// Sets a bridge up without a way from the LAN to the host itself: no IPv6, no answer to ARP, nothing routed,
  /// and every IPv4 source taken for spoofed, because no route leads back through it.
  private func setUp(_ index: InterfaceIndex, _ name: InterfaceName, mtu: Int) throws(LANError) {
    InterfaceSettings.disableIPv6(name)
    let change = LinkChange(
      isUp: true, mtu: UInt32(mtu),
      ipv4: IPv4Behaviour(forwards: false, reversePathFilter: 1, arpIgnore: 8))
    try perform([.changeLink(.index(index), change)])
  }

  private func layVXLAN(
    _ lan: LANDefinition, _ underlay: Underlay, bridge: InterfaceIndex
  ) throws(LANError) -> Device {
    let wanted = VXLANSettings(
      vni: lan.vni, local: underlay.address, port: lan.port, learns: lan.mode == .static)
    if let index = try makeVXLAN(lan, wanted, bridge: bridge) { return Device(index: index, isNew: true) }
    if let link = try find(lan.vxlan) {
      guard link.kind == .vxlan, link.group == Self.group(of: lan) || link.master == bridge else {
        throw .refused("vxlan", "an interface that is not this LAN's", lan.vxlan, as: .conflict)
      }
      if link.vxlan == wanted && link.master == bridge || link.group != Self.group(of: lan) {
        return Device(index: link.index, isNew: false)
      }
      // Address, port and VNI of a VXLAN device never change; a host that got another address needs another device.
      try perform([.deleteLink(.index(link.index))])
      if let index = try makeVXLAN(lan, wanted, bridge: bridge) { return Device(index: index, isNew: true) }
    }
    throw .refused("vni", "taken by another VXLAN interface of this host", lan.vni, as: .conflict)
  }

  /// Makes a LAN's VXLAN device as a port of its bridge; nil when the name is taken, or the VNI.
  private func makeVXLAN(
    _ lan: LANDefinition, _ settings: VXLANSettings, bridge: InterfaceIndex
  ) throws(LANError) -> InterfaceIndex? {
    let request = RouteRequest.createVXLAN(
      lan.vxlan, settings, mtu: VXLANSettings.largestMTU, group: Self.group(of: lan),
      master: bridge)
    guard let index = try make(lan.vxlan, request, field: "vxlan") else { return nil }
    InterfaceSettings.disableIPv6(lan.vxlan)
    if lan.mode == .evpn {
      // BGP alone says where a MAC is; what the bridge learned from a frame would outlive its withdrawal.
      try perform([.changeBridgePort(.index(index), BridgePortChange(learns: false))])
    }
    return index
  }

  // MARK: Peers

  /// Makes the forwarding table of a static LAN's VXLAN device say what its peer list says.
  private func layPeers(_ lan: LANDefinition, on vxlan: Device) throws(LANError) {
    let present = vxlan.isNew ? [] : try entries(of: vxlan.index)
    let wanted = lan.peers.flatMap { Self.entries(for: $0, on: vxlan.index) }
    let peers = Set(lan.peers.map(\.address))
    // What was learned from a peer stays as long as the peer does.
    let stale = present.filter { entry in
      let isLearned = entry.state == .dynamic && entry.destination.map { peers.contains($0) } == true
      return !isLearned && !wanted.contains { $0.isSamePlace(as: entry) }
    }
    let missing = wanted.filter { entry in !present.contains { $0.isSamePlace(as: entry) } }
    do throws(NetlinkError) {
      try network.perform(stale.flatMap { Self.removal(of: $0) })
    } catch {
      // It aged meanwhile.
      if error.code != ENOENT { throw LANError(error) }
    }
    try perform(missing.flatMap { Self.addition(of: $0) })
  }

  /// What leads from a VXLAN device to other hosts.
  private func entries(of vxlan: InterfaceIndex) throws(LANError) -> [ForwardingEntry] {
    try network.ask { socket throws(NetlinkError) in
      try socket.forwardingTable(of: vxlan, bridge: nil)
    }.filter { $0.destination != nil && $0.scope == .device }
  }

  /// One entry that floods to the peer, and one for each MAC known to be behind it.
  private static func entries(for peer: LANDefinition.Peer, on vxlan: InterfaceIndex) -> [ForwardingEntry] {
    [ForwardingEntry(device: vxlan, mac: .zero, destination: peer.address, scope: .device, state: .permanent)]
      + peer.macs.map {
        ForwardingEntry(device: vxlan, mac: $0, destination: peer.address, scope: .device, state: .static)
      }
  }

  private static func addition(of entry: ForwardingEntry) -> [RouteRequest] {
    if entry.mac == .zero { return [.addForwarding(entry, mode: .append)] }
    // Two tables: the bridge's leads to the VXLAN device, the device's to the host.
    let onBridge = ForwardingEntry(device: entry.device, mac: entry.mac, scope: .master, state: .static)
    return [.addForwarding(entry, mode: .replace), .addForwarding(onBridge, mode: .replace)]
  }

  private static func removal(of entry: ForwardingEntry) -> [RouteRequest] {
    if entry.mac == .zero || entry.state == .dynamic { return [.deleteForwarding(entry)] }
    let onBridge = ForwardingEntry(device: entry.device, mac: entry.mac, scope: .master, state: .static)
    return [.deleteForwarding(entry), .deleteForwarding(onBridge)]
  }

  // MARK: Members

  /// Puts an interface of the host into a LAN.
  private func join(_ name: InterfaceName, _ laid: LaidLAN) throws(LANError) {
    guard let link = try find(name) else {
      throw .refused("interface", "no such interface", name, as: .unavailable)
    }
    if link.master == laid.bridge && link.isUp { return }
    try perform([.changeLink(.index(link.index), LinkChange(master: .port(of: laid.bridge), isUp: true))])
  }

  /// Takes an interface of the host out of a LAN; nothing when it is not in it.
  public func release(_ name: InterfaceName, _ laid: LaidLAN) throws(LANError) {
    if let link = try find(name), link.master == laid.bridge {
      try perform([.changeLink(.index(link.index), LinkChange(master: LinkChange.Master.none))])
    }
    try settle(laid)
  }

  /// Refuses an interface that must not become a LAN's member: one the host itself is reached by, one that is in
  /// use elsewhere.
  public func checkAttachable(_ name: InterfaceName, to lan: LANDefinition) throws(LANError) -> Link {
    guard let link = try find(name) else { throw .refused("interface", "no such interface", name, as: .notFound) }
    let addresses = try network.ask { socket throws(NetlinkError) in try socket.addresses() }
    if let own = addresses.first(where: { $0.index == link.index && !$0.address.address.isLinkLocal }) {
      throw .refused("interface", "carries this host's own address \(own.address.address)", name, as: .conflict)
    }
    if link.kind == nil && link.address == nil {
      throw .refused("interface", "not an Ethernet interface", name)
    }
    if link.isBridge || link.kind == .vxlan {
      throw .refused("interface", "a \(link.kind?.rawValue ?? "") cannot be a LAN's member", name)
    }
    let mtu = try check(lan).mtu
    if Int(link.mtu) < mtu {
      throw .refused(
        "interface",
        "its MTU of \(link.mtu) is below the LAN's \(mtu), and a bridge drops what is too large unsaid",
        name, as: .conflict)
    }
    if let master = link.master, try find(lan.bridge)?.index != master {
      throw .refused("interface", "is a port of another interface already", name, as: .conflict)
    }
    return link
  }

  /// Sets the VXLAN device up if the LAN has a port here besides it and down if it has none, so that no host
  /// sends to one without a recipient. Returns how many ports there are.
  @discardableResult
  public func settle(_ laid: LaidLAN) throws(LANError) -> Int {
    let ports = try network.ask { socket throws(NetlinkError) in
      try socket.linksWithStatistics(master: laid.bridge)
    }
    guard let vxlan = laid.vxlan else { return ports.count }
    let members = ports.filter { $0.index != vxlan }.count
    if let link = ports.first(where: { $0.index == vxlan }), link.isUp != (members > 0) {
      try perform([.changeLink(.index(vxlan), LinkChange(isUp: members > 0))])
    }
    return members
  }

  // MARK: Remove

  /// Deletes a LAN's devices, both in one step: no kill leaves half of them. Ports that are left stand alone, and so
  /// do devices that chaos did not make, which are of no group of its own.
  public func remove(_ lan: LANDefinition) throws(LANError) {
    do throws(NetlinkError) {
      try network.perform([.deleteLinks(group: Self.group(of: lan))])
    } catch {
      if error.code != ENODEV { throw LANError(error) }
    }
  }

  /// Deletes the devices of LANs that nothing on disk speaks of any more.
  public func sweep(keeping lans: [LANDefinition]) throws(LANError) {
    let kept = Set(lans.map { Self.group(of: $0) })
    let links = try network.ask { socket throws(NetlinkError) in try socket.links() }
    let ours = Set(links.map(\.group).filter { $0.rawValue >> 24 == Self.keptGroups })
    try perform(ours.subtracting(kept).map { .deleteLinks(group: $0) })
  }

  private func find(_ name: InterfaceName) throws(LANError) -> Link? {
    try network.ask { socket throws(NetlinkError) in try socket.link(named: name) }
  }

  private func perform(_ requests: [RouteRequest]) throws(LANError) {
    do throws(NetlinkError) {
      try network.perform(requests)
    } catch {
      throw LANError(error)
    }
  }
}

extension ForwardingEntry {
  /// Whether both lead the same MAC to the same host.
  fileprivate func isSamePlace(as other: ForwardingEntry) -> Bool {
    mac == other.mac && destination == other.destination
  }
}
