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
  /// Attached interfaces that are not on it.
  public let waiting: [Waiting]
  /// Its devices were all made when it was laid out: nobody was on it but who is attached.
  public let isNew: Bool

  /// The same without an interface that is attached no more.
  public func without(_ interface: InterfaceName) -> LaidLAN {
    LaidLAN(
      bridge: bridge, vxlan: vxlan, mtu: mtu, underlay: underlay,
      waiting: waiting.filter { $0.interface != interface }, isNew: isNew)
  }

  /// An attached interface that is not on the LAN, and why.
  public struct Waiting: Hashable, Sendable {
    public let interface: InterfaceName
    /// One line that names the interface.
    public let reason: String
  }
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
  public func check(_ lan: LANDefinition) throws(LANError) -> Ground { try network.ground(of: lan) }

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
    let waiting = try layAttached(lan, on: bridge.index, mtu: ground.mtu)
    let laid = LaidLAN(
      bridge: bridge.index, vxlan: vxlan?.index, mtu: ground.mtu, underlay: ground.underlay, waiting: waiting,
      isNew: bridge.isNew && vxlan?.isNew != false)
    if lan.mode == .static, let vxlan { try layPeers(lan, on: vxlan) }
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
    if link.group == Self.group(of: lan) { try mend(link, mtu: mtu) }
    return Device(index: link.index, isNew: false)
  }

  /// Makes a LAN's bridge and sets it up; nil when the name is taken.
  private func makeBridge(_ lan: LANDefinition, mtu: Int) throws(LANError) -> InterfaceIndex? {
    // Only a change of a bridge's MTU keeps it from following its ports' (br_change_mtu), so it is born with another.
    let other: UInt32 = mtu == 1500 ? 1501 : 1500
    let request = RouteRequest.createBridge(
      lan.bridge, mtu: other, group: Self.group(of: lan), defaultVLAN: 0, snoopsMulticast: false)
    guard let index = try make(lan.bridge, request, field: "bridge") else { return nil }
    do throws(LANError) {
      try network.seal(index, lan.bridge, isNew: true)
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

  /// Gives a bridge of ours back what it was made with.
  private func mend(_ bridge: Link, mtu: Int) throws(LANError) {
    try network.seal(bridge.index, bridge.name, isNew: false)
    if bridge.snoopsMulticast == true {
      try perform([.changeBridge(.index(bridge.index), snoopsMulticast: false)])
    }
    if !bridge.isUp || Int(bridge.mtu) != mtu || !BridgeSeal.isSet(on: bridge) {
      try setUp(bridge.index, bridge.name, mtu: mtu)
    }
  }

  /// Sets a bridge up without a word of the host's own on it: no IPv6, no answer to ARP, nothing routed.
  private func setUp(_ index: InterfaceIndex, _ name: InterfaceName, mtu: Int) throws(LANError) {
    InterfaceSettings.disableIPv6(name)
    let change = LinkChange(isUp: true, mtu: UInt32(mtu), ipv4: BridgeSeal.ipv4)
    try perform([.changeLink(.index(index), change)])
  }

  /// What a LAN's VXLAN device is made with.
  static func settings(of lan: LANDefinition, on underlay: Underlay) -> VXLANSettings {
    VXLANSettings(vni: lan.vni, local: underlay.address, port: lan.port, learns: lan.mode == .static)
  }

  private func layVXLAN(
    _ lan: LANDefinition, _ underlay: Underlay, bridge: InterfaceIndex
  ) throws(LANError) -> Device {
    let wanted = Self.settings(of: lan, on: underlay)
    if let index = try makeVXLAN(lan, wanted, bridge: bridge) { return Device(index: index, isNew: true) }
    if let link = try find(lan.vxlan) {
      guard link.kind == .vxlan, link.group == Self.group(of: lan) || link.master == bridge else {
        throw .refused("vxlan", "an interface that is not this LAN's", lan.vxlan, as: .conflict)
      }
      if link.group != Self.group(of: lan) { return Device(index: link.index, isNew: false) }
      if link.vxlan == wanted && link.master == bridge {
        try mend(link, lan)
        return Device(index: link.index, isNew: false)
      }
      // Address, port and VNI of a VXLAN device never change; a host that got another address needs another device.
      try perform([.deleteLink(.index(link.index))])
      if let index = try makeVXLAN(lan, wanted, bridge: bridge) { return Device(index: index, isNew: true) }
    }
    throw .refused("vni", "taken by another VXLAN interface of this host", lan.vni, as: .conflict)
  }

  /// Gives a VXLAN device of ours back what it was made with.
  private func mend(_ vxlan: Link, _ lan: LANDefinition) throws(LANError) {
    if vxlan.mtu != VXLANSettings.largestMTU {
      try perform([.changeLink(.index(vxlan.index), LinkChange(mtu: VXLANSettings.largestMTU))])
    }
    if vxlan.isIPv6Disabled == false { InterfaceSettings.disableIPv6(vxlan.name) }
    if lan.mode == .evpn, vxlan.portLearns == true {
      try perform([.changeBridgePort(.index(vxlan.index), BridgePortChange(learns: false))])
    }
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
    let present = vxlan.isNew ? [] : try table(of: vxlan.index)
    let (stale, missing) = Self.peerChanges(lan, on: vxlan.index, present: present)
    do throws(NetlinkError) {
      try network.perform(stale.flatMap { Self.removal(of: $0) })
    } catch {
      // It aged meanwhile.
      if error.code != ENOENT { throw LANError(error) }
    }
    try perform(missing.flatMap { Self.addition(of: $0) })
  }

  /// What of a table contradicts a LAN's list of peers, and what it lacks. Pure.
  ///
  /// - Parameter present: the VXLAN device's own entries, and the bridge's for it.
  static func peerChanges(
    _ lan: LANDefinition, on vxlan: InterfaceIndex, present: [ForwardingEntry]
  ) -> (stale: [ForwardingEntry], missing: [ForwardingEntry]) {
    let wanted = lan.peers.flatMap { entries(for: $0, on: vxlan) }
    let peers = Set(lan.peers.map(\.address))
    let own = present.filter { $0.destination != nil && $0.scope == .device }
    let onBridge = Set(present.filter { $0.scope == .master && $0.state == .static }.map(\.mac))
    // What was learned from a peer stays as long as the peer does.
    let stale = own.filter { entry in
      let isLearned = entry.state == .dynamic && entry.destination.map { peers.contains($0) } == true
      return !isLearned && !wanted.contains { $0.isSamePlace(as: entry) }
    }
    // One that was learned ages, and is flooded to then: it does not do for one that was listed.
    let missing = wanted.filter { entry in
      let isSet = own.contains { $0.isSamePlace(as: entry) && $0.state == entry.state && !$0.isExternallyLearned }
      return !isSet || entry.mac != .zero && !onBridge.contains(entry.mac)
    }
    return (stale, missing)
  }

  /// A VXLAN device's table, and what its bridge's has of it.
  private func table(of vxlan: InterfaceIndex) throws(LANError) -> [ForwardingEntry] {
    try network.ask { socket throws(NetlinkError) in try socket.forwardingTable(of: vxlan, bridge: nil) }
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

  /// Puts the attached interfaces into a LAN, as far as they are there and nothing speaks against it by now.
  private func layAttached(
    _ lan: LANDefinition, on bridge: InterfaceIndex, mtu: Int
  ) throws(LANError) -> [LaidLAN.Waiting] {
    var waiting: [LaidLAN.Waiting] = []
    for attached in lan.attached {
      switch try network.place(of: attached, on: bridge, mtu: mtu) {
      case .onLAN: break
      case .free(let link):
        try perform([.changeLink(.index(link.index), LinkChange(master: .port(of: bridge), isUp: true))])
      case .unfit(let reason): waiting.append(.init(interface: attached.name, reason: reason))
      }
    }
    return waiting
  }

  /// Puts members into a LAN and makes their addresses known before they say a word: one batch. Needs no lock: the
  /// VXLAN device is set up behind the members, and whoever takes it down looks again after that.
  public func join(_ ports: [LANPort], _ laid: LaidLAN, _ lan: LANDefinition) throws(LANError) {
    var requests: [RouteRequest] = []
    for port in ports {
      guard let device = InterfaceIndex(of: port.interface) else {
        throw .refused("interface", "no such interface", port.interface, as: .system)
      }
      let mtu = LANLimits.portMTU(ofMemberWith: port.mtu)
      let change = LinkChange(master: .port(of: laid.bridge), isUp: true, mtu: UInt32(clamping: mtu))
      requests.append(.changeLink(.name(port.interface), change))
      requests.append(Self.announcement(of: port.mac, at: device))
    }
    if let vxlan = laid.vxlan { requests.append(.changeLink(.index(vxlan), LinkChange(isUp: true))) }
    do throws(NetlinkError) {
      try network.perform(requests)
    } catch {
      throw explained(error, port: lan.port)
    }
  }

  /// Static, so that it neither ages nor goes with the carrier: EVPN announces it as long as the port is there.
  private static func announcement(of mac: MACAddress, at port: InterfaceIndex) -> RouteRequest {
    .addForwarding(ForwardingEntry(device: port, mac: mac, scope: .master, state: .static), mode: .replace)
  }

  /// Deletes an entry that may be gone already.
  public func forget(_ entry: ForwardingEntry) throws(LANError) {
    do throws(NetlinkError) {
      try network.perform([.deleteForwarding(entry)])
    } catch {
      if error.code != ENOENT { throw LANError(error) }
    }
  }

  /// Takes an interface of the host out of a LAN; nothing when it is not in it.
  public func release(_ attached: AttachedInterface, from lan: LANDefinition) throws(LANError) {
    guard let bridge = try find(lan.bridge) else { return }
    if let link = try network.link(of: attached), link.master == bridge.index {
      try perform([.changeLink(.index(link.index), LinkChange(master: LinkChange.Master.none))])
    }
    try settle(bridge.index, vxlan: lan.mode == .local ? nil : try find(lan.vxlan)?.index)
  }

  /// Refuses an interface that must not become a LAN's member: one the host itself is reached by, one that is in
  /// use elsewhere.
  ///
  /// - Parameter name: one of its names.
  public func checkAttachable(_ name: InterfaceName, to lan: LANDefinition) throws(LANError) -> Link {
    guard let link = try find(name) else { throw .refused("interface", "no such interface", name, as: .notFound) }
    let bridge = try find(lan.bridge)?.index
    if let objection = try network.objection(to: link, on: bridge, mtu: try check(lan).mtu) { throw objection }
    return link
  }

  /// Sets the VXLAN device up if the LAN has a port here besides it and down if it has none, so that no host
  /// sends to one without a recipient. Returns how many ports there are besides it.
  ///
  /// Members join without the LAN's lock, and set the device up behind that: one that came while it was taken down is
  /// seen by the second look, and one that came later sets it up.
  @discardableResult
  public func settle(_ laid: LaidLAN) throws(LANError) -> Int {
    try settle(laid.bridge, vxlan: laid.vxlan)
  }

  @discardableResult
  private func settle(_ bridge: InterfaceIndex, vxlan: InterfaceIndex?) throws(LANError) -> Int {
    let (members, device) = try ports(of: bridge, vxlan)
    guard let device, device.isUp != (members > 0) else { return members }
    try setUp(vxlan: device, members > 0)
    if members > 0 { return members }
    let after = try ports(of: bridge, vxlan).members
    if after > 0 { try setUp(vxlan: device, true) }
    return after
  }

  private func ports(
    of bridge: InterfaceIndex, _ vxlan: InterfaceIndex?
  ) throws(LANError) -> (members: Int, vxlan: Link?) {
    let ports = try network.ask { socket throws(NetlinkError) in try socket.linksWithStatistics(master: bridge) }
    let device = ports.first { $0.index == vxlan }
    return (ports.count - (device == nil ? 0 : 1), device)
  }

  private func setUp(vxlan: Link, _ isUp: Bool) throws(LANError) {
    do throws(NetlinkError) {
      try network.perform([.changeLink(.index(vxlan.index), LinkChange(isUp: isUp))])
    } catch {
      throw explained(error, port: vxlan.vxlanPort ?? 0)
    }
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

extension HostFacts {
  /// What a LAN can be laid out on now.
  func ground(of lan: LANDefinition) throws(LANError) -> LANWiring.Ground {
    guard lan.mode != .local else { return (nil, lan.mtu ?? LANDefinition.localMTU) }
    let underlay = try underlay(of: lan)
    if lan.mode == .evpn, underlay.address.isIPv6 {
      throw .refused("vtep", "EVPN needs an IPv4 address (FRR carries no IPv6 VTEPs)", underlay.address)
    }
    for peer in lan.peers { try LANWiring.check(peer.address, against: underlay.address) }
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

  /// Why an interface must not be a LAN's member: the host is reached by it, or it is in use elsewhere; nil when
  /// nothing speaks against it. Asked at every door to a bridge: what was right when it was attached may be wrong
  /// after the next start of the host.
  func objection(
    to link: Link, on bridge: InterfaceIndex?, mtu: Int
  ) throws(LANError) -> LANError? {
    if link.isBridge || link.kind == .vxlan {
      return .refused("interface", "a \(link.kind?.rawValue ?? "") cannot be a LAN's member", link.name)
    }
    if link.kind == nil && link.address == nil || link.flags.contains(.loopback) {
      return .refused("interface", "not an Ethernet interface", link.name)
    }
    if let own = try addresses(of: link.index).first(where: { !$0.address.address.isLinkLocal }) {
      return .refused(
        "interface", "carries this host's own address \(own.address.address)", link.name, as: .conflict)
    }
    if Int(link.mtu) < mtu {
      return .refused(
        "interface",
        "its MTU of \(link.mtu) is below the LAN's \(mtu), and a bridge drops what is too large unsaid",
        link.name, as: .conflict)
    }
    if let master = link.master, master != bridge {
      return .refused("interface", "is a port of another interface already", link.name, as: .conflict)
    }
    return nil
  }

  /// Where an attached interface is, as a LAN sees it.
  func place(
    of attached: AttachedInterface, on bridge: InterfaceIndex, mtu: Int
  ) throws(LANError) -> AttachedPlace {
    guard let link = try link(of: attached) else {
      return .unfit(LANError.refused("interface", "no such interface", attached.name).description)
    }
    if link.master == bridge && link.isUp { return .onLAN(link) }
    if let objection = try objection(to: link, on: bridge, mtu: mtu) { return .unfit(objection.description) }
    return .free(link)
  }
}

enum AttachedPlace: Hashable {
  case onLAN(Link)
  /// Not on the LAN, and nothing speaks against that.
  case free(Link)
  /// Not there, or in use otherwise: the reason is one line.
  case unfit(String)
}

extension ForwardingEntry {
  /// Whether both lead the same MAC to the same host.
  fileprivate func isSamePlace(as other: ForwardingEntry) -> Bool {
    mac == other.mac && destination == other.destination
  }
}
