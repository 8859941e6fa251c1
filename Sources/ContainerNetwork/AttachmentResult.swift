import ChaosAPI
import NetworkAddresses

/// What ADD answers ("ADD Success" in the CNI specification), what an IPAM plug-in answers, and what a runtime
/// hands back as `prevResult`.
struct AttachmentResult: Equatable, Sendable {
  struct Interface: Hashable, Sendable {
    var name: String
    /// As it was written: other plug-ins' interfaces may have hardware addresses of other kinds.
    var mac: String?
    /// In bytes.
    var mtu: Int?
    /// The container's namespace; nil for an interface of the host.
    var sandbox: String?
    var socketPath: String?
    var pciID: String?
  }

  struct Address: Hashable, Sendable {
    var address: IPInterface
    var gateway: IPAddress?
    /// Which of the interfaces has it.
    var interface: Int?
  }

  struct Route: Hashable, Sendable {
    var destination: IPInterface
    /// Nil: the gateway of the address of the same family.
    var gateway: IPAddress?
    var details = RouteDetails()
  }

  /// What 1.1.0 added to routes.
  struct RouteDetails: Hashable, Sendable {
    /// In bytes, both.
    var mtu, advertisedMSS: Int?
    var priority, table, scope: Int?
  }

  var interfaces: [Interface] = []
  var addresses: [Address] = []
  var routes: [Route] = []
  /// As it was written: it is not for this plug-in to act on.
  var dns: JSON?
}

// MARK: - Reading

extension AttachmentResult {
  init(_ reader: ConfigurationReader) throws(CNIError) {
    for interface in try reader.objects("interfaces") { interfaces.append(try Interface(interface)) }
    for address in try reader.objects("ips") {
      addresses.append(try Address(address, interfaceCount: interfaces.count))
    }
    for route in try reader.objects("routes") { routes.append(try Route(route)) }
    if try reader.object("dns") != nil { dns = reader.value("dns") }
  }
}

/// What fits the kernel's unsigned 32-bit fields.
private let unsigned32 = 0...Int(UInt32.max)

extension AttachmentResult.Interface {
  fileprivate init(_ reader: ConfigurationReader) throws(CNIError) {
    name = try reader.requiredString("name")
    mac = try reader.string("mac").flatMap { $0.isEmpty ? nil : $0 }
    mtu = try reader.integer("mtu", in: unsigned32)
    sandbox = try reader.string("sandbox").flatMap { $0.isEmpty ? nil : $0 }
    socketPath = try reader.string("socketPath")
    pciID = try reader.string("pciID")
  }
}

extension AttachmentResult.Address {
  fileprivate init(_ reader: ConfigurationReader, interfaceCount: Int) throws(CNIError) {
    guard let address: IPInterface = try reader.text("address", as: "an address and prefix, as 10.1.0.2/24") else {
      throw reader.missing("address")
    }
    self.address = address
    gateway = try reader.text("gateway", as: "an address, as 10.1.0.1")
    guard let position = try reader.integer("interface", in: Int(Int32.min)...Int(Int32.max)) else { return }
    guard position < interfaceCount else {
      throw reader.refused("interface", "no such element of 'interfaces'", position)
    }
    interface = position < 0 ? nil : position
  }
}

extension AttachmentResult.Route {
  fileprivate init(_ reader: ConfigurationReader) throws(CNIError) {
    guard let destination: IPInterface = try reader.text("dst", as: "a network, as 10.2.0.0/16") else {
      throw reader.missing("dst")
    }
    self.destination = destination
    gateway = try reader.text("gw", as: "an address, as 10.1.0.1")
    details.mtu = try reader.integer("mtu", in: unsigned32)
    details.advertisedMSS = try reader.integer("advmss", in: unsigned32)
    details.priority = try reader.integer("priority", in: unsigned32)
    details.table = try reader.integer("table", in: unsigned32)
    details.scope = try reader.integer("scope", in: 0...255)
  }
}

// MARK: - Writing

extension AttachmentResult {
  func json(version: CNIVersion) -> JSON {
    var object = JSONObject()
    object["cniVersion"] = .string(version.rawValue)
    object["interfaces"] = interfaces.isEmpty ? nil : .array(interfaces.map { $0.json(version: version) })
    object["ips"] = addresses.isEmpty ? nil : .array(addresses.map { $0.json(version: version) })
    object["routes"] = routes.isEmpty ? nil : .array(routes.map { $0.json(version: version) })
    object["dns"] = dns
    return .object(object)
  }
}

extension AttachmentResult.Interface {
  fileprivate func json(version: CNIVersion) -> JSON {
    var object = JSONObject()
    object["name"] = .string(name)
    object["mac"] = mac.map { .string($0) }
    if version.hasLinkDetails { object["mtu"] = mtu.map { .number($0) } }
    object["sandbox"] = sandbox.map { .string($0) }
    if version.hasLinkDetails {
      object["socketPath"] = socketPath.map { .string($0) }
      object["pciID"] = pciID.map { .string($0) }
    }
    return .object(object)
  }
}

extension AttachmentResult.Address {
  fileprivate func json(version: CNIVersion) -> JSON {
    var object = JSONObject()
    if version.namesFamilies {
      switch address.address {
      case .v4: object["version"] = "4"
      case .v6: object["version"] = "6"
      }
    }
    object["interface"] = interface.map { .number($0) }
    object["address"] = .string(address.description)
    object["gateway"] = gateway.map { .string($0.description) }
    return .object(object)
  }
}

extension AttachmentResult.Route {
  fileprivate func json(version: CNIVersion) -> JSON {
    var object = JSONObject()
    object["dst"] = .string(destination.description)
    object["gw"] = gateway.map { .string($0.description) }
    guard version.hasLinkDetails else { return .object(object) }
    object["mtu"] = details.mtu.map { .number($0) }
    object["advmss"] = details.advertisedMSS.map { .number($0) }
    object["priority"] = details.priority.map { .number($0) }
    object["table"] = details.table.map { .number($0) }
    object["scope"] = details.scope.map { .number($0) }
    return .object(object)
  }
}

// MARK: - Chains

extension AttachmentResult {
  /// The result of a chain: what came before and, behind it, what this plug-in made.
  func appending(_ later: AttachmentResult) -> AttachmentResult {
    var whole = self
    whole.interfaces += later.interfaces
    for var address in later.addresses {
      address.interface = address.interface.map { $0 + interfaces.count }
      whole.addresses.append(address)
    }
    whole.routes += later.routes
    whole.dns = later.dns ?? dns
    return whole
  }
}
