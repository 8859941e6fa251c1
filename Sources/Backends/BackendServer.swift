import CBackends
import DevicePages
import Glibc
import Xen

/// The back-end process's work: one thread that waits on every domain's event channels, the kernel's calls, the
/// consoles and the control socket, and does a bounded amount of work for each. What waits for a file system or for the
/// kernel has threads of its own (``LogThread``, ``Retirement``).
public final class BackendServer {
  private let listener: ControlSocket
  private let loop: EventLoop
  private var domains: [DomainID: DomainBackend] = [:]
  private var connections: [Int32: ControlConnection] = [:]
  private var consoles: Consoles!
  private var feed: EventFeed!
  private let logs: LogThread
  private let retirement: Retirement
  /// Called with one line when something is worth an operator's attention.
  private let report: (String) -> Void
  /// What is done once at the end of a turn: both queues of a vif often call at once, and the guest needs one event; and
  /// a port that rang may ring again when everybody had a turn.
  private var calls: Set<Call> = []
  private var rung: Set<DomainID> = []

  private struct Call: Hashable {
    let domain: DomainID
    let slot: Int
  }

  /// How long no connection is taken after one could not be, for want of descriptors.
  static let acceptPause = Duration.milliseconds(200)

  /// - Parameter listener: bound and listening; kept when the process then drops its privileges.
  public init(listener: consuming ControlSocket, report: @escaping (String) -> Void) throws(BackendError) {
    self.listener = listener
    self.report = report
    loop = try EventLoop()
    logs = try LogThread()
    retirement = try Retirement()
    consoles = try Consoles(loop) { [unowned self] domain, bytes in domains[domain]?.type(bytes) }
    feed = EventFeed(loop) { [unowned self] domain in domains[domain]?.status }
    try loop.watch(self.listener.raw) { [unowned self] _ in acceptConnections() }
  }

  /// Serves until the process ends.
  public func run() -> Never {
    while true { turn() }
  }

  /// Waits for something to do, at most `limit`, and does it.
  func turn(atMost limit: Duration? = nil) {
    loop.turn(atMost: limit)
    for call in calls { domains[call.domain]?.notify(slot: call.slot) }
    calls.removeAll(keepingCapacity: true)
    for domain in rung { domains[domain]?.rearm() }
    rung.removeAll(keepingCapacity: true)
  }

  // MARK: Doorbells

  private func takeEvents(_ id: DomainID) {
    guard let domain = domains[id] else { return }
    let events = domain.takeEvents(at: loop.now)
    rung.insert(id)
    if !events.consoleOutput.isEmpty { consoles.show(events.consoleOutput, of: id) }
    if events.stateChanged { feed.changed(domain.status) }
    if events.holdsPorts { loop.after(DomainBackend.holdTime) { [unowned self] in domains[id]?.releaseHeld() } }
  }

  private func takeCall(_ descriptor: Int32, _ call: Call) {
    var count: UInt64 = 0
    _ = read(descriptor, &count, 8)
    calls.insert(call)
  }

  private func takeRingError(_ descriptor: Int32, _ id: DomainID, slot: Int) {
    // Once is enough: what the guest does to broken rings costs nothing more.
    loop.unwatch(descriptor)
    guard let domain = domains[id] else { return }
    domain.noteRingError(slot: slot)
    report("domain \(id): the kernel stopped serving vif \(slot), whose rings make no sense")
    feed.changed(domain.status)
  }

  private func watch(_ domain: DomainBackend, slot: Int) throws(BackendError) {
    let id = domain.key.domain
    for descriptor in domain.callDescriptors(ofSlot: slot) {
      try loop.watch(descriptor) { [unowned self] _ in takeCall(descriptor, Call(domain: id, slot: slot)) }
    }
    if let descriptor = domain.errorDescriptor(ofSlot: slot) {
      try loop.watch(descriptor) { [unowned self] _ in takeRingError(descriptor, id, slot: slot) }
    }
  }

  private func unwatch(_ domain: DomainBackend, slot: Int) {
    for descriptor in domain.callDescriptors(ofSlot: slot) { loop.unwatch(descriptor) }
    if let descriptor = domain.errorDescriptor(ofSlot: slot) { loop.unwatch(descriptor) }
  }

  // MARK: Domains

  private func attach(
    _ key: ControlProtocol.DomainKey, _ vifs: [ControlProtocol.Vif], partial: Bool, _ descriptors: [Int32]
  ) throws {
    guard vifs.count <= Slots.maxVifs, Set(vifs.map(\.slot)).count == vifs.count,
      vifs.allSatisfy(Self.isSound), descriptors.count == 3 + 2 * vifs.count
    else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("attach domain \(key.domain)", errno: EINVAL)
    }
    let queues = vifs.indices.map {
      DomainBackend.QueuePair(tap: descriptors[3 + 2 * $0], vhost: descriptors[4 + 2 * $0])
    }
    let privcmd = Descriptor(adopting: descriptors[0])
    let eventChannels = Descriptor(adopting: descriptors[1])
    let log = ConsoleLog(adopting: Descriptor(adopting: descriptors[2]), thread: logs)
    // One of that number is left from before: numbers are used again.
    if let old = domains[key.domain] { detach(old.key) }
    do {
      let tolerates = { [report] (error: any Error) in report("domain \(key.domain) lacks a vif: \(error)") }
      let domain = try DomainBackend(
        key: key, vifs: vifs, privcmd: privcmd, eventChannels: eventChannels, log: log, queues: queues,
        toleratesBroken: partial ? tolerates : nil)
      domains[key.domain] = domain
      try loop.watch(domain.eventDescriptor) { [unowned self] _ in takeEvents(key.domain) }
      for slot in domain.slots { try watch(domain, slot: slot) }
      if !domain.status.brokenVifs.isEmpty { feed.changed(domain.status) }
    } catch {
      if domains[key.domain] == nil { log.close() } else { detach(key) }
      throw error
    }
  }

  private func own(_ descriptors: [Int32]) throws(BackendError) {
    var failure: BackendError?
    for descriptor in descriptors {
      let instance = Descriptor(adopting: descriptor)
      do { try VhostNet.own(instance) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  private func attachVif(
    _ key: ControlProtocol.DomainKey, _ vif: ControlProtocol.Vif, _ descriptors: [Int32]
  ) throws {
    guard Self.isSound(vif), descriptors.count == 3 else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("attach vif \(vif.slot) of domain \(key.domain)", errno: EINVAL)
    }
    let queue = DomainBackend.QueuePair(tap: descriptors[1], vhost: descriptors[2])
    let privcmd = Descriptor(adopting: descriptors[0])
    let domain = try served(key)
    let slot = Int(vif.slot)
    if domain.slots.contains(slot) { throw BackendError("vif \(slot) of domain \(key.domain)", errno: EEXIST) }
    do {
      try domain.add(vif, privcmd: privcmd, queue: queue)
      try watch(domain, slot: slot)
    } catch {
      detachVif(key, slot: slot)
      throw error
    }
  }

  /// Stops serving a vif; it is gone a moment later, like a detached domain.
  private func detachVif(_ key: ControlProtocol.DomainKey, slot: Int) {
    guard let domain = try? served(key) else { return }
    unwatch(domain, slot: slot)
    if let vif = domain.remove(slot: slot) { retirement.retire(vif) }
  }

  private func resetVif(_ key: ControlProtocol.DomainKey, slot: Int, _ descriptors: [Int32]) throws {
    guard descriptors.count == 2 else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("reset vif \(slot) of domain \(key.domain)", errno: EINVAL)
    }
    let privcmd = Descriptor(adopting: descriptors[0])
    let vhost = Descriptor(adopting: descriptors[1])
    let domain = try served(key)
    unwatch(domain, slot: slot)
    defer { feed.changed(domain.status) }
    try domain.reset(slot: slot, privcmd: privcmd, vhost: vhost)
    try watch(domain, slot: slot)
  }

  private static func isSound(_ vif: ControlProtocol.Vif) -> Bool {
    Int(vif.slot) < Slots.maxVifs && (16...4096).contains(vif.windowFrames)
  }

  /// Stops serving a domain. Its descriptors and mappings go a moment later: who waits for the domain's end sees
  /// when they have.
  private func detach(_ key: ControlProtocol.DomainKey) {
    guard let domain = try? served(key) else { return }
    let id = key.domain
    // The last words, rung for or not.
    takeEvents(id)
    consoles.show(domain.takeConsoleOutput(loop.now), of: id)
    loop.unwatch(domain.eventDescriptor)
    for slot in domain.slots { unwatch(domain, slot: slot) }
    consoles.finish(id)
    domain.log.close()
    feed.forget(id)
    domains[id] = nil
    retirement.retire(domain)
  }

  /// The domain that is meant, and not another that has its number by now.
  private func served(_ key: ControlProtocol.DomainKey) throws(BackendError) -> DomainBackend {
    guard let domain = domains[key.domain], domain.key == key else {
      throw BackendError("domain \(key.domain) is not served", errno: ENODEV)
    }
    return domain
  }

  private func statuses(from: DomainID) -> [ControlProtocol.Status] {
    let keys = domains.keys.filter { $0 >= from }.sorted().prefix(1000)
    return keys.compactMap { domains[$0]?.status }
  }

  private func openConsole(
    _ key: ControlProtocol.DomainKey, follow: Bool, input: Bool, _ descriptors: [Int32]
  ) throws(BackendError) {
    guard descriptors.count == 1, let domain = try? served(key) else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("console of domain \(key.domain)", errno: descriptors.count == 1 ? ENODEV : EINVAL)
    }
    try consoles.open(
      key.domain, domain.log, socket: Descriptor(adopting: descriptors[0]), follow: follow, input: input)
  }

  // MARK: Control connections

  private func acceptConnections() {
    do {
      while let accepted = try listener.accept() { try serve(accepted) }
    } catch {
      // The one that waits would make the listener readable for ever.
      report("\(error)")
      loop.unwatch(listener.raw)
      loop.after(Self.acceptPause) { [unowned self] in watchListener() }
    }
  }

  private func watchListener() {
    do {
      try loop.watch(listener.raw) { [unowned self] _ in acceptConnections() }
    } catch {
      // Out of memory; without the listener nobody could ask for anything ever again.
      loop.after(Self.acceptPause) { [unowned self] in watchListener() }
    }
  }

  private func serve(_ accepted: consuming Descriptor) throws(BackendError) {
    let connection = ControlConnection(ControlSocket(adopting: accepted))
    let raw = connection.socket.raw
    try loop.watch(raw) { [unowned self] events in serve(connection, events) }
    connections[raw] = connection
  }

  private func serve(_ connection: ControlConnection, _ events: UInt32) {
    // Who has gone wants nothing any more: a request that it gave up waiting for must not be carried out later.
    if events & EPOLLHUP.rawValue != 0 { return drop(connection) }
    if events & EPOLLOUT.rawValue != 0 { feed.flush(connection.socket.raw) }
    if events & EPOLLIN.rawValue != 0 { serveRequest(connection) }
  }

  private func serveRequest(_ connection: ControlConnection) {
    do throws(BackendError) {
      guard let reply = try nextReply(connection) else { return }
      try connection.socket.send(reply.encoded())
    } catch {
      if error.errno != EAGAIN { drop(connection) }
    }
  }

  private func nextReply(_ connection: ControlConnection) throws(BackendError) -> ControlProtocol.Reply? {
    do throws(BackendError) {
      guard let (bytes, descriptors) = try connection.socket.receive() else {
        throw BackendError("the connection ended", errno: EPIPE)
      }
      return answer(bytes, descriptors, on: connection)
    } catch {
      // The request was taken off the socket, but not all that came with it: that is its own failure, and no other's.
      guard [EMFILE, EMSGSIZE].contains(error.errno) else { throw error }
      report("\(error)")
      return .failed(errno: error.errno, message: "chaos-backend could not take the request")
    }
  }

  private func drop(_ connection: ControlConnection) {
    let raw = connection.socket.raw
    feed.unsubscribe(raw)
    loop.unwatch(raw)
    connections[raw] = nil
  }

  private func answer(
    _ bytes: [UInt8], _ descriptors: [Int32], on connection: ControlConnection
  ) -> ControlProtocol.Reply? {
    let request: ControlProtocol.Request
    do {
      request = try ControlProtocol.Request(decoding: bytes)
    } catch {
      for descriptor in descriptors { close(descriptor) }
      let version = ControlProtocol.Version.current.rawValue
      return .failed(errno: EPROTO, message: "not a request of protocol version \(version)")
    }
    do {
      return try perform(request, descriptors, on: connection)
    } catch let error as XenError {
      report(error.description)
      return .failed(errno: error.errno, message: error.description)
    } catch let error as BackendError {
      report(error.description)
      return .failed(errno: error.errno, message: error.operation)
    } catch {
      return .failed(errno: EIO, message: "\(error)")
    }
  }

  /// Carries a request out. Consumes the descriptors.
  private func perform(
    _ request: ControlProtocol.Request, _ descriptors: [Int32], on connection: ControlConnection
  ) throws -> ControlProtocol.Reply? {
    switch request {
    case .attach(let key, let vifs, let partial): try attach(key, vifs, partial: partial, descriptors)
    case .attachVif(let key, let vif): try attachVif(key, vif, descriptors)
    case .resetVif(let key, let slot): try resetVif(key, slot: Int(slot), descriptors)
    case .console(let key, let follow, let input):
      try openConsole(key, follow: follow, input: input, descriptors)
    case .own: try own(descriptors)
    default:
      for descriptor in descriptors { close(descriptor) }
      return try perform(request, on: connection)
    }
    return .done
  }

  /// Carries a request out that comes without descriptors.
  private func perform(
    _ request: ControlProtocol.Request, on connection: ControlConnection
  ) throws -> ControlProtocol.Reply? {
    switch request {
    case .detach(let key): detach(key)
    case .rename(let key, let handle): try served(key).rename(to: handle)
    case .detachVif(let key, let slot): detachVif(key, slot: Int(slot))
    case .setFeatures(let key, let slot, let features):
      try served(key).setFeatures(slot: Int(slot), features)
    case .powerctl(let key, let bits): try served(key).request(bits)
    case .list(let from): return .domains(statuses(from: from))
    case .subscribe:
      feed.subscribe(connection)
      return nil
    default: throw BackendError("a request without its descriptors", errno: EINVAL)
    }
    return .done
  }
}
