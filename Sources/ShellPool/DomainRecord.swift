import ChaosAPI
import ImageStore
import NetworkAddresses
import VirtualLAN
import Xen

/// What chaosd knows of one domain it made: the truth about its name and wiring, kept as a file so that it
/// outlives chaosd. The file is written before whatever it announces is done.
public struct DomainRecord: Equatable, Sendable {
  /// How far the domain has come. After a restart a domain found `building` or `ending` is destroyed; one found
  /// `starting` is a guest if it was unpaused, and destroyed if not.
  public enum Phase: String, Sendable {
    case building, shell, starting, guest, ending
  }

  /// The domain's handle in the hypervisor, which is the guest's UUID.
  public var handle: DomainHandle
  /// The domain's number; nil until it is made (`building`), and in records of version 1.
  public var domain: DomainID?
  public var phase: Phase
  public var flavour: Flavour
  /// The taps made for it; nil until they are all made, and in records of version 1.
  public var taps: [GuestTap]?
  /// Present from `starting` on.
  public var guest: GuestRecord?
  /// Where a hot shell's start info is, when that is not the ABI's frame.
  public var startInfoFrame: UInt64?

  public init(
    handle: DomainHandle, domain: DomainID? = nil, phase: Phase, flavour: Flavour, taps: [GuestTap]? = nil,
    guest: GuestRecord? = nil, startInfoFrame: UInt64? = nil
  ) {
    self.startInfoFrame = startInfoFrame
    self.handle = handle
    self.domain = domain
    self.taps = taps
    self.phase = phase
    self.flavour = flavour
    self.guest = guest
  }
}

/// Who a guest is and how it is wired.
public struct GuestRecord: Equatable, Sendable {
  public var name: String
  /// The name the image was asked for by; nil when it was given by digest.
  public var imageName: String?
  public var kernel: ImageDigest
  public var ramdisk: ImageDigest?
  public var bus: DeviceBus
  /// The device page version the image speaks; nil unless the bus is noxs.
  public var runtimeABI: Int?
  public var commandLine: String
  /// Seconds since 1970; when its present domain was made.
  public var created: Int
  public var vifs: [VifRecord]
  /// What becomes of it when it ends by itself.
  public var policies = GuestPolicies()
  /// Started again with the host.
  public var autostart = false
  /// The names of guests that are started before it then.
  public var after: [String] = []
  public var scheduling = Scheduling()
  /// How often it was made again.
  public var restarts = 0
  /// It ran, and stands still for a while only: whoever finds it so lets it go on.
  public var isHeld = false
  /// The guest was not told of what its device page says, or may not have been: who wrote the record did not say.
  public var isUntold = false

  public init(
    name: String, imageName: String?, kernel: ImageDigest, ramdisk: ImageDigest?, bus: DeviceBus,
    runtimeABI: Int?, commandLine: String, created: Int, vifs: [VifRecord]
  ) {
    self.name = name
    self.imageName = imageName
    self.kernel = kernel
    self.ramdisk = ramdisk
    self.bus = bus
    self.runtimeABI = runtimeABI
    self.commandLine = commandLine
    self.created = created
    self.vifs = vifs
  }
}

public struct VifRecord: Equatable, Sendable {
  /// ABI slot, which also says the port, the window and the tap.
  public var slot: Int
  public var mac: MACAddress
  /// The LAN it is a member of; nil for one on a bridge that is not chaos's.
  public var lan: String?
  public var bridge: InterfaceName
  public var mtu: Int
  /// virtio feature bits in force.
  public var features: UInt64
  public var ipv4: IPv4Interface?
  public var ipv4Gateway: IPv4Address?
  public var ipv6: IPv6Interface?
  public var ipv6Gateway: IPv6Address?

  public init(
    slot: Int, mac: MACAddress, lan: String? = nil, bridge: InterfaceName, mtu: Int, features: UInt64,
    ipv4: IPv4Interface? = nil, ipv4Gateway: IPv4Address? = nil, ipv6: IPv6Interface? = nil,
    ipv6Gateway: IPv6Address? = nil
  ) {
    self.slot = slot
    self.mac = mac
    self.lan = lan
    self.bridge = bridge
    self.mtu = mtu
    self.features = features
    self.ipv4 = ipv4
    self.ipv4Gateway = ipv4Gateway
    self.ipv6 = ipv6
    self.ipv6Gateway = ipv6Gateway
  }
}

// MARK: - JSON

extension DomainRecord {
  /// Raised when an older chaosd would misunderstand a record. Version 1 had neither the domain's number nor its taps
  /// nor the bus; it is still read.
  static let version = 2
  /// The newest version that this chaosd reads.
  public static var newestVersion: Int { version }
  private static let oldestVersion = 1

  var json: JSON {
    var object = JSONObject()
    object["version"] = .number(Self.version)
    object["uuid"] = .string(handle.uuid)
    object["domain"] = domain.map { .number(Int($0.rawValue)) }
    object["phase"] = .string(phase.rawValue)
    object["flavour"] = flavour.json
    object["taps"] = taps.map { .array($0.map(\.json)) }
    object["guest"] = guest?.json
    object["startInfo"] = startInfoFrame.map { .number($0) }
    return .object(object)
  }

  /// Why a record was not read.
  enum Unreadable: Error, Equatable {
    case damaged
    /// Written by a later chaosd.
    case newer(version: Int)
  }

  /// Every value is in the range it had when it was written, so that what reads it need not look again.
  init(json: JSON) throws(Unreadable) {
    guard let version = json["version"]?.int, version >= Self.oldestVersion else { throw .damaged }
    if version > Self.version { throw .newer(version: version) }
    do throws(DamagedRecord) {
      try self.init(reading: json, version: version)
    } catch {
      throw .damaged
    }
  }

  private init(reading json: JSON, version: Int) throws(DamagedRecord) {
    self.init(
      handle: try json.member("uuid", \.text, DomainHandle.init(uuid:)),
      domain: json["domain"] == nil
        ? nil : DomainID(rawValue: UInt16(try json.integer("domain", in: 1...Int(UInt16.max)))),
      phase: try json.member("phase", \.text, Phase.init),
      flavour: try Flavour(reading: try json.member("flavour")),
      startInfoFrame: json["startInfo"] == nil
        ? nil : UInt64(try json.integer("startInfo", in: 0...Int(UInt32.max))))
    taps = try json["taps"].map { taps throws(DamagedRecord) in try [GuestTap](reading: taps) }
    guest = try json["guest"].map { json throws(DamagedRecord) in
      try GuestRecord(reading: json, version: version)
    }
  }

  /// Which domain it is of; nil while nobody knows its number.
  public var identity: DomainIdentity? { domain.map { DomainIdentity(domain: $0, handle: handle) } }
}

/// A record that no chaosd wrote so.
private struct DamagedRecord: Error {}

extension JSON {
  /// A member that must be there.
  fileprivate func member(_ key: String) throws(DamagedRecord) -> JSON {
    guard let member = self[key] else { throw DamagedRecord() }
    return member
  }

  /// A member that must be there, be of a kind and have a meaning.
  fileprivate func member<Plain, Value>(
    _ key: String, _ kind: (JSON) -> Plain?, _ meaning: (Plain) -> Value?
  ) throws(DamagedRecord) -> Value {
    guard let value = kind(try member(key)).flatMap(meaning) else { throw DamagedRecord() }
    return value
  }

  /// A member that may be missing; one that is there must be readable.
  fileprivate func optional<Value>(
    _ key: String, _ meaning: (String) -> Value?
  ) throws(DamagedRecord) -> Value? {
    self[key] == nil ? nil : try member(key, \.text, meaning)
  }

  /// A boolean that may be missing.
  fileprivate func flag(_ key: String) throws(DamagedRecord) -> Bool? {
    switch self[key] {
    case nil: return nil
    case .bool(let flag)?: return flag
    default: throw DamagedRecord()
    }
  }

  fileprivate func integer(_ key: String, in range: ClosedRange<Int>) throws(DamagedRecord) -> Int {
    try member(key, \.int) { range.contains($0) ? $0 : nil }
  }

  fileprivate func string(_ key: String, atMost length: Int = .max) throws(DamagedRecord) -> String {
    try member(key, \.text) { $0.utf8.count <= length ? $0 : nil }
  }
}

extension GuestTap {
  fileprivate var json: JSON {
    var object = JSONObject()
    object["slot"] = .number(slot)
    object["name"] = .string(name.description)
    object["index"] = .number(Int(index.rawValue))
    return .object(object)
  }

  fileprivate init(reading json: JSON) throws(DamagedRecord) {
    self.init(
      slot: try json.integer("slot", in: 0...CreateRequest.mostVifs - 1),
      name: try json.member("name", \.text, { InterfaceName($0) }),
      index: try json.member("index", \.int) { Int32(exactly: $0).flatMap { InterfaceIndex(rawValue: $0) } })
  }
}

extension [GuestTap] {
  fileprivate init(reading json: JSON) throws(DamagedRecord) {
    guard case .array(let taps) = json else { throw DamagedRecord() }
    self = try taps.map { tap throws(DamagedRecord) in try GuestTap(reading: tap) }
    if Set(map(\.slot)).count < count { throw DamagedRecord() }
  }
}

extension Flavour {
  var json: JSON {
    var object = JSONObject()
    object["memory"] = .number(memoryMiB)
    object["vcpus"] = .number(vcpus)
    object["vifs"] = .number(vifs)
    object["window"] = .number(windowKiB)
    object["kernel"] = (image?.kernel.hexadecimal).map { .string($0) }
    object["ramdisk"] = (image?.ramdisk?.hexadecimal).map { .string($0) }
    return .object(object)
  }

  fileprivate init(reading json: JSON) throws(DamagedRecord) {
    self.init(
      memoryMiB: try json.integer("memory", in: CreateRequest.memoryRange),
      vcpus: try json.integer("vcpus", in: CreateRequest.vcpuRange),
      vifs: try json.integer("vifs", in: 0...CreateRequest.mostVifs),
      windowKiB: try json.integer("window", in: CreateRequest.windowRange))
    let ramdisk = try json.optional("ramdisk", ImageDigest.init)
    image = try json.optional("kernel", ImageDigest.init).map { HotImage(kernel: $0, ramdisk: ramdisk) }
  }
}

extension GuestRecord {
  fileprivate var json: JSON {
    var object = JSONObject()
    object["name"] = .string(name)
    object["image"] = imageName.map { .string($0) }
    object["kernel"] = .string(kernel.hexadecimal)
    object["ramdisk"] = ramdisk.map { .string($0.hexadecimal) }
    object["bus"] = .string(bus.rawValue)
    object["abi"] = runtimeABI.map { .number($0) }
    object["cmdline"] = .string(commandLine)
    object["created"] = .number(created)
    object["vifs"] = .array(vifs.map(\.json))
    object["policies"] = policies.json
    object["autostart"] = autostart ? .bool(true) : nil
    object["after"] = after.isEmpty ? nil : .array(after.map { .string($0) })
    object["scheduling"] = scheduling == Scheduling() ? nil : scheduling.json
    object["restarts"] = .number(restarts)
    object["told"] = .bool(!isUntold)
    object["held"] = isHeld ? .bool(true) : nil
    return .object(object)
  }

  /// The last second that the device page can hold, in nanoseconds.
  private static let latest = Int(UInt64.max / 1_000_000_000)

  fileprivate init(reading json: JSON, version: Int) throws(DamagedRecord) {
    guard case .array(let vifs) = try json.member("vifs") else { throw DamagedRecord() }
    // Version 1 had one bus, and kernels that know nothing of it.
    let bus: DeviceBus =
      version == 1 ? (json["abi"] == nil ? .none : .noxs) : try json.member("bus", \.text, DeviceBus.init)
    self.init(
      name: try json.string("name", atMost: Names.longestName),
      imageName: try json.optional("image") { $0 },
      kernel: try json.member("kernel", \.text, ImageDigest.init),
      ramdisk: try json.optional("ramdisk", ImageDigest.init), bus: bus,
      runtimeABI: json["abi"] == nil ? nil : try json.integer("abi", in: 0...Int(UInt32.max)),
      commandLine: try json.string("cmdline", atMost: CreateRequest.longestCmdline),
      created: try json.integer("created", in: 0...Self.latest),
      vifs: try vifs.enumerated().map { position, json throws(DamagedRecord) in
        try VifRecord(reading: json, position: position)
      })
    if Set(self.vifs.map(\.slot)).count < self.vifs.count { throw DamagedRecord() }
    let isTold = try json.flag("told") ?? false
    isUntold = bus == .noxs && !isTold
    if version > 1 { try readLifeCycle(json) }
  }

  /// What version 1 had nothing of.
  private mutating func readLifeCycle(_ json: JSON) throws(DamagedRecord) {
    restarts = try json.integer("restarts", in: 0...Int.max)
    after = try json["after"].map { names throws(DamagedRecord) in try [String](reading: names) } ?? []
    autostart = try json.flag("autostart") ?? false
    isHeld = try json.flag("held") ?? false
    let policies = try json.member("policies")
    do throws(APIError) {
      self.policies = try GuestPolicies(json: policies, at: "policies")
      if let json = json["scheduling"] { scheduling = try Scheduling(json: json, at: "scheduling") }
    } catch {
      throw DamagedRecord()
    }
  }
}

extension [String] {
  fileprivate init(reading json: JSON) throws(DamagedRecord) {
    guard case .array(let elements) = json else { throw DamagedRecord() }
    self = try elements.map { element throws(DamagedRecord) in
      guard let text = element.text else { throw DamagedRecord() }
      return text
    }
  }
}

extension VifRecord {
  fileprivate var json: JSON {
    var object = JSONObject()
    object["slot"] = .number(slot)
    object["mac"] = .string(mac.description)
    object["lan"] = lan.map { .string($0) }
    object["bridge"] = .string(bridge.description)
    object["mtu"] = .number(mtu)
    object["features"] = .number(features)
    object["ip"] = ipv4.map { .string($0.description) }
    object["gateway"] = ipv4Gateway.map { .string($0.description) }
    object["ip6"] = ipv6.map { .string($0.description) }
    object["gateway6"] = ipv6Gateway.map { .string($0.description) }
    return .object(object)
  }

  /// - Parameter position: in the list of vifs; where nothing else is said it is the slot.
  fileprivate init(reading json: JSON, position: Int) throws(DamagedRecord) {
    let slots = 0...CreateRequest.mostVifs - 1
    guard slots.contains(position) else { throw DamagedRecord() }
    self.init(
      slot: json["slot"] == nil ? position : try json.integer("slot", in: slots),
      mac: try json.member("mac", \.text, { MACAddress($0) }), lan: try json.optional("lan") { $0 },
      bridge: try json.member("bridge", \.text, { InterfaceName($0) }),
      mtu: try json.integer("mtu", in: CreateRequest.mtuRange),
      features: UInt64(try json.integer("features", in: 0...Int.max)),
      ipv4: try json.optional("ip") { IPv4Interface($0) },
      ipv4Gateway: try json.optional("gateway") { IPv4Address($0) },
      ipv6: try json.optional("ip6") { IPv6Interface($0) },
      ipv6Gateway: try json.optional("gateway6") { IPv6Address($0) })
  }
}

extension JSON {
  /// The string, if it is one.
  public var text: String? {
    if case .string(let value) = self { return value }
    return nil
  }

  /// The integer, if it is one.
  public var int: Int? {
    if case .integer(let value) = self { return Int(value) }
    return nil
  }
}
