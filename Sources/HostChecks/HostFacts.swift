/// What was found of something, or why nobody could look.
public enum Fact<Value: Sendable>: Sendable {
  case found(Value)
  case unknown(String)
}

/// What this host has of what chaos needs: plain values, gathered once. Nothing is changed for that, and no module loaded.
public struct HostFacts: Sendable {
  public enum Hypervisor: Sendable, Equatable {
    case none
    /// This is a guest of Xen's.
    case guest
    case dom0
  }

  /// A device file.
  public enum Device: Sendable, Equatable {
    case ok
    case missing
    /// Not what it should be, or what the system said when it was opened.
    case unusable(String)
    /// Why nobody tried.
    case unknown(String)
  }

  public struct Memory: Sendable {
    public var dom0IsFixed: Bool
    public var dom0MiB: Int
    /// That guests may have.
    public var freeMiB: Int

    public init(dom0IsFixed: Bool, dom0MiB: Int, freeMiB: Int) {
      self.dom0IsFixed = dom0IsFixed
      self.dom0MiB = dom0MiB
      self.freeMiB = freeMiB
    }
  }

  public struct FRR: Sendable {
    /// Names of LANs of mode evpn.
    public var lans: [String]
    public var isInstalled: Bool
    public var bgpdRuns: Bool

    public init(lans: [String], isInstalled: Bool, bgpdRuns: Bool) {
      self.lans = lans
      self.isInstalled = isInstalled
      self.bgpdRuns = bgpdRuns
    }
  }

  /// The file system that a folder is on, or will be.
  public struct Space: Sendable {
    public var path: String
    public var freeBytes: Int
    /// Nil where the file system does not count them.
    public var freeFiles: Int?
    public var isReadOnly: Bool
    /// Something else than a folder is in its place.
    public var isTaken = false

    public init(path: String, freeBytes: Int, freeFiles: Int?, isReadOnly: Bool) {
      self.path = path
      self.freeBytes = freeBytes
      self.freeFiles = freeFiles
      self.isReadOnly = isReadOnly
    }
  }

  public struct Process: Sendable, Equatable {
    public var id: Int
    /// Its program's file was replaced or removed since it was started; nil where only root can see.
    public var isOutdated: Bool?
    /// Files it may have open; nil where only root can see.
    public var descriptors: Int?

    public init(id: Int, isOutdated: Bool?, descriptors: Int?) {
      self.id = id
      self.isOutdated = isOutdated
      self.descriptors = descriptors
    }
  }

  /// What chaosd said.
  public enum Daemon: Sendable, Equatable {
    case answers(version: String)
    /// What it said is no answer that this program understands.
    case strange(String)
    /// Why it did not.
    case silent(String)
  }

  public struct Socket: Sendable, Equatable {
    public var path: String
    /// Permissions.
    public var mode: Int
    public var isChaosGroups: Bool

    public init(path: String, mode: Int, isChaosGroups: Bool) {
      self.path = path
      self.mode = mode
      self.isChaosGroups = isChaosGroups
    }
  }

  public struct Podman: Sendable {
    public var isInstalled: Bool
    /// It has netavark, its network program from Podman 4 on and the only one from 5 on.
    public var hasNetavark: Bool
    public var hasCNIPlugin: Bool
    public var hasNetavarkPlugin: Bool

    public init(isInstalled: Bool, hasNetavark: Bool, hasCNIPlugin: Bool, hasNetavarkPlugin: Bool) {
      self.isInstalled = isInstalled
      self.hasNetavark = hasNetavark
      self.hasCNIPlugin = hasCNIPlugin
      self.hasNetavarkPlugin = hasNetavarkPlugin
    }
  }

  /// Of this program.
  public var version: String
  public var hypervisor: Hypervisor
  /// By path.
  public var devices: [String: Device]
  /// Nil where Xen's interface is known; else why not.
  public var xenInterface: Fact<String?>
  public var memory: Fact<Memory>
  /// Those that are neither loaded, nor in the kernel, nor there to be loaded.
  public var missingModules: Fact<[String]>
  public var hasCgroup2: Bool
  /// What keeps frames from crossing bridges, with what to do about it.
  public var bridgeFilters: Fact<[String]>
  public var frr: FRR
  /// Files of LANs that cannot be used, and why.
  public var damagedLANs: [String]
  public var hasGroup: Bool
  /// The user that chaos-backend is to run as; nil: root.
  public var backendUser: String?
  public var hasBackendUser: Bool
  public var socket: Socket?
  /// By what is kept there.
  public var spaces: [HostCheck.Storage: Fact<Space>]
  public var chaosd: [Process]
  public var backend: [Process]
  public var daemon: Fact<Daemon>
  /// What chaosd's own health check finds: names and messages.
  public var unwell: Fact<[String]>
  /// Records of guests and shells.
  public var domains: Fact<Int>
  /// Files that a process may have open when it is started here.
  public var descriptors: Int
  public var podman: Podman
}
