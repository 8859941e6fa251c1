/// What was found of something, or why nobody could look.
enum Fact<Value: Sendable>: Sendable {
  case found(Value)
  case unknown(String)
}

/// What this host has of what chaos needs: plain values, gathered once. Nothing is changed for that, and no module loaded.
public struct HostFacts: Sendable {
  enum Hypervisor: Sendable, Equatable {
    case none
    /// This is a guest of Xen's.
    case guest
    case dom0
  }

  /// A device file.
  enum Device: Sendable, Equatable {
    case ok
    case missing
    /// Not what it should be, or what the system said when it was opened.
    case unusable(String)
    /// Why nobody tried.
    case unknown(String)
  }

  struct Memory: Sendable {
    var dom0IsFixed: Bool
    var dom0MiB: Int
    /// That guests may have.
    var freeMiB: Int
  }

  struct FRR: Sendable {
    /// Names of LANs of mode evpn.
    var lans: [String]
    var isInstalled: Bool
    var bgpdRuns: Bool
  }

  /// The file system that a folder is on, or will be.
  struct Space: Sendable {
    var path: String
    var freeBytes: Int
    /// Nil where the file system does not count them.
    var freeFiles: Int?
    var isReadOnly: Bool
    /// Something else than a folder is in its place.
    var isTaken: Bool
  }

  struct Process: Sendable, Equatable {
    var id: Int
    /// Its program's file was replaced or removed since it was started; nil where only root can see.
    var isOutdated: Bool?
    /// Files it may have open; nil where only root can see.
    var descriptors: Int?
  }

  /// What chaosd said.
  enum Daemon: Sendable, Equatable {
    case answers(version: String)
    /// What it said is no answer that this program understands.
    case strange(String)
    /// Why it did not.
    case silent(String)
  }

  struct Socket: Sendable, Equatable {
    var path: String
    /// Permissions.
    var mode: Int
    var isChaosGroups: Bool
  }

  struct Podman: Sendable {
    var isInstalled: Bool
    /// It has netavark, its network program from Podman 4 on and the only one from 5 on.
    var hasNetavark: Bool
    var hasCNIPlugin: Bool
    var hasNetavarkPlugin: Bool
  }

  /// Of this program.
  var version: String
  var hypervisor: Hypervisor
  /// By path.
  var devices: [String: Device]
  /// Nil where Xen's interface is known; else why not.
  var xenInterface: Fact<String?>
  var memory: Fact<Memory>
  /// Those that are neither loaded, nor in the kernel, nor there to be loaded.
  var missingModules: Fact<[String]>
  var hasCgroup2: Bool
  /// What keeps frames from crossing bridges, with what to do about it.
  var bridgeFilters: Fact<[String]>
  var frr: FRR
  /// Files of LANs that cannot be used, and why.
  var damagedLANs: [String]
  var hasGroup: Bool
  /// The user that chaos-backend is to run as; nil: root.
  var backendUser: String?
  var hasBackendUser: Bool
  var socket: Socket?
  /// By what is kept there.
  var spaces: [HostCheck.Storage: Fact<Space>]
  var chaosd: [Process]
  var backend: [Process]
  var daemon: Fact<Daemon>
  /// What chaosd's own health check finds: names and messages.
  var unwell: Fact<[String]>
  /// Records of guests and shells.
  var domains: Fact<Int>
  /// Files that a process may have open when it is started here.
  var descriptors: Int
  var podman: Podman
}
