import ChaosAPI
import NetworkAddresses
import VirtualLAN

/// The request configuration that the runtime writes to standard input.
///
/// Only what every command needs is read at once: DEL has to work with a configuration whose other values ADD
/// would refuse.
public struct NetworkConfiguration: Sendable {
  public let version: CNIVersion
  /// Of the network.
  public let name: String
  /// The plug-in that gives out addresses; nil where the network leaves them to somebody else.
  let addressManager: String?
  let json: JSON
  private let reader: ConfigurationReader

  /// The longest configuration taken, in bytes.
  public static let longest = 1 << 20

  /// - Throws: `CNIError`: `decoding` for what is not JSON, `incompatibleVersion`, `invalidConfiguration`.
  public init(parsing bytes: [UInt8]) throws(CNIError) {
    let json: JSON
    do throws(JSONError) {
      json = try JSON(parsing: bytes)
    } catch {
      throw CNIError(.decoding, "the network configuration: \(error)")
    }
    try self.init(json: json)
  }

  init(json: JSON) throws(CNIError) {
    self.json = json
    reader = try ConfigurationReader(json)
    version = try Self.version(reader)
    let name = try reader.requiredString("name")
    guard isSpecName(name) else {
      throw reader.refused("name", "not letters, digits, '_', '.' and '-' with a letter or digit first", name)
    }
    self.name = name
    let manager = try reader.object("ipam")
    addressManager = try manager?.string("type").flatMap { $0.isEmpty ? nil : $0 }
  }

  private static func version(_ reader: ConfigurationReader) throws(CNIError) -> CNIVersion {
    guard let text = try reader.string("cniVersion") else {
      throw CNIError(.incompatibleVersion, "cniVersion: missing, expected one of \(CNIVersion.list)")
    }
    guard let version = CNIVersion(rawValue: text) else {
      throw .refused("cniVersion", "not one of \(CNIVersion.list)", text, code: .incompatibleVersion)
    }
    return version
  }

  /// The version that a configuration names, for errors about the rest of it.
  static func version(in bytes: [UInt8]) -> CNIVersion? {
    guard let json = try? JSON(parsing: bytes), case .string(let text)? = json["cniVersion"] else { return nil }
    return CNIVersion(rawValue: text)
  }
}

// MARK: - Which LAN

extension NetworkConfiguration {
  /// How the configuration says which LAN it means.
  enum LANChoice: Hashable, Sendable {
    /// One that was created with `chaos lan create`.
    case named(String)
    /// One in Megalos's own words, which lives as long as it has ports; and the same with the device names that it
    /// may have been made with once.
    case megalos(LANDefinition, former: LANDefinition)
  }

  func lan() throws(CNIError) -> LANChoice {
    guard reader.has("vxlanId") else { return .named(try reader.string("lan") ?? name) }
    guard let id = try reader.integer("vxlanId", in: 1...Int(VNI.range.upperBound)),
      let vni = VNI(rawValue: UInt32(id))
    else { throw reader.missing("vxlanId") }
    let master = try reader.string("master").flatMap { $0.isEmpty ? nil : $0 }
    let suffix = try reader.string("suffix") ?? ""
    return .megalos(
      try megalos(suffix: suffix, vni: vni, master: master, .current),
      former: try megalos(suffix: suffix, vni: vni, master: master, .former))
  }

  private func megalos(
    suffix: String, vni: VNI, master: String?, _ naming: LANDefinition.MegalosNaming
  ) throws(CNIError) -> LANDefinition {
    var underlay = LANDefinition.Underlay.automatic
    if let master {
      guard let device = InterfaceName(master) else {
        throw reader.refused("master", "not an interface name", master)
      }
      underlay = .device(device)
    }
    // The suffix becomes part of interface names, which may hold nearly anything; this keeps surprises out.
    guard suffix.isEmpty || isSpecName(suffix) else {
      throw reader.refused("suffix", "not letters, digits, '_', '.' and '-' with a letter or digit first", suffix)
    }
    do throws(LANError) {
      return try LANDefinition.megalos(name: name, suffix: suffix, vni: vni, underlay: underlay, naming: naming)
    } catch {
      throw CNIError(error)
    }
  }

  /// Megalos passes over arguments it does not know, and never has addresses to give.
  var isMegalos: Bool { reader.has("vxlanId") }
}

// MARK: - What the container gets

/// What a configuration and its arguments ask for one container.
struct InterfacePlan: Equatable, Sendable {
  /// Nil: one is derived.
  var mac: MACAddress?
  /// In bytes. Nil: the LAN's.
  var mtu: Int?
  /// Empty where an IPAM plug-in gives them out, and on a network without any.
  var addresses: [AttachmentResult.Address] = []
  var routes: [AttachmentResult.Route] = []
  var dns: JSON?
}

extension NetworkConfiguration {
  /// What to give a container.
  ///
  /// A MAC or addresses given at run time stand above the configuration's own; of the three ways a runtime can
  /// give them, `runtimeConfig` stands above `args` and `args` above CNI_ARGS (CONVENTIONS.md of the CNI).
  func plan(arguments text: String) throws(CNIError) -> InterfacePlan {
    try refuseMasquerading()
    let arguments = try Arguments(parsing: text, ignoresUnknown: isMegalos)
    var plan = InterfacePlan()
    plan.mac = try mac(arguments)
    plan.mtu = try reader.integer("mtu", in: LANLimits.mtu)
    plan.dns = try reader.object("dns") == nil ? nil : reader.value("dns")
    guard addressManager == nil, !isMegalos else { return plan }
    plan.addresses = try addresses(arguments)
    try addGateways(to: &plan)
    return plan
  }

  /// Of CNI's well-known keys this is the one that would change what a network does.
  private func refuseMasquerading() throws(CNIError) {
    guard try reader.flag("ipMasq") == true else { return }
    throw CNIError(
      .unsupportedField, "ipMasq: not supported: 'true'",
      details: "a LAN does not reach the host, which would masquerade")
  }

  private var runtime: (ConfigurationReader?, ConfigurationReader?) {
    get throws(CNIError) { (try reader.object("runtimeConfig"), try reader.object("args")?.object("cni")) }
  }

  private func mac(_ arguments: Arguments) throws(CNIError) -> MACAddress? {
    let (runtimeConfig, args) = try runtime
    let given: (place: String, text: String?)
    if let text = try runtimeConfig?.string("mac"), !text.isEmpty {
      given = ("runtimeConfig.mac", text)
    } else if let text = try args?.string("mac"), !text.isEmpty {
      given = ("args.cni.mac", text)
    } else {
      given = ("CNI_ARGS: MAC", arguments.mac)
    }
    guard let text = given.text else { return nil }
    guard let mac = MACAddress(text) else {
      throw .refused(given.place, "not a MAC address, as 52:54:00:12:34:56", text)
    }
    guard mac.isUnicast else {
      throw .refused(given.place, mac.isZero ? "all zeroes" : "multicast address", text)
    }
    return mac
  }

  /// Addresses given without an IPAM plug-in: those of the run, else those of the configuration.
  private func addresses(_ arguments: Arguments) throws(CNIError) -> [AttachmentResult.Address] {
    let configured = try configuredAddresses()
    guard let (place, texts) = try requestedAddresses(arguments) else {
      for address in configured { try Self.check(address, at: address.place) }
      return configured.map { AttachmentResult.Address(address: $0.interface) }
    }
    var requested: [AttachmentResult.Address] = []
    for text in texts {
      let interface = try Self.complete(text, at: place, from: configured.map(\.interface))
      try Self.check((place, interface), at: place)
      requested.append(AttachmentResult.Address(address: interface))
    }
    return requested
  }

  private func configuredAddresses() throws(CNIError) -> [(place: String, interface: IPInterface)] {
    var texts: [(place: String, text: String)] = []
    if let text = try reader.string("address") { texts.append(("address", text)) }
    for (index, text) in (try reader.strings("addresses") ?? []).enumerated() {
      texts.append(("addresses[\(index)]", text))
    }
    var addresses: [(place: String, interface: IPInterface)] = []
    for (place, text) in texts {
      guard let interface = IPInterface(text) else {
        throw .refused(place, "not an address and prefix, as 10.1.0.2/24", text)
      }
      addresses.append((place, interface))
    }
    return addresses
  }

  /// Nil when the run gives none.
  private func requestedAddresses(_ arguments: Arguments) throws(CNIError) -> (place: String, texts: [String])? {
    let (runtimeConfig, args) = try runtime
    if let texts = try runtimeConfig?.strings("ips"), !texts.isEmpty { return ("runtimeConfig.ips", texts) }
    if let texts = try args?.strings("ips"), !texts.isEmpty { return ("args.cni.ips", texts) }
    guard let text = arguments.ip else { return nil }
    return ("CNI_ARGS: IP", text.split(separator: ",").map(String.init))
  }

  /// An address that comes without its prefix has that of the configured network it lies in.
  private static func complete(
    _ text: String, at place: String, from configured: [IPInterface]
  ) throws(CNIError) -> IPInterface {
    if let interface = IPInterface(text) { return interface }
    guard let address = IPAddress(text) else {
      throw .refused(place, "not an address, as 10.1.0.2/24 or 10.1.0.2", text)
    }
    guard let network = configured.first(where: { $0.contains(address) }),
      let interface = IPInterface(address: address, prefixLength: network.prefixLength)
    else {
      throw .refused(place, "has no prefix and lies in no network of 'address' or 'addresses'", text)
    }
    return interface
  }

  private static func check(
    _ given: (place: String, interface: IPInterface), at place: String
  ) throws(CNIError) {
    let address = given.interface.address
    if address.isMulticast { throw .refused(place, "multicast address", given.interface) }
    if address.isUnspecified || address.isLoopback {
      throw .refused(place, "not an address for an interface", given.interface)
    }
    if given.interface.isNetworkOrBroadcast {
      throw .refused(place, "the subnet's network or broadcast address", given.interface)
    }
  }

  /// A default route for each family that has a gateway.
  private func addGateways(to plan: inout InterfacePlan) throws(CNIError) {
    for key in ["gateway", "gateway6"] {
      guard let gateway: IPAddress = try reader.text(key, as: "an address, as 10.1.0.1") else { continue }
      if key == "gateway6", !gateway.isIPv6 { throw reader.refused(key, "not an IPv6 address", gateway) }
      let isLocal = gateway.isLinkLocal && gateway.isIPv6
      let positions = plan.addresses.indices.filter { index in
        let interface = plan.addresses[index].address
        return interface.contains(gateway) || isLocal && interface.address.isIPv6
      }
      guard !positions.isEmpty else { throw reader.refused(key, "outside the subnet of every address", gateway) }
      for index in positions {
        if plan.addresses[index].address.address == gateway {
          throw reader.refused(key, "the container's own address", gateway)
        }
        plan.addresses[index].gateway = gateway
      }
      plan.routes.append(.init(destination: .everywhere(like: gateway), gateway: gateway))
    }
  }
}

// MARK: - The other parts

extension NetworkConfiguration {
  /// The result of the plug-ins that ran before, or of ADD; nil when there is none.
  func previousResult() throws(CNIError) -> AttachmentResult? {
    guard let reader = try reader.object("prevResult") else { return nil }
    return try AttachmentResult(reader)
  }

  /// Who GC leaves alone.
  ///
  /// - Throws: `CNIError` also when the list is missing, as opposed to empty or null: everything would go.
  func validAttachments() throws(CNIError) -> Set<AttachmentID> {
    let key = "cni.dev/valid-attachments"
    // Before it was settled the specification's text and its library had different names for it.
    let older = "cni.dev/attachments"
    guard let present = [key, older].first(where: { json[$0] != nil }) else { throw reader.missing(key) }
    var valid: Set<AttachmentID> = []
    for attachment in try reader.objects(present) {
      let container = try attachment.requiredString("containerID")
      let interface = try attachment.requiredString("ifname")
      // What cannot be an attachment of ours protects nothing.
      if let id = try? AttachmentID(container: container, interface: interface) { valid.insert(id) }
    }
    return valid
  }
}

extension IPInterface {
  /// The destination of a default route.
  static func everywhere(like address: IPAddress) -> IPInterface {
    address.isIPv6 ? IPInterface("::/0")! : IPInterface("0.0.0.0/0")!
  }

  /// Networks of 31 and 32 bits have only hosts (RFC 3021), and IPv6 ones are taken not to have a broadcast.
  fileprivate var isNetworkOrBroadcast: Bool {
    guard case .v4(let own) = address, prefixLength < 31,
      let interface = IPv4Interface(address: own, prefixLength: prefixLength)
    else { return false }
    return own == interface.network || own == interface.broadcast
  }
}
