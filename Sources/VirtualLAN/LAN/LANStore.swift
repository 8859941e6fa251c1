import ChaosAPI
import Glibc
import StateFiles

/// The LANs' definitions on disk, and the locks under which their kernel state changes hands between chaosd and
/// the container plug-in, which runs without it.
public struct LANStore: Sendable {
  private let definitions: String
  private let locks: String

  /// - Parameters:
  ///   - definitions: folder of one file a LAN; made at the first write.
  ///   - locks: folder of one lock file a bridge; on tmpfs.
  public init(definitions: String = "/etc/chaos/lans", locks: String = "/run/chaos/lans") {
    self.definitions = definitions
    self.locks = locks
  }

  private static let suffix = ".json"

  private func path(_ name: String) -> String { "\(definitions)/\(name)\(Self.suffix)" }

  /// The LAN of that name; nil when there is none.
  ///
  /// - Throws: `LANError`, also when the name cannot be one or the file is damaged.
  public func load(_ name: String) throws(LANError) -> LANDefinition? {
    do throws(APIError) {
      try Names.checkLANName(name, field: "lan")
    } catch {
      throw LANError(.invalid, error.message, field: "lan")
    }
    return try read(path(name), name: name)
  }

  private func read(_ path: String, name: String) throws(LANError) -> LANDefinition? {
    let bytes: [UInt8]?
    do throws(StateFile.Failure) { bytes = try StateFile.read(path) } catch { throw LANError(error) }
    guard let bytes else { return nil }
    do {
      let definition = try LANDefinition(json: try JSON(parsing: bytes))
      guard definition.name == name else { throw LANError.refused("name", "not the file's", definition.name) }
      return definition
    } catch {
      throw LANError(.system, "\(path): \(error)")
    }
  }

  /// What a folder of definitions holds.
  public struct Content: Sendable {
    /// By name.
    public var lans: [LANDefinition] = []
    /// Why what cannot be used cannot, by the LAN's name.
    public var unusable: [String: LANError] = [:]
    /// Why the folder itself could not be read.
    public var failure: LANError?

    public var damaged: [LANError] {
      [failure].compactMap { $0 } + unusable.sorted { $0.key < $1.key }.map(\.value)
    }
    /// Whether nothing is there that is not among `lans`: what cannot be read does not count as gone.
    public var isComplete: Bool { failure == nil && unusable.isEmpty }
  }

  /// Every LAN. Of several with the same VNI or the same devices the first by name counts.
  public func loadAll() -> Content {
    var content = Content()
    let files: [String]
    do throws(StateFile.Failure) {
      files = try StateFile.list(definitions)
    } catch {
      content.failure = LANError(error)
      return content
    }
    for file in files.sorted() where file.hasSuffix(Self.suffix) {
      let name = String(file.dropLast(Self.suffix.count))
      do throws(LANError) {
        guard let lan = try read("\(definitions)/\(file)", name: name) else { continue }
        if let other = content.lans.first(where: { $0.collides(with: lan) }) {
          throw LANError(.conflict, "\(definitions)/\(file): VNI or devices of LAN '\(other.name)'")
        }
        content.lans.append(lan)
      } catch {
        content.unusable[name] = error
      }
    }
    return content
  }

  /// Writes a LAN down so that it outlives a power cut.
  public func save(_ lan: LANDefinition) throws(LANError) {
    do throws(StateFile.Failure) {
      try StateFile.makeFolder(definitions, mode: 0o755)
      try StateFile.replace(path(lan.name), with: lan.json.pretty, mode: 0o644, durability: .powerCut)
    } catch {
      throw LANError(error)
    }
  }

  public func remove(_ name: String) throws(LANError) {
    do throws(StateFile.Failure) {
      try StateFile.remove(path(name), durability: .powerCut)
    } catch {
      throw LANError(error)
    }
  }

  /// How long a LAN's lock is waited for where nothing else is said: whoever holds it changes devices, which takes
  /// milliseconds, or was stopped.
  public static let patience = Duration.seconds(5)

  /// Takes a LAN's lock, waiting for whoever holds it. Everyone who changes which devices a LAN has, or whether its
  /// VXLAN device is up, holds it meanwhile.
  ///
  /// - Throws: `LANError`, of kind `unavailable` and with the lock's file and its holder when it was held until the
  ///   deadline.
  public func lock(
    bridge: InterfaceName, within patience: Duration = LANStore.patience
  ) throws(LANError) -> FileLock {
    let path = try lockFile(bridge)
    do throws(FileLock.Failure) { return try FileLock.take(path, within: patience) } catch { throw LANError(error) }
  }

  /// Takes a LAN's lock if nobody holds it; nil if somebody does.
  public func lockUnlessHeld(bridge: InterfaceName) throws(LANError) -> FileLock? {
    let path = try lockFile(bridge)
    do throws(FileLock.Failure) { return try FileLock.takeUnlessHeld(path) } catch { throw LANError(error) }
  }

  private func lockFile(_ bridge: InterfaceName) throws(LANError) -> String {
    do throws(StateFile.Failure) { try StateFile.makeFolder(locks, mode: 0o755) } catch { throw LANError(error) }
    return "\(locks)/\(bridge).lock"
  }
}

extension LANDefinition {
  /// Whether one host cannot have both.
  fileprivate func collides(with other: LANDefinition) -> Bool {
    vni == other.vni || bridge == other.bridge || vxlan == other.vxlan
  }
}
