import Backends
import ChaosAPI
import Glibc
import StateFiles
import Synchronization
import Threads
import VirtualLAN
import Xen

extension HostFacts {
  /// What chaosd is told about this host.
  public struct Settings: Sendable {
    /// Where it listens.
    public var socket: String
    /// The version of Xen's interface that it speaks; nil: what is known.
    public var xenInterface: UInt32?
    /// Whom chaos-backend runs as; nil: root.
    public var backendUser: String?

    public init(socket: String, xenInterface: UInt32?, backendUser: String?) {
      self.socket = socket
      self.xenInterface = xenInterface
      self.backendUser = backendUser
    }
  }

  /// Looks at this host. What does not answer within seconds is unknown: a disk, Xen and chaosd may stand still.
  ///
  /// - Parameter version: this program's.
  public static func gather(version: String, _ settings: Settings) -> HostFacts {
    let socket = settings.socket
    // Each is asked on a thread of its own, and all at once: the sum is as long as the longest.
    let daemon = Question { Self.daemon(socket) }
    let unwell = Question { Self.unwell(socket) }
    let hypervisor = Question { Self.askXen(settings.xenInterface) }
    let filters = Question { Self.filters() }
    let lans = Question { LANStore().loadAll() }
    let modules = Question { Modules() }
    let spaces = HostCheck.Storage.allCases.map { storage in (storage, Question { Self.space(storage.folder) }) }
    let domains = Question { Self.domains }
    let processes = Processes()
    let xen = hypervisor.answer ?? .noAnswer
    let content = lans.answer
    let silence = "nothing within \(Question<Daemon>.patience)"
    return HostFacts(
      version: version, hypervisor: Self.hypervisor, devices: Self.devices(modules.answer),
      xenInterface: xen.interface, memory: xen.memory,
      missingModules: modules.answer?.missing(Self.neededModules)
        ?? .unknown("/lib/modules: the disk does not answer"),
      hasCgroup2: Self.hasCgroup2, bridgeFilters: filters.answer ?? .unknown("the kernel does not answer"),
      frr: FRR(
        lans: content?.lans.filter { $0.mode == .evpn }.map(\.name) ?? [],
        isInstalled: FRRInstallation.standard.isInstalled, bgpdRuns: !processes.named("bgpd").isEmpty),
      damagedLANs: content.map { $0.damaged.map(\.description) } ?? ["/etc/chaos/lans: the disk does not answer"],
      hasGroup: SystemGroup.id(of: "chaos") != nil, backendUser: settings.backendUser,
      hasBackendUser: settings.backendUser.map(SystemUser.isThere) ?? true, socket: Self.socket(socket),
      spaces: Dictionary(
        uniqueKeysWithValues: spaces.map {
          ($0.0, $0.1.answer ?? .unknown("\($0.0.folder): the disk does not answer"))
        }),
      chaosd: processes.named("chaosd"), backend: processes.named("chaos-backend"),
      daemon: daemon.answer ?? .found(.silent(silence)), unwell: unwell.answer ?? .unknown(silence),
      domains: domains.answer ?? .unknown("/run/chaos does not answer"), descriptors: DescriptorLimit.raise(),
      podman: Self.podman)
  }

  /// What the chaosd that runs was started with; nil where none runs.
  public static var argumentsOfChaosd: [String]? {
    Processes().named("chaosd").first.flatMap { KernelFile.text("/proc/\($0.id)/cmdline") }.map { line in
      line.split(separator: "\0").dropFirst().map { String($0) }
    }
  }
}

/// What is asked on a thread of its own, which may never come back.
private final class Question<Answer: Sendable>: Sendable {
  static var patience: Duration { .seconds(5) }

  private let result: Mutex<Answer?> = Mutex(nil)
  private let begun = ContinuousClock.now

  init(_ ask: @escaping @Sendable () -> Answer) {
    do throws(BackgroundThread.Failure) {
      try BackgroundThread.start(name: "chaos-doctor") { [self] in
        let answer = ask()
        result.withLock { $0 = answer }
      }
    } catch {
      // A system without a thread to give gets no answer in time.
    }
  }

  /// Nil where there is none in time.
  var answer: Answer? {
    while true {
      // Once at least: the time may have gone by waiting for others.
      if let answer = result.withLock({ $0 }) { return answer }
      if begun.duration(to: .now) >= Self.patience { return nil }
      usleep(10_000)
    }
  }
}

// MARK: - Xen

extension HostFacts {
  private static var hypervisor: Hypervisor {
    // Linux has it in dom0 only; every guest has the other.
    if access("/sys/devices/system/xen_cpu", F_OK) == 0 { return .dom0 }
    return KernelFile.text("/sys/hypervisor/type")?.hasPrefix("xen") == true ? .guest : .none
  }

  private struct XenAnswer {
    var interface: Fact<String?>
    var memory: Fact<Memory>

    static let noAnswer = XenAnswer(
      interface: .unknown("Xen does not answer"), memory: .unknown("Xen does not answer"))
  }

  private static func askXen(_ wanted: UInt32?) -> XenAnswer {
    guard geteuid() == 0 else {
      return XenAnswer(interface: .unknown("only root may ask Xen"), memory: .unknown("only root may ask Xen"))
    }
    guard hypervisor == .dom0 else {
      return XenAnswer(interface: .unknown("there is no Xen to ask"), memory: .unknown("there is no Xen to ask"))
    }
    do {
      let xen = try Xen.Hypervisor(interface: wanted)
      let dom0 = try xen.dom0Memory()
      return XenAnswer(
        interface: .found(nil),
        memory: .found(
          Memory(
            dom0IsFixed: dom0.isFixed, dom0MiB: dom0.pages / 256, freeMiB: try xen.hostMemory().freePages / 256)))
    } catch let error as HypervisorInterface.Unknown {
      return XenAnswer(interface: .found(error.description), memory: .unknown("Xen's interface is not known"))
    } catch {
      return XenAnswer(interface: .unknown("\(error)"), memory: .unknown("\(error)"))
    }
  }

  private static func devices(_ modules: Modules?) -> [String: Device] {
    let all = [
      "/dev/xen/privcmd": "xen-privcmd", "/dev/xen/evtchn": "xen-evtchn", "/dev/vhost-net": "vhost_net",
      "/dev/net/tun": "tun",
    ]
    return Dictionary(uniqueKeysWithValues: all.map { ($0, device($0, module: $1, modules)) })
  }

  private static func device(_ path: String, module: String, _ modules: Modules?) -> Device {
    var status = stat()
    guard stat(path, &status) == 0 else { return errno == ENOENT ? .missing : .unusable(systemText(errno)) }
    guard status.st_mode & mode_t(S_IFMT) == mode_t(S_IFCHR) else { return .unusable("not a device") }
    guard geteuid() == 0 else { return .unknown("\(path): only root may open it") }
    // Opened, its module would be loaded.
    if !Modules.isLoaded(module) {
      switch modules?.isThere(module) {
      case true?: return .ok
      case false?: return .unusable("the kernel has no \(module), nor a module for it")
      case nil: break
      }
    }
    let descriptor = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .unusable(systemText(errno)) }
    close(descriptor)
    return .ok
  }
}

// MARK: - The kernel

extension HostFacts {
  private static let neededModules = ["bridge", "vxlan", "veth"]

  private static var hasCgroup2: Bool {
    KernelFile.text("/proc/self/mounts")?.contains(" /sys/fs/cgroup cgroup2 ") == true
  }

  private static func filters() -> Fact<[String]> {
    do throws(NetlinkError) { return .found(try BridgeFilter.findings()) } catch { return .unknown("\(error)") }
  }
}

/// The kernel's modules, by what its build and depmod wrote down.
private struct Modules: Sendable {
  /// modules.builtin and modules.dep; empty where there are none.
  private let lists: [String]

  init() {
    var name = utsname()
    uname(&name)
    let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    lists = ["modules.builtin", "modules.dep"].compactMap { KernelFile.text("/lib/modules/\(release)/\($0)") }
  }

  /// What is built in may not be there.
  static func isLoaded(_ module: String) -> Bool {
    access("/sys/module/\(module.replacing("-", with: "_"))", F_OK) == 0
  }

  /// Nil where nobody wrote down what there is.
  func isThere(_ module: String) -> Bool? {
    lists.isEmpty ? nil : lists.contains { $0.contains("/\(module).ko") }
  }

  func missing(_ modules: [String]) -> Fact<[String]> {
    let absent = modules.filter { !Self.isLoaded($0) }
    if absent.isEmpty { return .found([]) }
    if lists.isEmpty { return .unknown("the kernel that runs has no list of its modules in /lib/modules") }
    return .found(absent.filter { isThere($0) == false })
  }
}

// MARK: - Storage

extension HostFacts {
  private static func space(_ folder: String) -> Fact<Space> {
    var path = folder
    var kind = stat()
    // A link that leads nowhere, too.
    let isTaken =
      lstat(folder, &kind) == 0 && (stat(folder, &kind) != 0 || kind.st_mode & mode_t(S_IFMT) != mode_t(S_IFDIR))
    var status = statvfs()
    while statvfs(path, &status) != 0 {
      let code = errno
      // What is not there yet will be where the next above is.
      guard code == ENOENT, let slash = path.lastIndex(of: "/") else {
        return .unknown("\(path): \(systemText(code))")
      }
      path = slash == path.startIndex ? "/" : String(path[..<slash])
    }
    return .found(
      Space(
        path: isTaken ? folder : path,
        freeBytes: Int(clamping: UInt(status.f_bavail).multipliedReportingOverflow(by: UInt(status.f_frsize)).0),
        freeFiles: status.f_files == 0 ? nil : Int(clamping: status.f_favail),
        isReadOnly: status.f_flag & UInt(ST_RDONLY) != 0, isTaken: isTaken))
  }
}

// MARK: - Daemons

extension HostFacts {
  private static var domains: Fact<Int> {
    let folder = HostCheck.Storage.run.folder + "/domains"
    do throws(StateFile.Failure) { return .found(try StateFile.list(folder).count) } catch {
      return .unknown(error.description)
    }
  }

  private static func daemon(_ path: String) -> Fact<Daemon> {
    var client = ChaosClient(socketPath: path)
    do throws(APIError) {
      return .found(.answers(version: try client.version().version))
    } catch {
      switch error.code {
      case .forbidden: return .unknown(error.message)
      case .unavailable: return .found(.silent(error.message))
      default: return .found(.strange(error.message))
      }
    }
  }

  private static func unwell(_ path: String) -> Fact<[String]> {
    var client = ChaosClient(socketPath: path)
    do throws(APIError) {
      let checks = try client.health().checks.filter { $0.status != .ok }
      return .found(checks.map { "\($0.name): \($0.message ?? $0.status.rawValue)" })
    } catch {
      return .unknown(error.message)
    }
  }

  private static func socket(_ path: String) -> Socket? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Socket(
      path: path, mode: Int(status.st_mode & 0o7777),
      isChaosGroups: SystemGroup.id(of: "chaos").map { $0 == status.st_gid } ?? false)
  }

  private static var podman: Podman {
    func isAny(_ paths: [String]) -> Bool { paths.contains { access($0, X_OK) == 0 } }
    return Podman(
      isInstalled: isAny(["/usr/bin/podman", "/usr/local/bin/podman"]),
      hasNetavark: isAny([
        "/usr/lib/podman/netavark", "/usr/libexec/podman/netavark", "/usr/local/libexec/podman/netavark",
      ]),
      hasCNIPlugin: isAny(
        ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni", "/usr/local/libexec/cni"].map { $0 + "/chaos-cni" }),
      hasNetavarkPlugin: isAny(
        ["/usr/lib/netavark", "/usr/libexec/netavark", "/usr/local/lib/netavark"].map { $0 + "/chaos" }))
  }
}

/// The processes of this host but this one, by their names.
private struct Processes {
  private var byName: [String: [HostFacts.Process]] = [:]

  init() {
    for name in StateFile.names(in: "/proc") {
      guard let id = Int(name), id != Int(getpid()), let program = KernelFile.text("/proc/\(name)/comm") else {
        continue
      }
      // Another that looks, as this one does.
      if KernelFile.text("/proc/\(name)/cmdline")?.split(separator: "\0").contains("--doctor") == true { continue }
      byName[trimmed(program), default: []].append(
        HostFacts.Process(
          id: id, isOutdated: link("/proc/\(name)/exe").map { $0.hasSuffix(" (deleted)") },
          descriptors: Self.descriptors(id)))
    }
  }

  func named(_ name: String) -> [HostFacts.Process] { byName[name] ?? [] }

  /// `Max open files 1024 524288 files`: the soft limit (proc(5)).
  private static func descriptors(_ id: Int) -> Int? {
    let line = KernelFile.text("/proc/\(id)/limits")?.split(separator: "\n").first {
      $0.hasPrefix("Max open files")
    }
    return line?.split(separator: " ").dropFirst(3).first.flatMap { Int($0) }
  }
}

// MARK: - Files of the kernel's

private func link(_ path: String) -> String? {
  var buffer = [UInt8](repeating: 0, count: 4096)
  let length = buffer.withUnsafeMutableBytes {
    readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
  }
  return length < 0 ? nil : String(decoding: buffer.prefix(length), as: UTF8.self)
}

private func trimmed(_ text: String) -> String { String(text.prefix { !$0.isWhitespace }) }

private func systemText(_ code: Int32) -> String { String(cString: strerror(code)) }
