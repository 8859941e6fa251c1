import ChaosAPI
import Glibc
import StateFiles
import Synchronization
import Xen

/// The records of all domains chaosd made: one small file a domain, replaced atomically, on tmpfs (a record is
/// worth nothing after a reboot of the host).
///
/// The files are the truth. What they say is kept in memory too, because nobody else writes them and whoever compares
/// them with the world does so often.
public final class RecordStore: Sendable {
  private let folder: String
  private let state = Mutex(State())

  private struct State {
    var known: [DomainHandle: DomainRecord] = [:]
    var claimed: Set<DomainHandle> = []
  }

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
    state.withLock { $0.known[record.handle] = record }
  }

  public func remove(_ handle: DomainHandle) {
    unlink(path(handle))
    state.withLock { state in
      state.known[handle] = nil
      state.claimed.remove(handle)
    }
  }

  /// Every record as it stands.
  public var all: [DomainRecord] { state.withLock { Array($0.known.values) } }

  // MARK: Claims

  /// Notes that somebody in this process is answerable for a domain: a create under way, the pool, a guest.
  public func claim(_ handle: DomainHandle) { state.withLock { _ = $0.claimed.insert(handle) } }

  /// Notes that nobody is any more; what its record speaks of is to be unmade.
  public func release(_ handle: DomainHandle) { state.withLock { _ = $0.claimed.remove(handle) } }

  /// The records that nobody is answerable for.
  public var abandoned: [DomainRecord] {
    state.withLock { state in state.known.values.filter { !state.claimed.contains($0.handle) } }
  }

  // MARK: Reading

  /// What was found in the folder.
  public struct Found {
    public var records: [DomainRecord] = []
    /// Names (UUIDs, if they are ours) of files that no chaosd wrote so.
    public var damaged: [String] = []
    /// Names of records of a later chaosd, and their version.
    public var newer: [(name: String, version: Int)] = []
  }

  /// Reads every record anew.
  public func readAll() -> Found {
    var found = Found()
    for name in StateFile.names(in: folder) {
      let path = "\(folder)/\(name)"
      if name.hasSuffix(StateFile.unfinishedSuffix) {
        unlink(path)
        continue
      }
      do throws(DomainRecord.Unreadable) {
        let record = try Self.read(path)
        if record.handle.uuid == name { found.records.append(record) } else { found.damaged.append(name) }
      } catch {
        switch error {
        case .damaged: found.damaged.append(name)
        case .newer(let version): found.newer.append((name, version))
        }
      }
    }
    state.withLock { $0.known = Dictionary(uniqueKeysWithValues: found.records.map { ($0.handle, $0) }) }
    return found
  }

  private static func read(_ path: String) throws(DomainRecord.Unreadable) -> DomainRecord {
    guard let bytes = try? StateFile.read(path), let json = try? JSON(parsing: bytes) else { throw .damaged }
    return try DomainRecord(json: json)
  }
}
