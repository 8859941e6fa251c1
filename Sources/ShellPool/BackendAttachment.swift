import Backends
import DevicePages
import Glibc
import StateFiles
import Synchronization
import Threads
import VirtualLAN
import Xen

/// What ties domains to chaos-backend: taps and their queues, descriptors restricted to one domain, console logs, and
/// the requests that hand them over.
public final class BackendAttachment: Sendable {
  let network: HostNetwork
  private let backend: BackendService
  /// Folder of the console logs.
  private let logs: String
  /// Folder of the console logs of guests that ended.
  private let endedLogs: String
  /// Every tap that this process made and did not delete: until its record is written nothing else speaks of it. One
  /// whose making failed is left in it, which costs a number.
  private let made = Mutex<Set<InterfaceIndex>>([])
  private let kept = KeptQueues()
  /// One at a time, so that who waits finds his own among those of the one before.
  private let owning = Mutex(())
  /// The logs' disk may stand still; what is there is opened all the same.
  private let logChanges: FileThread
  private let logLooks: FileThread

  public init(
    network: HostNetwork, backend: BackendService, logs: String, endedLogs: String
  ) throws(BackgroundThread.Failure) {
    logChanges = try FileThread(name: "chaos-log-files")
    logLooks = try FileThread(name: "chaos-log-looks")
    self.network = network
    self.backend = backend
    self.logs = logs
    self.endedLogs = endedLogs
  }

  // MARK: Queues

  /// Makes a vif's tap, which stays until it is deleted, and opens what serves it.
  func createTap(_ domain: DomainID, slot: Int) throws -> (tap: GuestTap, queue: VifQueue) {
    let name = DomainShell.name(ofTap: slot, of: domain)
    let (queue, index) = try network.createTap(name) { index in made.withLock { _ = $0.insert(index) } }
    let open = VifQueue.OpenTap(Descriptor(adopting: queue))
    let tap = GuestTap(slot: slot, name: name, index: index)
    do {
      return (tap, VifQueue(tap: open, vhost: try Self.openVhost()))
    } catch {
      try deleteTaps([tap])
      throw error
    }
  }

  /// Deletes taps, which may be gone already.
  func deleteTaps(_ taps: [GuestTap]) throws(NetlinkError) {
    let indexes = taps.map(\.index)
    kept.drop(indexes)
    try network.delete(indexes)
    made.withLock { $0.subtract(indexes) }
  }

  /// Deletes a tap that no record speaks of.
  public func deleteStray(_ tap: InterfaceIndex) throws(NetlinkError) { try network.delete([tap]) }

  /// The taps that this process made and did not delete.
  public var madeTaps: Set<InterfaceIndex> { made.withLock { $0 } }

  /// A queue for a tap that nobody serves any more.
  private func openQueue(_ tap: GuestTap) throws -> VifQueue {
    haveOwned(tap.index)
    if let owned = kept.takeOwned(tap.index, by: backend.connections) { return owned }
    let open: VifQueue.OpenTap
    if let kept = kept.take(tap.index) {
      open = kept
    } else {
      open = VifQueue.OpenTap(Descriptor(adopting: try network.openTap(tap.name)))
    }
    return VifQueue(tap: open, vhost: try Self.openVhost())
  }

  /// Has the back-end own instances for a tap and for others that lost theirs: each for itself would cost it a grace
  /// period of the kernel's (11 ms), unless another came right before.
  private func haveOwned(_ tap: InterfaceIndex) {
    owning.withLock { _ in
      let connection = backend.connections
      let unserved = kept.unserved(tap, atMost: ControlProtocol.mostOwned)
      guard unserved.count > 1 else { return }
      do {
        let queues = try unserved.map { [connection] old in
          VifQueue(tap: old.queue.tap, vhost: try Self.openVhost(), owner: connection)
        }
        try backend.perform(.own, descriptors: queues.map(\.instance), on: connection)
        for (old, new) in zip(unserved, queues) { kept.replace(old.queue, of: old.tap, with: new) }
      } catch {
        // A help and no more: the vif's own instance is opened next, and says what is wrong.
      }
    }
  }

  private static func openVhost() throws(BackendError) -> Descriptor {
    let raw = open("/dev/vhost-net", O_RDWR | O_CLOEXEC)
    if raw < 0 { throw BackendError("open /dev/vhost-net", errno: errno) }
    return Descriptor(adopting: raw)
  }

  // MARK: Whole domains

  /// Hands a domain to the back-end: what it may map, ring and write, and the queues of its vifs.
  ///
  /// - Parameter partial: serve what can be served; of a guest that broke one of its vifs the others must go on.
  func attach(_ shell: DomainShell, features: VifFeatures, queues: [VifQueue], partial: Bool = false) throws {
    let privcmd = Descriptor(adopting: try RestrictedDevices.openPrivcmd(for: shell.domain))
    let channels = Descriptor(adopting: try RestrictedDevices.openEventChannels(for: shell.domain))
    let log = try openLog(shell.handle, isThere: partial)
    let vifs = shell.taps.map { shell.flavour.vif(slot: $0.slot, features: features) }
    // Read before: what dies right after it has answered counts as another.
    let connection = backend.connections
    try backend.perform(
      .attach(shell.identity, vifs: vifs, partial: partial),
      descriptors: [privcmd.raw, channels.raw, log.raw]
        + queues.flatMap { [$0.tap.descriptor.raw, $0.instance] },
      on: queues.lazy.compactMap(\.owner).first)
    shell.connection = connection
    for (tap, queue) in zip(shell.taps, queues) { kept.keep(queue, of: tap.index) }
  }

  /// Whether the back-end that a domain was handed to is still the one there is, as far as is known.
  public func hasKept(_ shell: DomainShell) -> Bool { shell.connection == backend.connections }

  /// Hands a domain to a back-end that does not serve it yet, because its predecessor died.
  public func reattach(_ shell: DomainShell, features: VifFeatures) throws {
    try attach(shell, features: features, queues: try shell.taps.map { try openQueue($0) }, partial: true)
  }

  /// Has the back-end let go of a domain. Not an error when it does not serve it.
  func detach(_ shell: DomainShell) throws(BackendError) {
    kept.drop(shell.taps.map(\.index))
    try detach(shell.identity)
  }

  /// Lets go of what a dead back-end served, so that nothing keeps its guests' memory mapped.
  ///
  /// - Parameter run: runs what it is given as many times at once as is useful.
  public func letGoOfDead(_ run: (@escaping @Sendable () -> Void) -> Void) {
    backend.whileNoneIsStarted { kept.letGoOfAll(run) }
  }

  /// Has the back-end let go of a domain that it should not serve.
  public func detach(_ identity: DomainIdentity) throws(BackendError) {
    do {
      try backend.perform(.detach(identity))
    } catch {
      if error.errno != ENODEV { throw error }
    }
  }

  /// Where the back-end listens.
  public var socket: String { backend.socket }

  /// The domains that the back-end serves now.
  public func served() throws(BackendError) -> [ControlProtocol.Status] { try backend.domains() }

  /// Tells the back-end that a shell has another handle, and moves its log along.
  func rename(_ shell: DomainShell, to handle: DomainHandle, features: VifFeatures) throws {
    do throws(BackendError) {
      try backend.perform(.rename(shell.identity, to: handle))
      renameLog(logPath(shell.handle), logPath(handle))
    } catch {
      // A back-end of the version before, or one that was started just now and does not serve the shell yet: the shell
      // has not run, so that it can be handed over again.
      guard error.errno == EOPNOTSUPP || error.errno == ENODEV else { throw error }
      if error.errno == EOPNOTSUPP { try detach(shell) }
      renameLog(logPath(shell.handle), logPath(handle))
      let renamed = shell.standIn(handle)
      try reattach(renamed, features: features)
      shell.connection = renamed.connection
    }
  }

  // MARK: What a guest is asked and told

  /// Sets request bits in a guest's powerctl page and rings it.
  public func request(_ bits: UInt32, of identity: DomainIdentity) throws(BackendError) {
    try backend.perform(.powerctl(identity, bits: bits))
  }

  /// Tells the back-end of the features in force on a shell's vifs once an image is loaded.
  public func setFeatures(_ features: VifFeatures, of shell: DomainShell) throws {
    do throws(BackendError) {
      for tap in shell.taps {
        try backend.perform(.setFeatures(shell.identity, slot: UInt8(tap.slot), features: features.rawValue))
      }
    } catch {
      // One that was started just now and does not serve the shell yet.
      guard error.errno == ENODEV else { throw error }
      try reattach(shell, features: features)
    }
  }

  /// Shows a console on a stream socket, which stays the caller's.
  public func openConsole(
    of identity: DomainIdentity, follow: Bool, input: Bool, on socket: Int32
  ) throws(BackendError) {
    try backend.perform(.console(identity, follow: follow, input: input), descriptors: [socket])
  }

  // MARK: Vifs of a running guest

  func attachVif(_ shell: DomainShell, slot: Int, features: VifFeatures, queue: VifQueue) throws {
    let privcmd = Descriptor(adopting: try RestrictedDevices.openPrivcmd(for: shell.domain))
    try backend.perform(
      .attachVif(shell.identity, shell.flavour.vif(slot: slot, features: features)),
      descriptors: [privcmd.raw, queue.tap.descriptor.raw, queue.instance], on: queue.owner)
    if let tap = shell.tap(slot: slot) { kept.keep(queue, of: tap.index) }
  }

  /// Hands a vif to a back-end that serves its domain and lacks it. It may have it by now.
  public func reattachVif(_ shell: DomainShell, slot: Int, features: VifFeatures) throws {
    guard let tap = shell.tap(slot: slot) else { return }
    try attachVif(shell, slot: slot, features: features, queue: try openQueue(tap))
  }

  func detachVif(_ shell: DomainShell, slot: Int) throws(BackendError) {
    if let tap = shell.tap(slot: slot) { kept.drop(CollectionOfOne(tap.index)) }
    try detachVif(shell.identity, slot: slot)
  }

  /// Has the back-end let go of a vif that its guest lacks.
  public func detachVif(_ identity: DomainIdentity, slot: Int) throws(BackendError) {
    do {
      try backend.perform(.detachVif(identity, slot: UInt8(slot)))
    } catch {
      if error.errno != ENODEV { throw error }
    }
  }

  /// Begins a vif anew; its tap stays.
  public func resetVif(_ shell: DomainShell, slot: Int) throws {
    guard let tap = shell.tap(slot: slot) else { return }
    let privcmd = Descriptor(adopting: try RestrictedDevices.openPrivcmd(for: shell.domain))
    // Held until the back-end has let go of the old instance, so that the wait for its end is not the back-end's, which
    // serves others meanwhile.
    let old = kept.queue(of: tap.index)
    let vhost = try Self.openVhost()
    try backend.perform(
      .resetVif(shell.identity, slot: UInt8(slot)), descriptors: [privcmd.raw, vhost.raw])
    guard let old else { return }
    kept.keep(VifQueue(tap: old.tap, vhost: vhost), of: tap.index)
    old.letGo()
  }

  // MARK: Logs

  private func logPath(_ handle: DomainHandle) -> String { "\(logs)/\(handle.uuid).log" }

  /// - Parameter isThere: whether it should be; a disk that is frozen opens it then, though it makes none.
  private func openLog(_ handle: DomainHandle, isThere: Bool) throws(BackendError) -> Descriptor {
    let path = logPath(handle)
    if isThere {
      do throws(BackendError) {
        return try openLog(path, O_RDWR | O_CLOEXEC, on: logLooks)
      } catch {
        if error.errno != ENOENT { throw error }
      }
    }
    return try openLog(path, O_RDWR | O_CREAT | O_CLOEXEC, on: logChanges)
  }

  private func openLog(_ path: String, _ flags: Int32, on files: FileThread) throws(BackendError) -> Descriptor {
    let opened = files.ask {
      let raw = open(path, flags, 0o640)
      return (raw: raw, code: raw < 0 ? errno : 0)
    } late: { late in
      if late.raw >= 0 { close(late.raw) }
    }
    guard let opened else {
      throw BackendError("open console log \(path): its disk does not answer", errno: ETIMEDOUT)
    }
    if opened.raw < 0 { throw BackendError("open console log \(path)", errno: opened.code) }
    return Descriptor(adopting: opened.raw)
  }

  private func renameLog(_ old: String, _ new: String) {
    // A log that cannot be moved is lost with the old name; the guest is not.
    logChanges.order { Glibc.rename(old, new) }
  }

  public func removeLog(_ handle: DomainHandle) {
    let path = logPath(handle)
    logChanges.order { unlink(path) }
  }

  /// Keeps the log of a guest that ended, for a while; one that says nothing goes at once.
  func retireLog(_ handle: DomainHandle) {
    let (path, ended) = (logPath(handle), endedLogPath(handle))
    logChanges.order {
      var status = stat()
      if stat(path, &status) == 0, status.st_size > 0 { Glibc.rename(path, ended) } else { unlink(path) }
    }
  }

  private func endedLogPath(_ handle: DomainHandle) -> String { "\(endedLogs)/\(handle.uuid).log" }

  /// What a guest that ended had written last; nil when it is no longer kept.
  public func endedLog(_ handle: DomainHandle) throws(StateFile.Failure) -> [UInt8]? {
    let path = endedLogPath(handle)
    let read = logLooks.ask {
      Result { () throws(StateFile.Failure) in try StateFile.read(path) }
    }
    guard let read else { throw StateFile.Failure(operation: "read", path: path, errno: ETIMEDOUT) }
    return try read.get()
  }

  /// Removes logs of ended guests: those older than a day, and all but the newest 64.
  public func pruneEndedLogs() {
    let folder = endedLogs
    logChanges.order { Self.prune(folder) }
  }

  private static func prune(_ endedLogs: String) {
    let now = time(nil)
    let logs = StateFile.names(in: endedLogs).map { name -> (path: String, time: Int) in
      let path = "\(endedLogs)/\(name)"
      var status = stat()
      return (path, stat(path, &status) == 0 ? status.st_mtim.tv_sec : 0)
    }
    for (position, log) in logs.sorted(by: { $0.time > $1.time }).enumerated()
    where position >= mostEndedLogs || now - log.time > longestKept { unlink(log.path) }
  }

  private static let mostEndedLogs = 64
  private static let longestKept = 24 * 60 * 60

  /// The handles that a log is called by; nil when they cannot be listed now.
  public var loggedHandles: [DomainHandle]? {
    let folder = logs
    let names = logLooks.ask { try? StateFile.list(folder) } ?? nil
    return names?.compactMap { name in
      name.hasSuffix(".log") ? DomainHandle(uuid: String(name.dropLast(4))) : nil
    }
  }
}
