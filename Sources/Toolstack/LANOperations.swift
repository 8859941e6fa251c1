import ChaosAPI
import ContainerNetwork
import NetworkAddresses
import ShellPool
import VirtualLAN
import Xen

extension Toolstack {
  // MARK: LANs

  public func createLAN(_ request: LANRequest) throws(APIError) -> LANInfo {
    try request.validate()
    let laid = try lans.create(try definition(request), isDerived: request.vni == nil)
    let hasGuests = rejoin(request.name)
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
  public func deleteLAN(_ name: String, force: Bool) throws(APIError) {
    let ports = try lans.delete(try lans.find(name), force: force)
    guard !ports.isEmpty else { return }
    let names = members(Array(ports.prefix(3))).map { "\($0.kind.rawValue) \($0.name ?? $0.interface)" }
    let more = ports.count > 3 ? " and \(ports.count - 3) more" : ""
    throw APIError(
      .conflict,
      "LAN '\(name)' has members: \(names.joined(separator: ", "))\(more); "
        + "take them off it, or delete it with --force")
  }

  public func listLANs() throws(APIError) -> LANList {
    var summaries: [LANSummary] = []
    for lan in lans.all {
      let state = lan.state.withLock { $0 }
      let members = try lans.ports(state).members
      summaries.append(
        LANSummary(
          name: lan.name, vni: Int(state.definition.vni.rawValue), mode: LANMode(state.definition.mode),
          mtu: state.laid?.mtu, state: state.laid == nil ? .waiting : .ready, members: members.count,
          bridge: state.definition.bridge.description))
    }
    return LANList(lans: summaries)
  }

  public func lanInfo(_ name: String) throws(APIError) -> LANInfo {
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
      isUp: isTunnelled ? vxlan?.isUp ?? false : state.laid != nil, state: state.laid == nil ? .waiting : .ready,
      reason: state.failure?.description, peers: definition.peers.map { LANPeer($0) },
      attached: definition.attached.map(\.description),
      members: members(ports), forwarding: isEmpty ? [] : try forwarding(state, devices),
      drops: devices.reduce(0) { $0 + $1.drops },
      warnings: filterWarnings)
  }

  /// Where the LAN's bridge and its VXLAN device send to.
  private func forwarding(_ state: LANs.LAN.State, _ ports: [Link]) throws(APIError) -> [LANForwarding] {
    guard let laid = state.laid else { return [] }
    let names = Dictionary(uniqueKeysWithValues: ports.map { ($0.index, $0.name.description) })
    let entries: [ForwardingEntry]
    do {
      entries = try network.query { socket throws(NetlinkError) in
        try socket.forwardingTable(bridge: laid.bridge)
          + (laid.vxlan.map { vxlan throws(NetlinkError) in try socket.forwardingTable(of: vxlan) } ?? [])
      }
    } catch {
      throw APIError(error)
    }
    var seen: Set<ForwardingEntry> = []
    return entries.compactMap { entry in
      guard let interface = names[entry.device], seen.insert(entry).inserted else { return nil }
      let isRemote = entry.scope == .device && entry.destination != nil
      // What the bridge knows to be behind the VXLAN device, that device's own table says better; and the host's
      // own addresses are nobody's.
      guard isRemote || entry.scope == .master && entry.device != laid.vxlan && entry.state != .permanent else {
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
    let attached: Set<InterfaceName>
  }

  private var occupants: Occupants {
    Occupants(
      containers: containers, attached: Set(lans.all.flatMap { $0.state.withLock { $0.definition.attached } }))
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
    } else if occupants.attached.contains(port.name) {
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

  public func peers(of name: String) throws(APIError) -> LANPeerList {
    LANPeerList(peers: try lans.inTurn(try lans.find(name)) { $0.definition.peers.map { LANPeer($0) } })
  }

  /// Adds a peer to a static LAN, or MAC addresses to one it has.
  public func addPeer(_ peer: LANPeer, to name: String) throws(APIError) -> LANPeerList {
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

  public func removePeer(_ peer: String, from name: String) throws(APIError) {
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
  public func attach(_ interface: String, to name: String) throws(APIError) -> LANInfo {
    try AttachRequest(interface: interface).validate()
    guard let device = InterfaceName(interface) else {
      throw .refused("interface", "not an interface name", interface)
    }
    let lan = try lans.find(name)
    for other in lans.all where other !== lan {
      guard other.state.withLock({ $0.definition.attached.contains(device) }) else { continue }
      throw APIError(.conflict, "interface: attached to LAN '\(other.name)': '\(interface)'", field: "interface")
    }
    _ = try lans.change(lan) { definition throws(APIError) in
      guard !definition.attached.contains(device) else { return }
      do { _ = try lans.wiring.checkAttachable(device, to: definition) } catch { throw APIError(error) }
      definition.attached.append(device)
    }
    return try lanInfo(name)
  }

  public func detach(_ interface: String, from name: String) throws(APIError) {
    let device = InterfaceName(interface)
    let lan = try lans.find(name)
    _ = try lans.change(lan) { definition throws(APIError) in
      guard let index = definition.attached.firstIndex(where: { $0 == device }) else {
        throw APIError(
          .notFound, "interface: not attached to LAN '\(name)': '\(interface)'", field: "interface")
      }
      definition.attached.remove(at: index)
    }
    guard let device else { return }
    do throws(LANError) {
      try lans.release(device, from: lan)
    } catch {
      throw APIError(error)
    }
  }

  // MARK: Guests on a LAN

  /// Puts the guests that belong on a LAN back into it, after its devices were made anew. False when there are none.
  @discardableResult
  func rejoin(_ name: String) -> Bool {
    var ports: [LANs.Port] = []
    for guest in registry.guests {
      for vif in guest.record.vifs where vif.lan == name {
        ports.append(LANs.Port(tap: guest.tapName(vif.slot), mac: vif.mac, mtu: vif.mtu))
      }
    }
    guard !ports.isEmpty else { return false }
    do { try lans.join(name, ports) } catch { report("LAN '\(name)': \(error.message)") }
    return true
  }

  /// Lays out LANs that waited for something, an address of the host mostly.
  func retryLANs() {
    for lan in lans.retry() {
      report("LAN '\(lan.name)' is laid out")
      rejoin(lan.name)
    }
  }

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
