import NetworkAddresses

/// A guest's or a container's place on a LAN, as it is meant to be.
public struct LANPort: Hashable, Sendable {
  /// The host's end.
  public let interface: InterfaceName
  public let mac: MACAddress
  /// What the member was told, in bytes.
  public let mtu: Int

  public init(interface: InterfaceName, mac: MACAddress, mtu: Int) {
    self.interface = interface
    self.mac = mac
    self.mtu = mtu
  }
}

/// Something about a LAN that is not as it is meant to be.
public enum LANDifference: Hashable, Sendable {
  // Mended by laying the LAN out again.
  /// A device is missing, or not as it was made: one line.
  case device(String)
  case peers
  /// An attached interface could be on the LAN and is not.
  case attachedOutside(InterfaceName)

  // Mended in the LAN's definition.
  /// The address that was chosen is the host's no more, or none was.
  case vtepChosen(IPAddress)
  /// What an attached interface is known by changed: its name, or its index since the host's last start.
  case attachedKnown(AttachedInterface, as: AttachedInterface)

  // Mended one by one.
  /// The VXLAN device is up without a member here, or down with one.
  case vxlanUp(shouldBe: Bool)
  /// A member's interface is no port of the bridge, or was changed.
  case portOutside(LANPort)
  /// The bridge was told of a member's address and knows it no more.
  case addressForgotten(LANPort)
  /// A routing daemon's entry leads to another host for an address that is a member's here.
  case addressElsewhere(ForwardingEntry)

  // Nothing to be done but to say so.
  /// The LAN cannot be laid out.
  case waits(LANError)
  case attachedWaits(LaidLAN.Waiting)
  /// A member's interface is gone.
  case portMissing(InterfaceName)
}

extension LANDifference: CustomStringConvertible {
  /// One line.
  public var description: String {
    switch self {
    case .device(let what): what
    case .peers: "its forwarding table is not its list of peers"
    case .attachedOutside(let name): "'\(name)' is not on it"
    case .vtepChosen(let address): "its VXLAN is sent from \(address) now"
    case .attachedKnown(let before, let now) where before.name != now.name:
      "'\(before.name)' is called '\(now.name)'"
    case .attachedKnown(let before, _): "'\(before.name)' is known by its index now"
    case .vxlanUp(let shouldBe): shouldBe ? "its VXLAN device is down" : "its VXLAN device is up without a member"
    case .portOutside(let port): "'\(port.interface)' is not on it"
    case .addressForgotten(let port): "\(port.mac) of '\(port.interface)' is not in its table"
    case .addressElsewhere(let entry): "\(entry.mac) is here and in its table as elsewhere"
    case .waits(let error): "waits: \(error)"
    case .attachedWaits(let waiting): "waits: \(waiting.reason)"
    case .portMissing(let name): "'\(name)' is gone"
    }
  }

  /// Whether mending it is of no interest to anybody: the ordinary course of things.
  public var isOrdinary: Bool {
    switch self {
    case .vxlanUp, .vtepChosen, .attachedKnown: true
    default: false
    }
  }
}

/// How a LAN is.
public struct LANFinding: Hashable, Sendable {
  /// Its devices; nil when they are not all there, or not as they should be.
  public var laid: LaidLAN?
  public var differences: [LANDifference] = []
}

extension HostSnapshot {
  /// Compares what a LAN is meant to be with what is there. Pure.
  ///
  /// - Parameter ports: guests and containers of this host that belong on it; others may be on it as well.
  public func compare(_ lan: LANDefinition, with ports: [LANPort]) -> LANFinding {
    var finding = LANFinding()
    var ground: LANWiring.Ground?
    do throws(LANError) {
      ground = try self.ground(of: lan)
    } catch {
      finding.differences.append(.waits(error))
    }
    if let chosen = ground?.underlay?.address, lan.leavesChoice, chosen != lan.chosen {
      finding.differences.append(.vtepChosen(chosen))
    }
    guard let bridge = link(.name(lan.bridge)), bridge.isBridge else {
      if ground != nil { finding.differences.append(.device("'\(lan.bridge)' is missing")) }
      return finding
    }
    // Whatever is in the way is told by laying out.
    let isOurs = bridge.group == LANWiring.group(of: lan)
    let vxlan = lan.mode == .local ? nil : link(.name(lan.vxlan)).flatMap { $0.master == bridge.index ? $0 : nil }
    guard isOurs || vxlan?.vxlan?.vni == lan.vni else {
      finding.differences.append(.device("'\(lan.bridge)' is another's"))
      return finding
    }
    if let ground {
      if isOurs { finding.differences += changes(of: bridge, mtu: ground.mtu) }
      if let underlay = ground.underlay { finding.differences += changes(of: vxlan, lan, underlay) }
      finding.laid = self.laid(lan, ground, bridge, vxlan, &finding.differences)
    }
    finding.differences += compareMembers(ports, bridge: bridge.index, vxlan: vxlan)
    return finding
  }

  // MARK: Devices

  private func changes(of bridge: Link, mtu: Int) -> [LANDifference] {
    let changes: [(Bool, String)] = [
      (!bridge.isUp, "is down"), (Int(bridge.mtu) != mtu, "has an MTU of \(bridge.mtu)"),
      (!BridgeSeal.isSet(on: bridge) || sealed?.contains(bridge.index) == false, "is open to the host"),
      (bridge.snoopsMulticast == true, "snoops on multicast"),
    ]
    return changes.filter(\.0).map { .device("'\(bridge.name)' \($0.1)") }
  }

  private func changes(of vxlan: Link?, _ lan: LANDefinition, _ underlay: Underlay) -> [LANDifference] {
    guard let vxlan else { return [.device("'\(lan.vxlan)' is missing")] }
    guard vxlan.group == LANWiring.group(of: lan) else { return [] }
    let changes: [(Bool, String)] = [
      (vxlan.vxlan != LANWiring.settings(of: lan, on: underlay), "is not as it was made"),
      (vxlan.mtu != VXLANSettings.largestMTU, "has an MTU of \(vxlan.mtu)"),
      (vxlan.isIPv6Disabled == false, "is open to the host"),
      (lan.mode == .evpn && vxlan.portLearns == true, "learns"),
    ]
    return changes.filter(\.0).map { .device("'\(vxlan.name)' \($0.1)") }
  }

  /// What laying out would find, with what it would change besides devices.
  private func laid(
    _ lan: LANDefinition, _ ground: LANWiring.Ground, _ bridge: Link, _ vxlan: Link?,
    _ differences: inout [LANDifference]
  ) -> LaidLAN? {
    var waiting: [LaidLAN.Waiting] = []
    for attached in lan.attached {
      // A snapshot answers always.
      guard let place = try? place(of: attached, on: bridge.index, mtu: ground.mtu) else { continue }
      switch place {
      case .onLAN(let link):
        let known = AttachedInterface(link)
        if known != attached { differences.append(.attachedKnown(attached, as: known)) }
      case .free: differences.append(.attachedOutside(attached.name))
      case .unfit(let reason): waiting.append(.init(interface: attached.name, reason: reason))
      }
    }
    differences += waiting.map { .attachedWaits($0) }
    if lan.mode == .static, let vxlan {
      let table =
        forwarding(ofDevice: vxlan.index) + forwarding(of: bridge.index).filter { $0.device == vxlan.index }
      let (stale, missing) = LANWiring.peerChanges(lan, on: vxlan.index, present: table)
      if !stale.isEmpty || !missing.isEmpty { differences.append(.peers) }
    }
    guard lan.mode == .local || vxlan != nil else { return nil }
    return LaidLAN(
      bridge: bridge.index, vxlan: vxlan?.index, mtu: ground.mtu, underlay: ground.underlay, waiting: waiting,
      isNew: false)
  }

  // MARK: Members

  private func compareMembers(_ ports: [LANPort], bridge: InterfaceIndex, vxlan: Link?) -> [LANDifference] {
    var differences: [LANDifference] = []
    let table = Dictionary(grouping: forwarding(of: bridge), by: \.mac)
    for port in ports {
      guard let link = link(.name(port.interface)) else {
        differences.append(.portMissing(port.interface))
        continue
      }
      let mtu = LANLimits.portMTU(ofMemberWith: port.mtu)
      guard link.master == bridge, link.isUp, Int(link.mtu) >= mtu else {
        differences.append(.portOutside(port))
        continue
      }
      differences += compareAddress(of: port, at: link.index, table[port.mac] ?? [], vxlan)
    }
    if let vxlan {
      let isInhabited = self.ports(of: bridge).contains { $0.index != vxlan.index }
      if vxlan.isUp != isInhabited { differences.append(.vxlanUp(shouldBe: isInhabited)) }
    }
    return differences
  }

  /// A member's address stands in the bridge's table as long as its port is there. One that another host announced
  /// since belongs to that host; what is left of an older announcement, with the address here, misleads nobody yet but
  /// would outlive the member.
  private func compareAddress(
    of port: LANPort, at device: InterfaceIndex, _ known: [ForwardingEntry], _ vxlan: Link?
  ) -> [LANDifference] {
    let isAnnounced = known.contains { $0.device == vxlan?.index && $0.isExternallyLearned }
    if isAnnounced { return [] }
    guard known.contains(where: { $0.device == device && $0.state == .static }) else {
      return [.addressForgotten(port)]
    }
    guard let vxlan else { return [] }
    return forwarding(ofDevice: vxlan.index).filter { $0.mac == port.mac && $0.isExternallyLearned }
      .map { .addressElsewhere($0) }
  }
}
