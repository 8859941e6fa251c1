import ChaosAPI
import Glibc
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
  /// Whether the IPAM plug-in may have given it addresses: from before it is asked until it refuses.
  var mayHaveAddresses = false
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
    object["addresses"] = .bool(mayHaveAddresses)
    object["configuration"] = .string(configuration.description)
    return .object(object)
  }

  /// Whether a plug-in wrote it that knows more than this one.
  static func isLater(_ json: JSON) -> Bool {
    guard case .integer(let version)? = json["version"] else { return false }
    return version > Self.version
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
    // Plug-ins that did not write it yet may have asked.
    mayHaveAddresses = try reader.flag("addresses") ?? true
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
  /// Behind the name of a record that was set aside.
  private static let damagedSuffix = ".damaged"

  private func path(_ id: AttachmentID) -> String { "\(folder)/\(id)\(Self.suffix)" }

  /// Why a record that is there gives nothing.
  enum Unreadable: Error {
    /// It is cut, empty or noise, as a power cut leaves files: it will never say more.
    case damaged(CNIError)
    /// A later plug-in wrote it, or the file system refuses it: it may say something yet.
    case withheld(CNIError)

    var error: CNIError {
      switch self {
      case .damaged(let error), .withheld(let error): error
      }
    }
  }

  /// Nil when there is none.
  func load(_ id: AttachmentID) throws(Unreadable) -> AttachmentRecord? {
    let path = path(id)
    let bytes: [UInt8]?
    do throws(StateFile.Failure) {
      bytes = try StateFile.read(path)
    } catch {
      throw error.errno == EFBIG ? .damaged(CNIError(error)) : .withheld(CNIError(error))
    }
    guard let bytes else { return nil }
    do {
      let json = try JSON(parsing: bytes)
      if AttachmentRecord.isLater(json) {
        throw Unreadable.withheld(CNIError(.system, "\(path): version: not one this plug-in knows"))
      }
      let record = try AttachmentRecord(json: json)
      guard record.id == id else { throw CNIError(.system, "not the file's container and interface") }
      return record
    } catch let error as Unreadable {
      throw error
    } catch {
      throw .damaged(CNIError(.system, "\(path): \(error)"))
    }
  }

  /// Nil also for a damaged one, which says no more than a missing one.
  func loadUnlessDamaged(_ id: AttachmentID) throws(CNIError) -> AttachmentRecord? {
    do throws(Unreadable) {
      return try load(id)
    } catch {
      guard case .damaged = error else { throw error.error }
      return nil
    }
  }

  /// Every record, by container and interface, and why those that cannot be read cannot. Files that are called as
  /// no attachment is are none of the store's.
  func loadAll() -> (records: [AttachmentRecord], unreadable: [(id: AttachmentID, why: Unreadable)]) {
    var records: [AttachmentRecord] = []
    var unreadable: [(id: AttachmentID, why: Unreadable)] = []
    for file in StateFile.names(in: folder).sorted() where file.hasSuffix(Self.suffix) {
      let parts = file.dropLast(Self.suffix.count).split(separator: ":", maxSplits: 1)
      guard parts.count == 2, let id = try? AttachmentID(container: String(parts[0]), interface: String(parts[1]))
      else { continue }
      do throws(Unreadable) {
        if let record = try load(id) { records.append(record) }
      } catch {
        unreadable.append((id, error))
      }
    }
    return (records, unreadable)
  }

  /// Keeps a damaged record where a person finds it and the store does not.
  func setAside(_ id: AttachmentID) throws(CNIError) {
    let path = path(id)
    guard rename(path, path + Self.damagedSuffix) == 0 || errno == ENOENT else {
      throw CNIError(StateFile.Failure(operation: "set aside", path: path, errno: errno))
    }
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
