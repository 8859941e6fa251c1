import ChaosAPI
import Glibc
import Xen

/// The records of all domains chaosd made: one small file a domain, replaced atomically, on tmpfs (a record is
/// worth nothing after a reboot of the host).
public final class RecordStore: Sendable {
  private let folder: String

  /// A file operation on a record failed.
  public struct RecordError: Error, CustomStringConvertible {
    public let operation: String
    public let path: String
    public let errno: Int32

    public var description: String { "\(operation) \(path): \(String(cString: strerror(errno)))" }
  }

  /// - Parameter folder: created, readable by root only, when it is missing.
  public init(folder: String) throws(RecordError) {
    self.folder = folder
    if mkdir(folder, 0o700) < 0 && errno != EEXIST {
      throw RecordError(operation: "create folder", path: folder, errno: errno)
    }
  }

  private func path(_ handle: DomainHandle) -> String { "\(folder)/\(handle.uuid)" }

  /// Writes a record; whoever reads sees the old one or the new one whole.
  public func write(_ record: DomainRecord) throws(RecordError) {
    let target = path(record.handle)
    let temporary = target + ".new"
    let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw RecordError(operation: "create record", path: temporary, errno: errno) }
    let bytes = record.json.compact
    let written = Glibc.write(file, bytes, bytes.count)
    let code = errno
    close(file)
    guard written == bytes.count else {
      unlink(temporary)
      throw RecordError(operation: "write record", path: temporary, errno: written < 0 ? code : ENOSPC)
    }
    if rename(temporary, target) < 0 {
      let code = errno
      unlink(temporary)
      throw RecordError(operation: "replace record", path: target, errno: code)
    }
  }

  public func remove(_ handle: DomainHandle) { unlink(path(handle)) }

  /// Every record that can be read, and the names (UUIDs, if they are ours) of those that cannot.
  public func readAll() -> (records: [DomainRecord], damaged: [String]) {
    var records: [DomainRecord] = []
    var damaged: [String] = []
    for name in Folder.names(in: folder) {
      let path = "\(folder)/\(name)"
      if name.hasSuffix(".new") {
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
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    let capacity = 64 << 10
    let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      count = max(0, Glibc.read(file, buffer.baseAddress, capacity))
    }
    guard let json = try? JSON(parsing: bytes) else { return nil }
    return DomainRecord(json: json)
  }
}
