import ChaosAPI
import NetworkAddresses
import StateFiles
import VirtualLAN

/// The CNI plug-in: one call of a container runtime.
public struct Plugin: Sendable {
  let parameters: Parameters
  let configuration: NetworkConfiguration
  let environment: [String: String]
  let store: LANStore
  let attachments: AttachmentStore
  /// As it came, for the IPAM plug-in.
  private let input: [UInt8]

  init(
    _ parameters: Parameters, input: [UInt8], environment: [String: String], store: LANStore,
    attachments: AttachmentStore
  ) throws(CNIError) {
    self.parameters = parameters
    self.input = input
    self.environment = environment
    self.store = store
    self.attachments = attachments
    configuration = try NetworkConfiguration(parsing: input)
  }

  /// What a call ends with.
  public struct Outcome: Sendable {
    /// For standard output.
    public let output: [UInt8]
    public let exitStatus: Int32
  }

  /// Serves one call.
  ///
  /// - Parameter readInput: reads standard input to its end.
  public static func serve(
    environment: [String: String], readInput: () throws(CNIError) -> [UInt8], store: LANStore = LANStore(),
    attachments: AttachmentStore = AttachmentStore()
  ) -> Outcome {
    var input: [UInt8] = []
    do throws(CNIError) {
      let parameters = try Parameters { environment[$0] }
      input = try readInput()
      if parameters.command == .version { return Outcome(output: versions(input).compact + newline, exitStatus: 0) }
      let plugin = try Plugin(
        parameters, input: input, environment: environment, store: store, attachments: attachments)
      let result = try plugin.run()
      return Outcome(output: result.map { $0.pretty } ?? [], exitStatus: 0)
    } catch {
      return Outcome(output: error.json(version: NetworkConfiguration.version(in: input)).pretty, exitStatus: 1)
    }
  }

  private static let newline = [UInt8(ascii: "\n")]

  /// "VERSION Success": the version asked with, and those that are spoken.
  private static func versions(_ input: [UInt8]) -> JSON {
    var asked = CNIVersion.latest.rawValue
    if let json = try? JSON(parsing: input), case .string(let text)? = json["cniVersion"] { asked = text }
    return [
      "cniVersion": .string(asked), "supportedVersions": .array(CNIVersion.allCases.map { .string($0.rawValue) }),
    ]
  }

  private func run() throws(CNIError) -> JSON? {
    switch parameters.command {
    case .add:
      return try add().json(version: configuration.version)
    case .del:
      try delete()
    case .check:
      try require(.v040)
      try check()
    case .gc:
      try require(.v110)
      try collect()
    case .status:
      try require(.v110)
      try status()
    case .version:
      break
    }
    return nil
  }

  /// Refuses a command that the configuration's version of the protocol does not have.
  private func require(_ version: CNIVersion) throws(CNIError) {
    guard configuration.version < version else { return }
    throw CNIError(
      .incompatibleVersion,
      "cniVersion: \(parameters.command.rawValue) came with \(version.rawValue): \(quoted(configuration.version.rawValue))"
    )
  }
}

// MARK: - What commands share

extension Plugin {
  /// The attachment of a command that is about one.
  var id: AttachmentID {
    get throws(CNIError) {
      guard let id = parameters.attachment else { throw CNIError(.invalidEnvironment, "CNI_CONTAINERID: missing") }
      return id
    }
  }

  /// The network's IPAM plug-in, to be called as this one was; nil where it has none.
  func addressManager() throws(CNIError) -> AddressManager? {
    guard let type = configuration.addressManager, !configuration.isMegalos else { return nil }
    return try AddressManager(
      type: type, path: parameters.path, environment: environment, configuration: input)
  }

  func network() throws(CNIError) -> HostNetwork {
    try CNIError.wrapping { try HostNetwork() }
  }

  /// The definition of a LAN that has to be there.
  func definition(of choice: NetworkConfiguration.LANChoice) throws(CNIError) -> LANDefinition {
    switch choice {
    case .megalos(let lan, let former):
      if let kept = try keptMegalos(lan, former: former) { return kept }
      return try isLaidOut(former, insteadOf: lan) ? former : lan
    case .named(let name):
      guard let lan = try CNIError.wrapping({ try store.load(name) }) else {
        throw CNIError(
          .invalidConfiguration, "lan: no such LAN: \(quoted(name))", details: "chaos lan create \(name) makes it")
      }
      return lan
    }
  }

  /// The LAN that was created to share a Megalos lab's bridge, which knows more than the configuration.
  private func keptMegalos(_ lan: LANDefinition, former: LANDefinition) throws(CNIError) -> LANDefinition? {
    let kept = store.loadAll().lans
    if let sharing = kept.first(where: { $0.bridge == lan.bridge }) {
      if sharing.vni == lan.vni { return sharing }
      throw .refused("vxlanId", "not the \(sharing.vni) of the LAN '\(sharing.name)' with the same bridge", lan.vni)
    }
    // A VNI has one VXLAN device on a host, whatever it is called.
    guard let same = kept.first(where: { $0.vni == lan.vni }) else { return nil }
    if same.bridge == former.bridge { return same }
    throw .refused("vxlanId", "taken by the LAN '\(same.name)' with the bridge '\(same.bridge)'", lan.vni)
  }

  /// Whether containers are on the LAN by the device names of former days still.
  private func isLaidOut(_ former: LANDefinition, insteadOf lan: LANDefinition) throws(CNIError) -> Bool {
    guard former.vxlan != lan.vxlan else { return false }
    let network = try network()
    return try CNIError.wrapping {
      try network.link(named: former.vxlan)?.vxlan?.vni == lan.vni && network.link(named: lan.vxlan) == nil
    }
  }

  /// Runs `body` while nobody else changes which ports the LAN has.
  func holdingLock<Result>(
    of bridge: InterfaceName, _ body: () throws(CNIError) -> Result
  ) throws(CNIError) -> Result {
    let lock = try CNIError.wrapping { try store.lock(bridge: bridge) }
    defer { withExtendedLifetime(lock) {} }
    return try body()
  }
}
