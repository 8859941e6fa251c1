import ChaosAPI
import ShellPool
import StateFiles
import Synchronization
import Xen

/// A guest that is to be started: what it was asked for with, every address and the UUID spelled out, so that
/// starting it again gives the same guest.
struct StartNote: Sendable, Equatable {
  var handle: DomainHandle
  var request: CreateRequest
  /// The name its image was asked for by; the request has the digest.
  var imageName: String?
  /// How often it was made again before.
  var restarts: Int
}

extension StartNote {
  private static let version = 1

  var json: JSON {
    var object = JSONObject()
    object["version"] = .number(Self.version)
    object["uuid"] = .string(handle.uuid)
    object["image"] = imageName.map { .string($0) }
    object["restarts"] = .number(restarts)
    object["request"] = request.json
    return .object(object)
  }

  /// - Throws: ``APIError`` with what is wrong with it.
  init(json: JSON) throws(APIError) {
    guard let version = json["version"]?.int else { throw APIError(.internal, "no version") }
    guard version <= Self.version else {
      throw APIError(.internal, "of version \(version), written by a later chaosd; this one knows \(Self.version)")
    }
    guard let handle = json["uuid"]?.text.flatMap({ DomainHandle(uuid: $0) }), let request = json["request"],
      let restarts = json["restarts"]?.int
    else { throw APIError(.internal, "damaged") }
    self.handle = handle
    self.request = try CreateRequest(json: request, at: "request")
    try self.request.validate()
    imageName = json["image"]?.text
    self.restarts = max(0, restarts)
  }

  /// What makes the guest of a record again.
  init(_ record: GuestRecord, handle: DomainHandle, flavour: Flavour) {
    self.handle = handle
    imageName = record.imageName
    restarts = record.restarts
    request = CreateRequest(
      name: record.name, uuid: handle.uuid, image: record.kernel.description, ramdisk: record.ramdisk?.description,
      cmdline: record.commandLine, memoryMiB: flavour.memoryMiB, vcpus: flavour.vcpus,
      vifs: record.vifs.map { VifRequest($0) }, windowKiB: flavour.windowKiB, policies: record.policies,
      autostart: record.autostart, after: record.after, scheduling: record.scheduling)
  }
}

extension VifRequest {
  /// What asks for exactly this vif.
  fileprivate init(_ vif: VifRecord) {
    self.init(
      mac: vif.mac.description, ip: vif.ipv4?.description, gateway: vif.ipv4Gateway?.description,
      ip6: vif.ipv6?.description, gateway6: vif.ipv6Gateway?.description,
      bridge: vif.lan == nil ? vif.bridge.description : nil, lan: vif.lan, mtu: vif.mtu)
  }
}

/// Notes of guests that are to be started, a file each: those under way on tmpfs, those wanted after every boot on disk.
final class StartNotes: Sendable {
  private let folder: String
  private let durability: StateFile.Durability
  private let known: Mutex<[DomainHandle: StartNote]>

  /// Reads what is there. A damaged note is reported and left where it is.
  init(folder: String, durability: StateFile.Durability, report: (String) -> Void) throws(StateFile.Failure) {
    self.folder = folder
    self.durability = durability
    try StateFile.makeFolder(folder, mode: 0o700)
    var found: [DomainHandle: StartNote] = [:]
    for name in StateFile.names(in: folder) where name.hasSuffix(Self.suffix) {
      do {
        guard let bytes = try StateFile.read("\(folder)/\(name)") else { continue }
        let note = try StartNote(json: try JSON(parsing: bytes))
        found[note.handle] = note
      } catch {
        report("\(folder)/\(name) is not used: \(error)")
      }
    }
    known = Mutex(found)
  }

  private static let suffix = ".json"

  private func path(_ handle: DomainHandle) -> String { "\(folder)/\(handle.uuid)\(Self.suffix)" }

  func write(_ note: StartNote) throws(StateFile.Failure) {
    try StateFile.replace(path(note.handle), with: note.json.pretty, mode: 0o600, durability: durability)
    known.withLock { $0[note.handle] = note }
  }

  func remove(_ handle: DomainHandle) throws(StateFile.Failure) {
    guard known.withLock({ $0[handle] != nil }) else { return }
    try StateFile.remove(path(handle), durability: durability)
    known.withLock { $0[handle] = nil }
  }

  var all: [StartNote] { known.withLock { Array($0.values) } }

  subscript(handle: DomainHandle) -> StartNote? { known.withLock { $0[handle] } }

  /// The one that a caller means: by UUID or name.
  func find(_ reference: String) -> StartNote? {
    all.first { $0.request.name == reference || $0.handle.uuid == reference }
  }
}
