import ChaosAPI
import ContainerNetwork
import Glibc
import NetworkAddresses
import ShellPool
import Threads
import VirtualLAN
import Xen

extension Toolstack {
  // MARK: LANs

  public func createLAN(_ request: LANRequest, _ blocking: borrowing Blocking) throws(APIError) -> LANInfo {
    try request.validate()
    let laid = try lans.create(try definition(request), isDerived: request.vni == nil)
    // One that was deleted under its guests gets them back.
    let hasGuests = registry.guests.contains { $0.record.vifs.contains { $0.lan == request.name } }
    if hasGuests { reconcileLANs(isThorough: false) }
    return try lanInfo(request.name, isEmpty: laid.isNew && !hasGuests)
  }

  private func definition(_ request: LANRequest) throws(APIError) -> LANDefinition {
    let vni = request.vni.flatMap { UInt32(exactly: $0) }.flatMap { VNI(rawValue: $0) }
    let asked = request.mode.flatMap { LANDefinition.Mode(rawValue: $0.rawValue) }
    let mode = if let asked { asked } else { try defaultMode() }
    let port = request.port.map { UInt16(clamping: $0) }
    if let suffix = request.megalos, let vni {
      do {
        return try LANDefinition.megalos(
          name: request.name, suffix: suffix, vni: vni, port: port ?? LANDefinition.megalosPort,
          underlay: Self.underlay(request), mode: mode, mtu: request.mtu, lifetime: .kept)
      } catch {
        throw APIError(error)
      }
    }
    return LANDefinition(
      name: request.name, vni: vni ?? LANDefinition.vni(ofName: request.name), mode: mode, mtu: request.mtu,
      port: port ?? LANDefinition.standardPort, underlay: Self.underlay(request))
  }

  private static func underlay(_ request: LANRequest) -> LANDefinition.Underlay {
    if let address = request.vtep.flatMap({ IPAddress($0) }) { return .address(address) }
    if let device = request.device.flatMap({ InterfaceName($0) }) { return .device(device) }
    return .automatic
  }

  /// Deletes a LAN.
  ///
  /// - Parameter force: with members on it, too; they stay, on no LAN.
  public func deleteLAN(_ name: String, force: Bool, _ blocking: borrowing Blocking) throws(APIError) {
    let ports = try lans.delete(try lans.find(name), force: force)
    guard !ports.isEmpty else { return }
    let names = members(Array(ports.prefix(3))).map { "\($0.kind.rawValue) \($0.name ?? $0.interface)" }
    let more = ports.count > 3 ? " and \(ports.count - 3) more" : ""
    throw APIError(
      .conflict,
      "LAN '\(name)' has members: \(names.joined(separator: ", "))\(more); "
        + "take them off it, or delete it with --force")
  }

  public func listLANs(_ blocking: borrowing Blocking) throws(APIError) -> LANList {
    var summaries: [LANSummary] = []
    for lan in lans.all {
      let state = lan.state.withLock { $0 }
      let members = try lans.ports(state).members
      summaries.append(
        LANSummary(
          name: lan.name, vni: Int(state.definition.vni.rawValue), mode: LANMode(state.definition.mode),
          mtu: state.laid?.mtu, state: state.reason == nil ? .ready : .waiting, members: members.count,
          bridge: state.definition.bridge.description))
    }
    return LANList(lans: summaries)
  }

  public func lanInfo(_ name: String, _ blocking: borrowing Blocking) throws(APIError) -> LANInfo {
    try lanInfo(name, isEmpty: false)
  }

  /// - Parameter isEmpty: the LAN was made just now and nobody is on it, which saves three looks at all interfaces
  ///   of the host.
  private func lanInfo(_ name: String, isEmpty: Bool) throws(APIError) -> LANInfo {
    let lan = try lans.find(name)
    let state = try lans.inTurn(lan) { $0 }
    let definition = state.definition
    let (vxlan, ports) = isEmpty ? (nil, []) : try lans.ports(state)
    let devices = ports + [vxlan].compactMap { $0 }
    let isTunnelled = definition.mode != .local
    return LANInfo(
      name: name, vni: Int(definition.vni.rawValue), mode: LANMode(definition.mode),
      port: isTunnelled ? Int(definition.port) : nil, mtu: state.laid?.mtu,
      vtep: state.laid?.underlay?.address.description, device: state.laid?.underlay?.device.description,
      bridge: definition.bridge.description, vxlan: isTunnelled ? definition.vxlan.description : nil,
      isUp: isTunnelled ? vxlan?.isUp ?? false : state.laid != nil, state: state.reason == nil ? .ready : .waiting,
      reason: state.reason, peers: definition.peers.map { LANPeer($0) },
      attached: definition.attached.map(\.name.description),
      members: members(ports), forwarding: isEmpty ? [] : try forwarding(state, devices),
      drops: devices.reduce(0) { $0 + $1.drops },
      warnings: filterWarnings)
  }

  /// Where the LAN's bridge and its VXLAN device send to.
  private func forwarding(_ state: LANs.LAN.State, _ ports: [Link]) throws(APIError) -> [LANForwarding] {
    let names = Dictionary(uniqueKeysWithValues: ports.map { ($0.index, $0.name.description) })
    let vxlan = ports.first { $0.name == state.definition.vxlan }?.index
    let entries: [ForwardingEntry]
    do {
      entries = try network.query { socket throws(NetlinkError) in
        guard let bridge = try socket.link(named: state.definition.bridge) else { return [] }
        return try socket.forwardingTable(bridge: bridge.index)
          + (vxlan.map { vxlan throws(NetlinkError) in try socket.forwardingTable(of: vxlan) } ?? [])
      }
    } catch {
      // Its devices went between two questions.
      if error.code == ENODEV { return [] }
      throw APIError(error)
    }
    var seen: Set<ForwardingEntry> = []
    return entries.compactMap { entry in
      guard let interface = names[entry.device], seen.insert(entry).inserted else { return nil }
      let isRemote = entry.scope == .device && entry.destination != nil
      // What the bridge knows to be behind the VXLAN device, that device's own table says better; and the host's
      // own addresses are nobody's.
      guard isRemote || entry.scope == .master && entry.device != vxlan && entry.state != .permanent else {
        return nil
      }
      let kind: LANForwardingKind = !isRemote ? .local : entry.mac == .zero ? .flood : .remote
      return LANForwarding(
        mac: entry.mac.description, interface: interface, destination: entry.destination?.description, kind: kind,
        isStatic: entry.state != .dynamic && !entry.isExternallyLearned)
    }
  }

  /// Who is behind ports that are not guests'.
  private struct Occupants {
    /// By the host's end of their interface.
    let containers: [InterfaceName: String]
    let attached: [AttachedInterface]
  }

  private var occupants: Occupants {
    Occupants(
      containers: containers, attached: lans.all.flatMap { $0.state.withLock { $0.definition.attached } })
  }

  /// Who is behind ports. Asks every LAN, so it must not be called in the turn of one.
  private func members(_ ports: [Link]) -> [LANMember] {
    if ports.isEmpty { return [] }
    let occupants = occupants
    return ports.map { member($0, occupants) }
  }

  /// Who is behind a port.
  private func member(_ port: Link, _ occupants: Occupants) -> LANMember {
    let counters = port.statistics
    var member = LANMember(
      interface: port.name.description, kind: .other, mac: nil,
      rxPackets: Int(clamping: counters?.rxPackets ?? 0), rxBytes: Int(clamping: counters?.rxBytes ?? 0),
      rxDropped: Int(clamping: counters?.rxDropped ?? 0), rxErrors: Int(clamping: counters?.rxErrors ?? 0),
      txPackets: Int(clamping: counters?.txPackets ?? 0), txBytes: Int(clamping: counters?.txBytes ?? 0),
      txDropped: Int(clamping: counters?.txDropped ?? 0), txErrors: Int(clamping: counters?.txErrors ?? 0))
    if let (guest, slot) = registry.owner(ofTap: port.index) {
      member.kind = .guest
      member.name = guest.name
      member.vif = slot
      member.mac = guest.record.vifs.first { $0.slot == slot }?.mac.description
    } else if let container = occupants.containers[port.name] {
      member.kind = .container
      member.name = container
    } else if occupants.attached.contains(where: { $0.isCalled(port.name, port) }) {
      member.kind = .interface
      member.mac = port.address?.description
    }
    return member
  }

  /// The containers that chaos-cni put on LANs, by the host's end of their interface.
  private var containers: [InterfaceName: String] { AttachmentStore().containersByInterface() }

  /// What on this host keeps frames from crossing a LAN's bridge, a line each.
  private var filterWarnings: [String] {
    do throws(NetlinkError) {
      return try BridgeFilter.findings()
    } catch {
      return ["whether a packet filter drops what LANs carry cannot be told: \(error)"]
    }
  }

  // MARK: Peers and interfaces

  public func peers(of name: String, _ blocking: borrowing Blocking) throws(APIError) -> LANPeerList {
    LANPeerList(peers: try lans.inTurn(try lans.find(name)) { $0.definition.peers.map { LANPeer($0) } })
  }

  /// Adds a peer to a static LAN, or MAC addresses to one it has.
  public func addPeer(_ peer: LANPeer, to name: String, _ blocking: borrowing Blocking)
    throws(APIError) -> LANPeerList
  {
    try peer.validate()
    guard let address = IPAddress(peer.address) else {
      throw .refused("address", "not an IP address", peer.address)
    }
    let macs = peer.macs.compactMap { MACAddress($0) }
    let changed = try lans.change(try lans.find(name)) { lan throws(APIError) in
      try Self.checkHasPeers(lan)
      let others = lan.peers.filter { $0.address != address }
      if let other = others.first(where: { !Set($0.macs).isDisjoint(with: macs) }) {
        throw .refused(
          "macs", "behind peer \(other.address) already, one of them at least", peer.macs.joined(separator: " "))
      }
      if let index = lan.peers.firstIndex(where: { $0.address == address }) {
        lan.peers[index].macs += macs.filter { !lan.peers[index].macs.contains($0) }
      } else {
        lan.peers.append(LANDefinition.Peer(address: address, macs: macs))
      }
    }
    return LANPeerList(peers: changed.peers.map { LANPeer($0) })
  }

  public func removePeer(_ peer: String, from name: String, _ blocking: borrowing Blocking) throws(APIError) {
    let address = IPAddress(peer)
    _ = try lans.change(try lans.find(name)) { lan throws(APIError) in
      guard let index = lan.peers.firstIndex(where: { $0.address == address }) else {
        throw APIError(.notFound, "LAN '\(name)' has no such peer: '\(peer)'", field: "address")
      }
      lan.peers.remove(at: index)
    }
  }

  private static func checkHasPeers(_ lan: LANDefinition) throws(APIError) {
    guard lan.mode == .static else {
      throw APIError(
        .wrongState, "LAN '\(lan.name)' is of mode '\(lan.mode.rawValue)': only static ones have a list of peers")
    }
  }

  /// Makes an interface of the host a member of a LAN.
  public func attach(_ interface: String, to name: String, _ blocking: borrowing Blocking)
    throws(APIError) -> LANInfo
  {
    try AttachRequest(interface: interface).validate()
    guard let device = InterfaceName(interface) else {
      throw .refused("interface", "not an interface name", interface)
    }
    let lan = try lans.find(name)
    // By any of its names; what it is called itself is kept.
    let link: Link?
    do { link = try network.link(named: device) } catch { throw APIError(error) }
    for other in lans.all where other !== lan {
      guard other.state.withLock({ $0.definition.attached.contains { $0.isCalled(device, link) } }) else {
        continue
      }
      throw APIError(.conflict, "interface: attached to LAN '\(other.name)': '\(interface)'", field: "interface")
    }
    _ = try lans.change(lan) { definition throws(APIError) in
      guard !definition.attached.contains(where: { $0.isCalled(device, link) }) else { return }
      let found: Link
      do { found = try lans.wiring.checkAttachable(device, to: definition) } catch { throw APIError(error) }
      definition.attached.append(AttachedInterface(found))
    }
    return try lanInfo(name, blocking)
  }

  /// - Parameter interface: any of its names, or what it was called when it was attached.
  public func detach(_ interface: String, from name: String, _ blocking: borrowing Blocking) throws(APIError) {
    let lan = try lans.find(name)
    var link: Link?
    let device = InterfaceName(interface)
    if let device { do { link = try network.link(named: device) } catch { throw APIError(error) } }
    try lans.detach(lan) { definition throws(APIError) in
      guard let device, let attached = definition.attached.first(where: { $0.isCalled(device, link) }) else {
        throw APIError(
          .notFound, "interface: not attached to LAN '\(name)': '\(interface)'", field: "interface")
      }
      return attached
    }
  }

  // MARK: Guests on a LAN

  /// Refuses a MAC address that another member of the LAN on this host has: a guest, or a container, whose address
  /// the bridge was told.
  ///
  /// - Parameter guest: who may have it already, because it is made again.
  func checkIsFree(
    _ mac: MACAddress, on lan: String, bridge: InterfaceName, field: String, except guest: DomainHandle?
  ) throws(APIError) {
    if let holder = registry.holder(of: LANAddress(lan: lan, mac: mac)) {
      if holder.handle == guest { return }
      throw APIError(.conflict, "\(field): on LAN '\(lan)' already, guest '\(holder.name)': '\(mac)'", field: field)
    }
    guard let index = InterfaceIndex(of: bridge) else { return }
    let holder: Link?
    do {
      holder = try network.query { socket throws(NetlinkError) -> Link? in
        let entry = try socket.forwardingTable(bridge: index).first { entry in
          entry.mac == mac && entry.scope == .master && entry.state == .static && !entry.isExternallyLearned
        }
        return try entry.flatMap { entry throws(NetlinkError) in try socket.link(index: entry.device) }
      }
    } catch {
      throw APIError(error)
    }
    guard let holder, holder.kind != .vxlan else { return }
    let name = containers[holder.name].map { "container \($0)" } ?? "interface \(holder.name)"
    throw APIError(.conflict, "\(field): on LAN '\(lan)' already, \(name): '\(mac)'", field: field)
  }
}

extension LANs.LAN.State {
  /// Why the LAN waits: it cannot be laid out, or an interface that belongs on it is not; nil when it does not.
  fileprivate var reason: String? {
    guard let laid else { return failure?.description ?? "its devices are gone" }
    return laid.waiting.first?.reason
  }
}

extension LANMode {
  init(_ mode: LANDefinition.Mode) {
    self =
      switch mode {
      case .local: .local
      case .static: .static
      case .evpn: .evpn
      }
  }
}

extension LANPeer {
  init(_ peer: LANDefinition.Peer) {
    self.init(address: peer.address.description, macs: peer.macs.map(\.description))
  }
}

extension Link {
  /// Frames thrown away, coming or going.
  fileprivate var drops: Int { statistics.map { Int(clamping: $0.rxDropped + $0.txDropped) } ?? 0 }
}
