import Backends
import ChaosAPI
import Dispatch
import Glibc
import HostChecks
import ImageStore
import Logging
import NIOCore
import NIOPosix
import ShellPool
import StateFiles
import Threads
import Toolstack
import VirtualLAN
import Xen

/// chaosd put together: folders, lock, toolstack, API.
struct Daemon {
  /// Where facts live (docs/architecture.md).
  private enum Folder {
    static let run = "/run/chaos"
    static let records = "/run/chaos/domains"
    static let uploads = "/var/lib/chaos/uploads"
    /// Where 0.1.0 kept what was uploaded, which its guests may still run.
    static let formerUploads = "/run/chaos/images"
    static let images = "/var/lib/chaos/images"
    static let logs = "/var/log/chaos"
    static let consoles = "/var/log/chaos/console"
    static let endedConsoles = "/var/log/chaos/ended"
    static let settings = "/etc/chaos"
    static let wanted = "/etc/chaos/guests"
    static let pending = "/run/chaos/starts"
    static let audit = "/var/log/chaos/audit.log"
  }

  struct StartError: Error, CustomStringConvertible {
    let description: String
  }

  private let options: DaemonOptions
  private let logger: Logger
  private let toolstack: Toolstack
  private let settings: PoolSettings
  private let pool: BlockingPool
  private let manager: ServiceManager
  /// Held as long as the daemon runs, so that there is one a host.
  private let lock: Held

  /// Lets a copyable value hold the lock.
  private final class Held: Sendable {
    let lock: FileLock
    init(_ lock: consuming FileLock) { self.lock = lock }
  }

  init(_ options: DaemonOptions, manager: ServiceManager, logger: Logger) throws {
    self.options = options
    self.manager = manager
    self.logger = logger
    guard geteuid() == 0 else { throw StartError(description: "needs root") }
    umask(0o077)
    for folder in [Folder.run, Folder.logs, Folder.consoles, Folder.endedConsoles, Folder.settings] {
      try StateFile.makeFolder(folder, mode: 0o755)
    }
    // Members of group chaos must reach the socket in it.
    chmod(Folder.run, 0o755)
    lock = try Self.lockHost()
    DescriptorLimit.raise()
    let report: @Sendable (String) -> Void = { logger.notice("\($0)") }
    let hypervisor = try Hypervisor(interface: options.xenInterface)
    let xen = try hypervisor.version()
    logger.notice("Xen \(xen), \(hypervisor.interface)")
    if hypervisor.interface.releases == nil {
      logger.warning("no release of Xen that this chaosd knows speaks that")
    }
    let socket = "\(Folder.run)/backend.sock"
    let backend = BackendService(
      socket: socket, program: options.backend ?? Self.siblingProgram("chaos-backend"),
      account: options.backendAsRoot ? .root : .user(options.backendUser),
      log: "\(Folder.logs)/chaos-backend.log", report: report)
    pool = try BlockingPool(
      name: "chaos-blocking",
      .init(
        threads: options.limits.blockingThreads, queued: options.limits.blockingQueue,
        kept: options.limits.blockingThreadsKept))
    settings = PoolSettings(path: "\(Folder.settings)/pool.json", report: report)
    toolstack = try Toolstack(
      hypervisor: hypervisor, network: try HostNetwork(), backend: backend,
      images: try ImageStore(named: Folder.images, anonymous: Folder.uploads, former: Folder.formerUploads),
      records: try RecordStore(folder: Folder.records),
      places: Toolstack.Places(
        consoles: Folder.consoles, endedConsoles: Folder.endedConsoles, journal: "\(Folder.logs)/events.jsonl",
        pending: Folder.pending,
        wanted: Folder.wanted, bootMark: "\(Folder.run)/wanted-guests-started"),
      budgetMiB: try options.poolBudgetMiB ?? hypervisor.hostMemory().freePages / 256 / 4,
      observe: StepHooks.observer(backend: socket), report: report)
  }

  /// Takes the lock that keeps chaosd one a host. One that was just killed holds it until the kernel has closed all it
  /// had open, which beside 600 guests takes half a second.
  private static func lockHost() throws -> Held {
    let path = "\(Folder.run)/chaosd.lock"
    do throws(FileLock.Failure) {
      return Held(try FileLock.take(path, within: .seconds(2)))
    } catch {
      guard case .held(_, let holder) = error else { throw error }
      throw StartError(
        description: "another chaosd runs on this host (\(path) is locked\(holder.map { ", \($0)" } ?? ""))")
    }
  }

  /// Serves until a signal asks to stop. Guests and shells stay as they are.
  func run() async throws {
    try await pool.run { blocking in try start(blocking) }
    let group = MultiThreadedEventLoopGroup(numberOfThreads: min(4, System.coreCount))
    let report: @Sendable (String) -> Void = { logger.error("\($0)") }
    let edge = try Edge(
      pool: pool, tasks: toolstack.tasks, limits: options.limits,
      audit: try AuditLog(path: Folder.audit, report: report))
    let routes = Routes(
      toolstack: toolstack, settings: settings, edge: edge, health: { _ in healthChecks() })
    let server = APIServer(routes, edge, group: group, report: report)
    let channel = try await listen(server)
    let signals = Signals.closing(channel)
    try Watchdog(manager: manager, loops: Array(group.makeIterator()), pool: pool, report: report).start()
    manager.tell("READY=1")
    try await channel.closeFuture.get()
    withExtendedLifetime(signals) {}
    manager.tell("STOPPING=1")
    edge.stop()
    if manager.listener == nil { unlink(options.socket) }
    toolstack.pool.stop()
    do {
      try await pool.run { [toolstack] blocking in toolstack.releaseAll(blocking) }
    } catch {
      logger.warning("guests that are dumped go on with the next chaosd: \(error)")
    }
    await finishOperations()
  }

  private func start(_ blocking: borrowing Blocking) throws {
    if let weight = options.dom0Weight {
      do { try toolstack.hypervisor.setSchedulerWeight(.dom0, weight) } catch { logger.warning("\(error)") }
    }
    toolstack.applyPoolSettings(settings)
    try toolstack.start()
    for warning in try toolstack.host(blocking).warnings { logger.warning("\(warning)") }
  }

  private func listen(_ server: APIServer) async throws -> any Channel {
    if let listener = manager.listener {
      logger.notice("listening on the socket of the service manager")
      return try await server.listen(on: listener)
    }
    let channel = try await server.listen(at: options.socket)
    Self.openSocket(options.socket)
    logger.notice("listening on \(options.socket)")
    return channel
  }

  /// What `GET /v1/health` looks at.
  private func healthChecks() -> Health {
    let load = pool.load
    let waits = load.longestWait > .seconds(10)
    let operations = HealthCheck(
      name: "operations", status: waits ? .degraded : .ok, message: waits ? "\(load.queued) wait for a thread" : nil
    )
    return Health(checks: toolstack.health().checks + [operations])
  }

  /// Operations that are under way end well; those that take long are undone by the next daemon.
  private func finishOperations() async {
    for _ in 0..<100 {
      let load = pool.load
      if load.busy == 0 && load.queued == 0 { return }
      do { try await Task.sleep(for: .milliseconds(50)) } catch { return }
    }
  }

  // MARK: Environment

  /// A program installed beside this one.
  private static func siblingProgram(_ name: String) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    let path = String(decoding: buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    return "\(folder)/\(name)"
  }

  /// Opens the API to group chaos; until now the umask kept it root's.
  private static func openSocket(_ path: String) {
    if let group = SystemGroup.id(of: "chaos") {
      chown(path, 0, group)
      chmod(path, 0o660)
    } else {
      chmod(path, 0o600)
    }
  }
}

/// SIGTERM and SIGINT, which ask the daemon to stop.
private enum Signals {
  /// Closes the listener when one comes; the sources must be kept as long as that is wanted.
  static func closing(_ channel: any Channel) -> [any DispatchSourceSignal] {
    [SIGTERM, SIGINT].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler { channel.close(promise: nil) }
      source.resume()
      return source
    }
  }
}
