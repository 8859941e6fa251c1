import ChaosAPI
import Glibc
import StateFiles
import Xen

/// The records of all domains chaosd made: one small file a domain, replaced atomically, on tmpfs (a record is
/// worth nothing after a reboot of the host).
public final class RecordStore: Sendable {
  private let folder: String

  /// - Parameter folder: created, readable by root only, when it is missing.
  public init(folder: String) throws(StateFile.Failure) {
    self.folder = folder
    try StateFile.makeFolder(folder, mode: 0o700)
  }

  private func path(_ handle: DomainHandle) -> String { "\(folder)/\(handle.uuid)" }

  /// Writes a record; whoever reads sees the old one or the new one whole.
  public func write(_ record: DomainRecord) throws(StateFile.Failure) {
    try StateFile.replace(
      path(record.handle), with: record.json.compact, mode: 0o600, durability: .processDeath)
  }

  public func remove(_ handle: DomainHandle) { unlink(path(handle)) }

  /// Every record that can be read, and the names (UUIDs, if they are ours) of those that cannot.
  public func readAll() -> (records: [DomainRecord], damaged: [String]) {
    var records: [DomainRecord] = []
    var damaged: [String] = []
    for name in StateFile.names(in: folder) {
      let path = "\(folder)/\(name)"
      if name.hasSuffix(StateFile.unfinishedSuffix) {
        unlink(path)
      } else if let record = Self.read(path), record.handle.uuid == name {
        records.append(record)
      } else {
        damaged.append(name)
      }
    }
    return (records, damaged)
  }

  private static func read(_ path: String) -> DomainRecord? {
    guard let bytes = try? StateFile.read(path), let json = try? JSON(parsing: bytes) else { return nil }
    return DomainRecord(json: json)
  }
}
