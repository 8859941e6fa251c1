import ChaosAPI
import Glibc
import NetworkAddresses
import VirtualLAN

/// The netavark plug-in: one call of Podman, 4.5 or later ("Description of the netavark plugin API").
///
/// Podman keeps the network and gives out its addresses; what joins a container to a LAN and what is kept of that is
/// the CNI plug-in's, to which a call is translated.
public struct NetavarkPlugin: Sendable {
  /// What a recorded configuration says of who made it: netavark has no CHECK and no GC, and after a reboot nobody
  /// tears down what was there.
  static let runtime = "netavark"

  /// The version of netavark's plug-in API.
  private static let apiVersion = "1.0.0"
  /// A network's options that mean something here.
  private static let options = ["lan", "mtu"]

  private let store: LANStore
  private let attachments: AttachmentStore

  init(store: LANStore, attachments: AttachmentStore) {
    self.store = store
    self.attachments = attachments
  }

  /// Serves one call. A failure is an object with the member `error` on standard output, which Podman shows.
  ///
  /// - Parameters:
  ///   - arguments: without the program's name: `create`, `setup NETNS`, `teardown NETNS` or `info`.
  ///   - warn: says something that does not keep the call from succeeding, one line.
  public static func serve(
    arguments: [String], version: String, readInput: () throws(CNIError) -> [UInt8],
    store: LANStore = LANStore(), attachments: AttachmentStore = AttachmentStore(), warn: (String) -> Void
  ) -> Plugin.Outcome {
    let plugin = NetavarkPlugin(store: store, attachments: attachments)
    do throws(CNIError) {
      let answer = try plugin.run(arguments, version: version, readInput: readInput, warn: warn)
      return Plugin.Outcome(output: answer.map { $0.pretty } ?? [], exitStatus: 0)
    } catch {
      let failure: JSON = ["error": .string(error.description)]
      return Plugin.Outcome(output: failure.pretty, exitStatus: 1)
    }
  }

  private func run(
    _ arguments: [String], version: String, readInput: () throws(CNIError) -> [UInt8], warn: (String) -> Void
  ) throws(CNIError) -> JSON? {
    switch (arguments.first, arguments.count) {
    case ("info", 1): return ["version": .string(version), "api_version": .string(Self.apiVersion)]
    case ("create", 1): return try create(try Self.parse(try readInput()), warn: warn)
    case ("setup", 2): return try setup(namespace: arguments[1], try Self.parse(try readInput()))
    case ("teardown", 2):
      try tearDown(namespace: arguments[1], try Self.parse(try readInput()))
      return nil
    default:
      throw CNIError(
        .invalidEnvironment,
        "usage: create | setup NETNS | teardown NETNS | info; got \(quoted(arguments.joined(separator: " ")))")
    }
  }

  private static func parse(_ bytes: [UInt8]) throws(CNIError) -> JSON {
    do throws(JSONError) {
      return try JSON(parsing: bytes)
    } catch {
      throw CNIError(.decoding, "standard input: \(error)")
    }
  }
}

// MARK: - create

extension NetavarkPlugin {
  /// Looks at what `podman network create` was given, and answers the network as it is to be kept.
  private func create(_ json: JSON, warn: (String) -> Void) throws(CNIError) -> JSON {
    let network = try Network(json)
    try network.refuseWhatALANHasNot()
    guard let lan = try CNIError.wrapping({ try store.load(network.lan) }) else {
      throw CNIError(
        .invalidConfiguration, "no such LAN: \(quoted(network.lan))",
        details: "chaos lan create \(network.lan) makes it")
    }
    let isPerHost = !network.subnets.isEmpty && lan.mode != .local
    if isPerHost, network.subnets.contains(where: { !$0.hasRange }) {
      warn(
        "LAN '\(lan.name)' may reach other hosts, and each gives out addresses by itself: keep them apart with "
          + "--ip-range")
    }
    guard case .object(var object) = json else { return json }
    // The LAN has no name server of the host's, and without subnets there is nothing to give out.
    object["dns_enabled"] = .bool(false)
    object["ipam_options"] = ["driver": .string(network.subnets.isEmpty ? "none" : "host-local")]
    return .object(object)
  }
}

// MARK: - setup, teardown

extension NetavarkPlugin {
  private func setup(namespace: String, _ json: JSON) throws(CNIError) -> JSON {
    guard Self.isInitialUserNamespace() else {
      throw CNIError(
        .unsupportedField, "rootless Podman cannot join a LAN",
        details: "its user namespace has no right to the host's bridges: run podman as root")
    }
    let call = try Call(json)
    try call.refuseWhatALANHasNot()
    let result = try plugin("ADD", call, namespace: namespace, configuration: try call.configuration()).add()
    return call.status(result)
  }

  private func tearDown(namespace: String, _ json: JSON) throws(CNIError) {
    let call = try Call(json)
    try plugin("DEL", call, namespace: namespace, configuration: call.leastConfiguration).delete()
  }

  private func plugin(
    _ command: String, _ call: Call, namespace: String, configuration: JSON
  ) throws(CNIError) -> Plugin {
    let variables = [
      "CNI_COMMAND": command, "CNI_CONTAINERID": call.container, "CNI_IFNAME": call.interface,
      "CNI_NETNS": namespace,
    ]
    return try Plugin(
      try Parameters { variables[$0] }, input: configuration.compact, environment: [:], store: store,
      attachments: attachments)
  }

  /// Whether this process is in the host's user namespace, where user 0 is every user's (user_namespaces(7)).
  private static func isInitialUserNamespace() -> Bool {
    guard let file = fopen("/proc/self/uid_map", "re") else { return true }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard fgets(&line, Int32(line.count), file) != nil else { return true }
    let words = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }.split(
      whereSeparator: \.isWhitespace)
    return words == ["0", "0", "4294967295"]
  }
}

// MARK: - What Podman says

extension NetavarkPlugin {
  /// A network, as Podman keeps it.
  struct Network {
    struct Subnet {
      let subnet: IPInterface
      let gateway: IPAddress?
      /// Addresses are given out of a part of it only.
      let hasRange: Bool
    }

    let name: String
    let isInternal: Bool
    let subnets: [Subnet]
    private let reader: ConfigurationReader
    private let options: ConfigurationReader?

    init(_ json: JSON) throws(CNIError) { try self.init(try ConfigurationReader(json)) }

    init(_ reader: ConfigurationReader) throws(CNIError) {
      self.reader = reader
      name = try reader.requiredString("name")
      isInternal = try reader.flag("internal") ?? false
      options = try reader.object("options")
      lan = try options?.string("lan") ?? name
      var subnets: [Subnet] = []
      for subnet in try reader.objects("subnets") {
        guard let range: IPInterface = try subnet.text("subnet", as: "a subnet, as 10.1.0.0/24") else {
          throw subnet.missing("subnet")
        }
        subnets.append(
          Subnet(
            subnet: range, gateway: try subnet.text("gateway", as: "an address, as 10.1.0.1"),
            hasRange: subnet.has("lease_range")))
      }
      self.subnets = subnets
    }

    /// The LAN's name: the option `lan`, or the network's own.
    let lan: String

    var mtu: Int? {
      get throws(CNIError) {
        guard let text = try options?.string("mtu") else { return nil }
        guard let mtu = Int(text), LANLimits.mtu.contains(mtu) else {
          throw CNIError.refused(
            "options.mtu", "must be \(LANLimits.mtu.lowerBound) to \(LANLimits.mtu.upperBound)", text)
        }
        return mtu
      }
    }

    func refuseWhatALANHasNot() throws(CNIError) {
      if case .object(let members)? = reader.value("options") {
        for member in members.members where !NetavarkPlugin.options.contains(member.key) {
          throw CNIError.refused(
            "options", "not one of \(NetavarkPlugin.options.joined(separator: ", "))", member.key)
        }
      }
      _ = try mtu
      guard try reader.list("routes")?.isEmpty ?? true else {
        throw CNIError(.unsupportedField, "routes: not supported; a LAN has a gateway or none")
      }
      let driver = try reader.object("ipam_options")?.string("driver") ?? ""
      guard ["", "none", "host-local"].contains(driver) else {
        throw CNIError.refused("ipam_options.driver", "not host-local or none", driver)
      }
    }
  }

  /// What `setup` and `teardown` are given: a network and what one container has on it.
  struct Call {
    let container: String
    let interface: String
    private let network: Network
    private let reader: ConfigurationReader
    private let options: ConfigurationReader

    init(_ json: JSON) throws(CNIError) {
      reader = try ConfigurationReader(json)
      container = try reader.requiredString("container_id")
      guard let network = try reader.object("network") else { throw reader.missing("network") }
      self.network = try Network(network)
      guard let options = try reader.object("network_options") else { throw reader.missing("network_options") }
      self.options = options
      interface = try options.requiredString("interface_name")
    }

    func refuseWhatALANHasNot() throws(CNIError) {
      try network.refuseWhatALANHasNot()
      guard try reader.list("port_mappings")?.isEmpty ?? true else {
        throw CNIError(
          .unsupportedField, "port_mappings: not supported",
          details: "a LAN does not reach the host, which would forward")
      }
    }

    /// What is enough to take a container off, whatever else was meant.
    var leastConfiguration: JSON {
      [
        "cniVersion": .string(CNIVersion.latest.rawValue), "name": .string(network.name), "type": "chaos-cni",
        "lan": .string(network.lan), "runtime": .string(NetavarkPlugin.runtime),
      ]
    }

    func configuration() throws(CNIError) -> JSON {
      guard case .object(var object) = leastConfiguration else { return leastConfiguration }
      let addresses = try addresses()
      var runtime: JSONObject = ["ips": .array(addresses.map { .string($0.description) })]
      runtime["mac"] = try options.string("static_mac").flatMap { $0.isEmpty ? nil : .string($0) }
      object["runtimeConfig"] = .object(runtime)
      object["mtu"] = try network.mtu.map { .number($0) }
      if !network.isInternal {
        object["gateway"] = gateway(isIPv6: false, addresses).map { .string($0.description) }
        object["gateway6"] = gateway(isIPv6: true, addresses).map { .string($0.description) }
      }
      return .object(object)
    }

    /// Podman's addresses with the prefixes of the subnets that they were taken from.
    private func addresses() throws(CNIError) -> [IPInterface] {
      var addresses: [IPInterface] = []
      for (index, text) in (try options.strings("static_ips") ?? []).enumerated() {
        let place = "network_options.static_ips[\(index)]"
        guard let address = IPAddress(text) else { throw CNIError.refused(place, "not an address", text) }
        guard let subnet = network.subnets.first(where: { $0.subnet.contains(address) }),
          let interface = IPInterface(address: address, prefixLength: subnet.subnet.prefixLength)
        else { throw CNIError.refused(place, "in none of the network's subnets", text) }
        addresses.append(interface)
      }
      return addresses
    }

    /// The first gateway of a family that an address of the container's reaches.
    private func gateway(isIPv6: Bool, _ addresses: [IPInterface]) -> IPAddress? {
      network.subnets.compactMap(\.gateway).first { gateway in
        gateway.isIPv6 == isIPv6
          && addresses.contains { $0.contains(gateway) && $0.address != gateway }
      }
    }

    /// netavark's StatusBlock.
    func status(_ result: AttachmentResult) -> JSON {
      let mac = result.interfaces.first { $0.sandbox != nil }?.mac ?? ""
      let subnets: [JSON] = result.addresses.map { address in
        var object: JSONObject = ["ipnet": .string(address.address.description)]
        object["gateway"] = address.gateway.map { .string($0.description) }
        return .object(object)
      }
      let own: JSON = ["mac_address": .string(mac), "subnets": .array(subnets)]
      var interfaces = JSONObject()
      interfaces[interface] = own
      return ["dns_search_domains": [], "dns_server_ips": [], "interfaces": .object(interfaces)]
    }
  }
}

// MARK: - Collection

extension AttachmentStore {
  /// Forgets attachments that netavark made and that are gone without a teardown: after a reboot of the host, or with
  /// a container whose namespace went first. Their interfaces went with the namespace.
  ///
  /// Never waits for whoever else changes a LAN: that one's are looked at the next time.
  ///
  /// - Returns: why those that stay do, one line each.
  public func forgetGone(of network: HostNetwork, store: LANStore = LANStore()) -> [String] {
    var failures: [String] = []
    for record in loadAll().records where record.isNetavark {
      do throws(CNIError) {
        try forgetIfGone(record, network, store)
      } catch {
        failures.append("container \(record.id.container): \(error)")
      }
    }
    return failures
  }

  private func forgetIfGone(
    _ record: AttachmentRecord, _ network: HostNetwork, _ store: LANStore
  ) throws(CNIError) {
    guard try isGone(record, network) else { return }
    guard let lock = try CNIError.wrapping({ try store.lockUnlessHeld(bridge: record.bridge) }) else { return }
    defer { withExtendedLifetime(lock) {} }
    // Who is at it now has written down another namespace, or made the interface.
    guard try loadUnlessDamaged(record.id) == record, try isGone(record, network) else { return }
    try remove(record.id)
  }

  private func isGone(_ record: AttachmentRecord, _ network: HostNetwork) throws(CNIError) -> Bool {
    guard try CNIError.wrapping({ try network.link(named: record.id.hostInterface) }) == nil else { return false }
    return (try? NamespaceHandle(path: record.namespace)) == nil
  }
}

extension AttachmentRecord {
  fileprivate var isNetavark: Bool { configuration["runtime"] == .string(NetavarkPlugin.runtime) }
}
