import ChaosAPI
import NetworkAddresses
import StateFiles
import VirtualLAN

/// What is kept of an attachment, from before anything is made for it until all of it is gone.
struct AttachmentRecord: Equatable, Sendable {
  let id: AttachmentID
  /// The name of the network, whose configuration names the LAN.
  let network: String
  /// The bridge it is at, whatever the LAN's definition says by now.
  let bridge: InterfaceName
  /// The path of the container's network namespace.
  let namespace: String
  /// Nil until the LAN is laid out.
  var mac: MACAddress?
  /// What the container was given, in bytes; nil until the LAN is laid out.
  var mtu: Int?
  /// CNI_ARGS.
  let arguments: String
  let configuration: JSON
}

// MARK: - JSON

extension AttachmentRecord {
  /// Raised when an older plug-in could not read what this one writes.
  private static let version = 1

  var json: JSON {
    var object = JSONObject()
    object["version"] = .number(Self.version)
    object["containerID"] = .string(id.container)
    object["interface"] = .string(id.interface.description)
    object["network"] = .string(network)
    object["bridge"] = .string(bridge.description)
    object["namespace"] = .string(namespace)
    object["mac"] = mac.map { .string($0.description) }
    object["mtu"] = mtu.map { .number($0) }
    object["arguments"] = .string(arguments)
    // As text: inside the record its own nesting could go deeper than what can be read.
    object["configuration"] = .string(configuration.description)
    return .object(object)
  }

  /// - Throws: `CNIError` that names the key.
  init(json: JSON) throws(CNIError) {
    let reader = try ConfigurationReader(json, code: .system)
    guard try reader.integer("version", in: 1...Int.max) == Self.version else {
      throw CNIError(.system, "version: not one this plug-in knows")
    }
    id = try AttachmentID(
      container: try reader.requiredString("containerID"), interface: try reader.requiredString("interface"))
    network = try reader.requiredString("network")
    guard let bridge: InterfaceName = try reader.text("bridge", as: "an interface name") else {
      throw reader.missing("bridge")
    }
    self.bridge = bridge
    namespace = try reader.requiredString("namespace")
    mac = try reader.text("mac", as: "a MAC address")
    mtu = try reader.integer("mtu", in: LANLimits.mtu)
    arguments = try reader.requiredString("arguments")
    let text = try reader.requiredString("configuration")
    do throws(JSONError) {
      configuration = try JSON(parsing: text)
    } catch {
      throw CNIError(.system, "configuration: \(error)")
    }
  }
}

// MARK: - Store

/// The records: one file an attachment, called by its container and interface with a colon between them, which
/// neither can have.
public struct AttachmentStore: Sendable {
  private let folder: String

  public init(folder: String = "/var/lib/chaos/cni") { self.folder = folder }

  private static let suffix = ".json"

  private func path(_ id: AttachmentID) -> String { "\(folder)/\(id)\(Self.suffix)" }

  /// Nil when there is none.
  ///
  /// - Throws: `CNIError`, also when it is damaged.
  func load(_ id: AttachmentID) throws(CNIError) -> AttachmentRecord? {
    let path = path(id)
    guard let bytes = try CNIError.wrapping({ try StateFile.read(path) }) else { return nil }
    do {
      let record = try AttachmentRecord(json: try JSON(parsing: bytes))
      guard record.id == id else { throw CNIError(.system, "not the file's container and interface") }
      return record
    } catch {
      throw CNIError(.system, "\(path): \(error)")
    }
  }

  /// Every record, by container and interface, and why those that cannot be read cannot.
  func loadAll() -> (records: [AttachmentRecord], damaged: [CNIError]) {
    var records: [AttachmentRecord] = []
    var damaged: [CNIError] = []
    for file in StateFile.names(in: folder).sorted() where file.hasSuffix(Self.suffix) {
      let parts = file.dropLast(Self.suffix.count).split(separator: ":", maxSplits: 1)
      do throws(CNIError) {
        guard parts.count == 2 else { continue }
        let id = try AttachmentID(container: String(parts[0]), interface: String(parts[1]))
        if let record = try load(id) { records.append(record) }
      } catch {
        damaged.append(error)
      }
    }
    return (records, damaged)
  }

  func save(_ record: AttachmentRecord) throws(CNIError) {
    let bytes = record.json.compact
    guard bytes.count <= StateFile.longest else {
      throw CNIError(.invalidConfiguration, "the network configuration: too long to be kept: \(bytes.count) bytes")
    }
    try CNIError.wrapping {
      try StateFile.makeFolder(folder, mode: 0o700)
      // A power cut takes the interfaces, too.
      try StateFile.replace(path(record.id), with: bytes, mode: 0o600, durability: .processDeath)
    }
  }

  /// Removes a record that may be gone already, and what a killed plug-in left of a new one.
  func remove(_ id: AttachmentID) throws(CNIError) {
    try CNIError.wrapping {
      try StateFile.remove(path(id) + StateFile.unfinishedSuffix, durability: .processDeath)
      try StateFile.remove(path(id), durability: .processDeath)
    }
  }
}
