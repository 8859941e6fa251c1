import Backends
import CDevicePage
import ChaosAPI
import DevicePages
import Glibc
import NetworkAddresses
import ShellPool
import Threads
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

  /// A locally administered unicast address made of all of the UUID, so that it needs no bookkeeping: of a UUID made
  /// from time and a host's address (RFC 4122, version 1) the last six bytes are the same for all guests.
  static func defaultMAC(_ handle: DomainHandle, slot: Int) -> MACAddress {
    // The finaliser of SplitMix64: every bit of the input changes half of the output's.
    func mixed(_ word: UInt64) -> UInt64 {
      var word = word &+ 0x9e37_79b9_7f4a_7c15
      word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
      word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
      return word ^ word >> 31
    }
    let (high, low) = handle.bytes
    let word = mixed(mixed(high) ^ low ^ UInt64(slot) << 56)
    return MACAddress(octets: [0x02] + (0..<5).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) })!
  }
}

extension Toolstack {
  // MARK: Planning

  /// Checks a vif against the host before anything is made.
  ///
  /// - Parameter guest: who may have its address already, because it is made again.
  func plan(_ vif: VifRequest, field: String, of guest: DomainHandle?) throws(APIError) -> PlannedVif {
    if let lan = vif.lan { return try plan(vif, on: lan, field, of: guest) }
    return try planOnBridge(vif, field)
  }

  private func plan(
    _ vif: VifRequest, on lan: String, _ field: String, of guest: DomainHandle?
  ) throws(APIError) -> PlannedVif {
    let point = try lans.joinPoint(lan, field: "\(field).lan")
    let most = min(point.mtu, Int(UInt16.max))
    if let mtu = vif.mtu, mtu > most { throw .refused("\(field).mtu", "above the LAN's \(most)", "\(mtu)") }
    if let mac = vif.mac.flatMap({ MACAddress($0) }) {
      try checkIsFree(mac, on: lan, bridge: point.bridge, field: "\(field).mac", except: guest)
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
          (tap: shell.tapName(vif.record.slot), bridge: $0.index, bridgeMTU: $0.mtu)
        }
      })
    let joining = Dictionary(grouping: vifs.filter { $0.plan.lan != nil }) { $0.plan.lan ?? "" }
    for (lan, members) in joining {
      try lans.join(
        lan,
        members.map {
          LANPort(interface: shell.tapName($0.record.slot), mac: $0.record.mac, mtu: $0.record.mtu)
        })
    }
  }

  /// Tells the LANs of vifs whose taps are gone.
  func left(_ vifs: [VifRecord]) {
    for lan in Set(vifs.compactMap(\.lan)) { lans.left(lan) }
  }

  // MARK: Vifs of a running guest

  /// Gives a guest one more vif, in the lowest free slot. On failure the guest is as it was.
  public func addVif(_ request: VifRequest, to reference: String, _ blocking: borrowing Blocking) throws(APIError)
    -> VifInfo
  {
    let guest = try registry.find(reference)
    try checkSpeaksABI(guest)
    try request.validate()
    do {
      return try guest.serially(blocking) {
        let planned = try plan(request, field: "vif", of: nil)
        let taken = Set(guest.record.vifs.map(\.slot))
        guard let slot = (0..<Slots.maxVifs).first(where: { !taken.contains($0) }) else {
          throw APIError(.noCapacity, "guest '\(guest.name)' has all \(Slots.maxVifs) vifs it may have")
        }
        guard capacity.hasRoom(guest.shell.flavour.windowFrames) else {
          throw APIError(.noCapacity, "memory: no room for the window of another vif", field: "memory")
        }
        let addresses = planned.lan.flatMap { lan in
          request.mac.flatMap { MACAddress($0) }.map { [LANAddress(lan: lan, mac: $0)] }
        }
        try registry.reserve(addresses ?? [], except: nil)
        defer { registry.release(addresses ?? []) }
        return try withBackend(of: guest) { try add(planned, slot, to: guest) }
      }
    } catch {
      throw APIError(error)
    }
  }

  private func add(_ planned: PlannedVif, _ slot: Int, to guest: Guest) throws -> VifInfo {
    let features = VifFeatures(rawValue: guest.record.vifs.first?.features ?? features(of: guest).rawValue)
    let record = planned.record(handle: guest.handle, slot: slot, features: features)
    var procedure = Procedure<AddVifStep>(observe: observe)
    do {
      try builder.addVif(guest.shell, slot: slot, features: features, &procedure)
      try procedure.step(.join) {
        try join([(planned, record)], of: guest.shell)
      } undo: {
        self.left([record])
      }
      var changed = guest.record
      changed.vifs = (changed.vifs + [record]).sorted { $0.slot < $1.slot }
      changed.isUntold = true
      // From here on the vif is the guest's; after a kill the page is written at the next start.
      try procedure.step(.record) { try write(changed, of: guest) }
    } catch {
      procedure.rollBack()
      throw error
    }
    registry.update(guest)
    _ = try procedure.step(.writePage) { tellNow(guest) }
    return Self.describe(record, guest.shell)
  }

  private func features(of guest: Guest) -> VifFeatures {
    guard let kernel = try? images.find(guest.record.kernel.description) else { return .always }
    return BootImages(kernel: kernel, ramdisk: nil).vifFeatures
  }

  /// Takes a vif from a guest.
  public func removeVif(_ slot: Int, from reference: String, _ blocking: borrowing Blocking) throws(APIError) {
    let guest = try registry.find(reference)
    try checkSpeaksABI(guest)
    do {
      try guest.serially(blocking) {
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
    var procedure = Procedure<RemoveVifStep>(observe: observe)
    var changed = guest.record
    changed.vifs.removeAll { $0.slot == vif.slot }
    changed.isUntold = true
    // From here on the guest lacks it; after a kill the rest follows at the next start.
    try procedure.step(.record) { try write(changed, of: guest) }
    try procedure.step(.writePage) {
      if let generation = tellNow(guest) { awaitSeen(generation, by: guest) }
    }
    try procedure.step(.deleteTap) { try builder.removeVif(guest.shell, slot: vif.slot) }
    registry.update(guest)
    left([vif])
  }

  /// Gives a vif that carries nothing any more new rings, and has the guest begin them anew.
  public func resetVif(
    _ slot: Int, of reference: String, _ blocking: borrowing Blocking
  ) throws(APIError) -> VifInfo {
    let guest = try registry.find(reference)
    try checkSpeaksABI(guest)
    do {
      return try guest.serially(blocking) {
        guard let vif = guest.record.vifs.first(where: { $0.slot == slot }) else {
          throw APIError(.notFound, "guest '\(guest.name)' has no vif \(slot)", field: "index")
        }
        // Before, not after: a guest that breaks it at once is heard of before the request is answered. One that cannot
        // be reset is told of anew.
        _ = guest.note(broken: guest.brokenVifs.filter { $0.key != slot })
        try withBackend(of: guest) { try attachment.resetVif(guest.shell, slot: slot) }
        return Self.describe(vif, guest.shell)
      }
    } catch {
      throw APIError(error)
    }
  }

  private func checkSpeaksABI(_ guest: Guest) throws(APIError) {
    guard guest.record.bus == .noxs else {
      throw APIError(
        .unsupported, "guest '\(guest.name)' does not read its device page: its vifs cannot change on the noxs bus")
    }
  }

  // MARK: Device page

  /// Lays the guest's device page anew from its record, if it says something else, and rings. Returns the
  /// generation that says so. Where nobody rang, the reconciler has somebody do it.
  @discardableResult
  func tell(_ guest: Guest) throws -> UInt32? {
    let page = Self.devicePage(guest.record, guest.shell)
    guard let generation = guest.shell.rewrite(page) else {
      // Without its page nothing can be told.
      guest.isUntold = false
      return nil
    }
    guest.isUntold = true
    try attachment.request(UInt32(CHAOS_REQUEST_GENERATION), of: guest.identity)
    guest.isUntold = false
    do {
      try records.write(guest.domainRecord(.guest))
    } catch {
      // The next daemon tells it once more, of which nothing comes.
    }
    return generation
  }

  /// The same of a change that was made and stays, whether the guest can be told of it now or not. Called on the guest's
  /// queue.
  @discardableResult
  func tellNow(_ guest: Guest) -> UInt32? {
    do {
      return try withBackend(of: guest) { try tell(guest) }
    } catch {
      report("guest '\(guest.name)' is told later that its device page changed: \(error)")
      return nil
    }
  }

  /// Gives the guest a moment to stop using what the page no longer names. It cannot hold anything up: its rings
  /// are taken away after that moment all the same.
  private func awaitSeen(_ generation: UInt32, by guest: Guest) {
    for _ in 0..<100 {
      guard let seen = try? wiring.generationSeen(guest.shell) else { return }
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
      tap: shell.tapName(vif.slot).description, ip: vif.ipv4?.description,
      gateway: vif.ipv4Gateway?.description, ip6: vif.ipv6?.description, gateway6: vif.ipv6Gateway?.description,
      mtu: vif.mtu)
  }
}

extension DomainShell {
  /// The name of a slot's tap, or what it would be called.
  func tapName(_ slot: Int) -> InterfaceName { tap(slot: slot)?.name ?? Self.name(ofTap: slot, of: domain) }
}

extension Guest {
  func tapName(_ slot: Int) -> InterfaceName { shell.tapName(slot) }
}
