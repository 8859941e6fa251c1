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
  public var phase: Phase
  public var flavour: Flavour
  /// Present from `starting` on.
  public var guest: GuestRecord?

  public init(handle: DomainHandle, phase: Phase, flavour: Flavour, guest: GuestRecord? = nil) {
    self.handle = handle
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
  /// The device page version the image speaks; nil for one that knows nothing of the page.
  public var runtimeABI: Int?
  public var commandLine: String
  /// Seconds since 1970.
  public var created: Int
  public var vifs: [VifRecord]

  public init(
    name: String, imageName: String?, kernel: ImageDigest, ramdisk: ImageDigest?, runtimeABI: Int?,
    commandLine: String, created: Int, vifs: [VifRecord]
  ) {
    self.name = name
    self.imageName = imageName
    self.kernel = kernel
    self.ramdisk = ramdisk
    self.runtimeABI = runtimeABI
    self.commandLine = commandLine
    self.created = created
    self.vifs = vifs
  }
}

public struct VifRecord: Equatable, Sendable {
  public var mac: MACAddress
  public var bridge: InterfaceName
  public var mtu: Int
  /// virtio feature bits in force.
  public var features: UInt64
  public var ipv4: IPv4Interface?
  public var ipv4Gateway: IPv4Address?
  public var ipv6: IPv6Interface?
  public var ipv6Gateway: IPv6Address?

  public init(
    mac: MACAddress, bridge: InterfaceName, mtu: Int, features: UInt64, ipv4: IPv4Interface? = nil,
    ipv4Gateway: IPv4Address? = nil, ipv6: IPv6Interface? = nil, ipv6Gateway: IPv6Address? = nil
  ) {
    self.mac = mac
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
  /// Raised when a record of an older chaosd can no longer be read.
  static let version: Int64 = 1

  var json: JSON {
    var object = JSONObject()
    object["version"] = .integer(Self.version)
    object["uuid"] = .string(handle.uuid)
    object["phase"] = .string(phase.rawValue)
    object["flavour"] = flavour.json
    object["guest"] = guest?.json
    return .object(object)
  }

  /// Nil when the record is damaged or of another version.
  init?(json: JSON) {
    guard json["version"] == .integer(Self.version), let uuid = json["uuid"]?.text,
      let handle = DomainHandle(uuid: uuid), let phase = json["phase"]?.text.flatMap(Phase.init),
      let flavour = json["flavour"].flatMap(Flavour.init(json:))
    else { return nil }
    self.init(handle: handle, phase: phase, flavour: flavour)
    if let value = json["guest"] {
      guard let guest = GuestRecord(json: value) else { return nil }
      self.guest = guest
    }
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

  init?(json: JSON) {
    guard let memory = json["memory"]?.int, let vcpus = json["vcpus"]?.int, let vifs = json["vifs"]?.int,
      let window = json["window"]?.int
    else { return nil }
    self.init(memoryMiB: memory, vcpus: vcpus, vifs: vifs, windowKiB: window)
    if let kernel = json["kernel"]?.text {
      guard let digest = ImageDigest(kernel) else { return nil }
      image = HotImage(kernel: digest, ramdisk: json["ramdisk"]?.text.flatMap { ImageDigest($0) })
    }
  }
}

extension GuestRecord {
  fileprivate var json: JSON {
    var object = JSONObject()
    object["name"] = .string(name)
    object["image"] = imageName.map { .string($0) }
    object["kernel"] = .string(kernel.hexadecimal)
    object["ramdisk"] = ramdisk.map { .string($0.hexadecimal) }
    object["abi"] = runtimeABI.map { .number($0) }
    object["cmdline"] = .string(commandLine)
    object["created"] = .number(created)
    object["vifs"] = .array(vifs.map(\.json))
    return .object(object)
  }

  fileprivate init?(json: JSON) {
    guard let name = json["name"]?.text, let kernel = json["kernel"]?.text.flatMap({ ImageDigest($0) }),
      let commandLine = json["cmdline"]?.text, let created = json["created"]?.int,
      case .array(let vifs)? = json["vifs"]
    else { return nil }
    let decoded = vifs.compactMap { VifRecord(json: $0) }
    guard decoded.count == vifs.count else { return nil }
    self.init(
      name: name, imageName: json["image"]?.text, kernel: kernel,
      ramdisk: json["ramdisk"]?.text.flatMap { ImageDigest($0) }, runtimeABI: json["abi"]?.int,
      commandLine: commandLine, created: created,
      vifs: decoded)
  }
}

extension VifRecord {
  fileprivate var json: JSON {
    var object = JSONObject()
    object["mac"] = .string(mac.description)
    object["bridge"] = .string(bridge.description)
    object["mtu"] = .number(mtu)
    object["features"] = .number(features)
    object["ip"] = ipv4.map { .string($0.description) }
    object["gateway"] = ipv4Gateway.map { .string($0.description) }
    object["ip6"] = ipv6.map { .string($0.description) }
    object["gateway6"] = ipv6Gateway.map { .string($0.description) }
    return .object(object)
  }

  fileprivate init?(json: JSON) {
    guard let mac = json["mac"]?.text.flatMap({ MACAddress($0) }),
      let bridge = json["bridge"]?.text.flatMap({ InterfaceName($0) }), let mtu = json["mtu"]?.int,
      let features = json["features"]?.int
    else { return nil }
    self.init(
      mac: mac, bridge: bridge, mtu: mtu, features: UInt64(clamping: features),
      ipv4: json["ip"]?.text.flatMap { IPv4Interface($0) },
      ipv4Gateway: json["gateway"]?.text.flatMap { IPv4Address($0) },
      ipv6: json["ip6"]?.text.flatMap { IPv6Interface($0) },
      ipv6Gateway: json["gateway6"]?.text.flatMap { IPv6Address($0) })
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
