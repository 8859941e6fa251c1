import Backends
import CDevicePage
import ChaosAPI
import DevicePages
import Glibc
import NetworkAddresses
import ShellPool
import VirtualLAN
import Xen

/// A vif whose every value was checked.
struct PlannedVif {
  let request: VifRequest
  /// The LAN it joins; nil for a bridge that is not chaos's.
  let lan: String?
  let bridge: InterfaceName
  /// Known for a bridge that is not chaos's, with the MTU it has.
  let bridgePort: (index: InterfaceIndex, mtu: Int)?
  let mtu: Int

  func record(handle: DomainHandle, slot: Int, features: VifFeatures) -> VifRecord {
    VifRecord(
      slot: slot, mac: request.mac.flatMap { MACAddress($0) } ?? Self.defaultMAC(handle, slot: slot), lan: lan,
      bridge: bridge, mtu: mtu, features: features.rawValue, ipv4: request.ip.flatMap { IPv4Interface($0) },
      ipv4Gateway: request.gateway.flatMap { IPv4Address($0) }, ipv6: request.ip6.flatMap { IPv6Interface($0) },
      ipv6Gateway: request.gateway6.flatMap { IPv6Address($0) })
  }

  /// A locally administered unicast address made of the UUID's random bits, so that it needs no bookkeeping.
  private static func defaultMAC(_ handle: DomainHandle, slot: Int) -> MACAddress {
    var octets = Array(handle.octets.suffix(6))
    octets[0] = 0x02
    octets[5] = octets[5] &+ UInt8(slot)
    return MACAddress(octets: octets)!
  }
}

extension Toolstack {
  // MARK: Planning

  /// Checks a vif against the host before anything is made.
  func plan(_ vif: VifRequest, field: String) throws(APIError) -> PlannedVif {
    if let lan = vif.lan { return try plan(vif, on: lan, field) }
    return try planOnBridge(vif, field)
  }

  private func plan(_ vif: VifRequest, on lan: String, _ field: String) throws(APIError) -> PlannedVif {
    let point = try lans.joinPoint(lan, field: "\(field).lan")
    let most = min(point.mtu, Int(UInt16.max))
    if let mtu = vif.mtu, mtu > most { throw .refused("\(field).mtu", "above the LAN's \(most)", "\(mtu)") }
    if let mac = vif.mac.flatMap({ MACAddress($0) }) {
      try checkIsFree(mac, on: lan, bridge: point.bridge, field: "\(field).mac")
    }
    return PlannedVif(request: vif, lan: lan, bridge: point.bridge, bridgePort: nil, mtu: vif.mtu ?? most)
  }

  private func planOnBridge(_ vif: VifRequest, _ field: String) throws(APIError) -> PlannedVif {
    guard let text = vif.bridge, let name = InterfaceName(text) else {
      throw .refused("\(field).bridge", "not an interface name", vif.bridge ?? "")
    }
    let link: Link?
    do { link = try network.link(named: name) } catch { throw APIError(error) }
    guard let link else {
      throw APIError(.notFound, "\(field).bridge: no such bridge: '\(text)'", field: "\(field).bridge")
    }
    guard link.isBridge else { throw .refused("\(field).bridge", "not a bridge", text) }
    let mtu = vif.mtu ?? min(Int(link.mtu), Int(UInt16.max))
    guard mtu <= Int(link.mtu) else {
      throw .refused("\(field).mtu", "above the bridge's \(link.mtu)", "\(mtu)")
    }
    return PlannedVif(request: vif, lan: nil, bridge: link.name, bridgePort: (link.index, Int(link.mtu)), mtu: mtu)
  }

  // MARK: Joining

  /// Puts taps where their vifs belong: those on bridges in one batch, those of each LAN in another.
  func join(_ vifs: [(plan: PlannedVif, record: VifRecord)], of shell: DomainShell) throws {
    try network.join(
      vifs.compactMap { vif in
        vif.plan.bridgePort.map {
          (tap: shell.tap(slot: vif.record.slot), bridge: $0.index, bridgeMTU: $0.mtu)
        }
      })
    let joining = Dictionary(grouping: vifs.filter { $0.plan.lan != nil }) { $0.plan.lan ?? "" }
    for (lan, members) in joining {
      try lans.join(
        lan,
        members.map {
          LANPort(interface: shell.tap(slot: $0.record.slot), mac: $0.record.mac, mtu: $0.record.mtu)
        })
    }
  }

  /// Tells the LANs of vifs whose taps are gone.
  func left(_ vifs: [VifRecord]) {
    for lan in Set(vifs.compactMap(\.lan)) { lans.left(lan) }
  }

  // MARK: Vifs of a running guest

  /// Gives a guest one more vif, in the lowest free slot. On failure the guest is as it was.
  public func addVif(_ request: VifRequest, to reference: String) throws(APIError) -> VifInfo {
    let guest = try registry.find(reference)
    try checkSpeaksABI(guest)
    try request.validate()
    do {
      return try guest.serially {
        let planned = try plan(request, field: "vif")
        let taken = Set(guest.record.vifs.map(\.slot))
        guard let slot = (0..<Slots.maxVifs).first(where: { !taken.contains($0) }) else {
          throw APIError(.noCapacity, "guest '\(guest.name)' has all \(Slots.maxVifs) vifs it may have")
        }
        guard capacity.hasRoom(guest.shell.flavour.windowFrames) else {
          throw APIError(.noCapacity, "memory: no room for the window of another vif", field: "memory")
        }
        return try add(planned, slot, to: guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  private func add(_ planned: PlannedVif, _ slot: Int, to guest: Guest) throws -> VifInfo {
    let features = VifFeatures(rawValue: guest.record.vifs.first?.features ?? features(of: guest).rawValue)
    let record = planned.record(handle: guest.handle, slot: slot, features: features)
    var procedure = Procedure("add vif", observe: observe)
    do {
      try builder.addVif(guest.shell, slot: slot, features: features, &procedure)
      try procedure.step("join") {
        try join([(planned, record)], of: guest.shell)
      } undo: {
        self.left([record])
      }
      var changed = guest.record
      changed.vifs = (changed.vifs + [record]).sorted { $0.slot < $1.slot }
      // From here on the vif is the guest's; after a kill the page is written at the next start.
      try procedure.step("record") { try builder.records.write(guest.domainRecord(.guest, changed)) }
      guest.replace(record: changed)
    } catch {
      procedure.rollBack()
      throw error
    }
    observe?("add vif: write page")
    try tell(guest)
    return Self.describe(record, guest.shell)
  }

  private func features(of guest: Guest) -> VifFeatures {
    guard let kernel = try? images.find(guest.record.kernel.description) else { return .always }
    return ShellBuilder.Images(kernel: kernel, ramdisk: nil).vifFeatures
  }

  /// Takes a vif from a guest.
  public func removeVif(_ slot: Int, from reference: String) throws(APIError) {
    let guest = try registry.find(reference)
    try checkSpeaksABI(guest)
    do {
      try guest.serially {
        guard let vif = guest.record.vifs.first(where: { $0.slot == slot }) else {
          throw APIError(.notFound, "guest '\(guest.name)' has no vif \(slot)", field: "index")
        }
        try remove(vif, from: guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  private func remove(_ vif: VifRecord, from guest: Guest) throws {
    var procedure = Procedure("remove vif", observe: observe)
    var changed = guest.record
    changed.vifs.removeAll { $0.slot == vif.slot }
    // From here on the guest lacks it; after a kill the rest follows at the next start.
    try procedure.step("record") { try builder.records.write(guest.domainRecord(.guest, changed)) }
    guest.replace(record: changed)
    try procedure.step("write page") {
      if let generation = try tell(guest) { awaitSeen(generation, by: guest) }
    }
    try procedure.step("delete tap") { try builder.removeVif(guest.shell, slot: vif.slot) }
    left([vif])
  }

  private func checkSpeaksABI(_ guest: Guest) throws(APIError) {
    guard guest.record.runtimeABI != nil else {
      throw APIError(
        .unsupported, "guest '\(guest.name)' does not read its device page: its vifs cannot change on the noxs bus")
    }
  }

  // MARK: Device page

  /// Lays the guest's device page anew from its record, if it says something else, and rings. Returns the
  /// generation that says so.
  @discardableResult
  func tell(_ guest: Guest) throws -> UInt32? {
    let page = Self.devicePage(guest.record, guest.shell)
    guard let generation = guest.shell.rewrite(page) else { return nil }
    try builder.backend.perform(.powerctl(guest.shell.domain, bits: UInt32(CHAOS_REQUEST_GENERATION)))
    return generation
  }

  /// Gives the guest a moment to stop using what the page no longer names. It cannot hold anything up: its rings
  /// are taken away after that moment all the same.
  private func awaitSeen(_ generation: UInt32, by guest: Guest) {
    for _ in 0..<100 {
      guard let seen = try? builder.generationSeen(guest.shell) else { return }
      if Int32(bitPattern: seen &- generation) >= 0 { return }
      usleep(2000)
    }
  }

  static func devicePage(_ record: GuestRecord, _ shell: DomainShell) -> DevicePage {
    let identity = DevicePage.Identity(
      uuid: shell.handle.octets, created: UInt64(record.created) * 1_000_000_000,
      imageDigest: record.kernel.bytes, name: record.name, commandLine: record.commandLine,
      vcpus: UInt32(shell.flavour.vcpus), memoryKiB: UInt32(clamping: shell.flavour.memoryMiB * 1024))
    var devices: [DevicePage.Device] = [
      .init(
        kind: .console, index: 0, state: .connected, port: Slots.consolePort, firstFrame: Slots.consoleFrame,
        frameCount: 1),
      .init(
        kind: .powerctl, index: 0, state: .connected, port: Slots.powerctlPort,
        firstFrame: Slots.powerctlFrame, frameCount: 1),
    ]
    for vif in record.vifs { devices.append(device(vif, shell.flavour)) }
    return DevicePage(identity: identity, devices: devices)
  }

  private static func device(_ vif: VifRecord, _ flavour: Flavour) -> DevicePage.Device {
    .init(
      kind: .vif, index: UInt16(vif.slot), state: .connected, port: Slots.port(vif: vif.slot),
      firstFrame: Slots.windowFrame(vif: vif.slot), frameCount: UInt32(flavour.windowFrames),
      vif: .init(
        mac: vif.mac, mtu: UInt16(clamping: vif.mtu), features: vif.features,
        rings: VifRings(windowFrames: flavour.windowFrames), ipv4: vif.ipv4, ipv4Gateway: vif.ipv4Gateway,
        ipv6: vif.ipv6, ipv6Gateway: vif.ipv6Gateway))
  }

  static func describe(_ vif: VifRecord, _ shell: DomainShell) -> VifInfo {
    VifInfo(
      index: vif.slot, mac: vif.mac.description, bridge: vif.bridge.description, lan: vif.lan,
      tap: shell.tap(slot: vif.slot).description, ip: vif.ipv4?.description,
      gateway: vif.ipv4Gateway?.description, ip6: vif.ipv6?.description, gateway6: vif.ipv6Gateway?.description,
      mtu: vif.mtu)
  }
}
