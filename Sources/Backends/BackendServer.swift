import CBackends
import DevicePages
import Glibc
import Xen

/// The back-end process's loop: one thread that waits on every domain's event channels, the kernel's calls, the
/// consoles and the control socket, and does a bounded amount of work for each.
public final class BackendServer {
  private let listener: ControlSocket
  private let epoll: Descriptor
  private var sources: [Int32: Source] = [:]
  private var domains: [DomainID: DomainBackend] = [:]
  private var connections: [Int32: Connection] = [:]
  private var consoles: [Int32: Console] = [:]
  private let retirement = Retirement()
  /// Called with one line when something is worth an operator's attention.
  private let report: (String) -> Void

  /// What a descriptor in the epoll set stands for.
  private enum Source {
    case listener, connection, console
    case events(DomainID)
    case call(DomainID, slot: Int)
  }

  private final class Connection {
    let socket: ControlSocket
    var isSubscribed = false

    init(_ socket: consuming ControlSocket) { self.socket = socket }
  }

  private final class Console {
    let domain: DomainID
    var client: ConsoleClient

    init(domain: DomainID, client: consuming ConsoleClient) {
      self.domain = domain
      self.client = client
    }
  }

  /// - Parameter listener: bound and listening; kept when the process then drops its privileges.
  public init(listener: consuming ControlSocket, report: @escaping (String) -> Void) throws(BackendError) {
    self.listener = listener
    self.report = report
    let raw = epoll_create1(Int32(EPOLL_CLOEXEC))
    if raw < 0 { throw BackendError.last("create an epoll set") }
    epoll = Descriptor(adopting: raw)
    watch(self.listener.raw, .listener)
  }

  /// Serves until the process ends.
  public func run() -> Never {
    var ready = [epoll_event](repeating: epoll_event(), count: 64)
    while true {
      let count = epoll_wait(epoll.raw, &ready, Int32(ready.count), -1)
      guard count > 0 else { continue }
      var calls: Set<Call> = []
      for event in ready.prefix(Int(count)) {
        handle(event.data.fd, events: event.events, calls: &calls)
      }
      // Both queues of a vif often call at once; the guest needs one event.
      for call in calls { domains[call.domain]?.notify(slot: call.slot) }
    }
  }

  private struct Call: Hashable {
    let domain: DomainID
    let slot: Int
  }

  private func handle(_ descriptor: Int32, events: UInt32, calls: inout Set<Call>) {
    // An earlier event of the same batch may have closed this one.
    guard let source = sources[descriptor] else { return }
    switch source {
    case .listener: acceptConnections()
    case .connection: serve(descriptor)
    case .console: serveConsole(descriptor, events: events)
    case .events(let domain): takeEvents(domain)
    case .call(let domain, let slot):
      var count: UInt64 = 0
      _ = read(descriptor, &count, 8)
      calls.insert(Call(domain: domain, slot: slot))
    }
  }

  // MARK: Waiting

  private func watch(_ descriptor: Int32, _ source: Source) {
    sources[descriptor] = source
    control(EPOLL_CTL_ADD, descriptor, writable: false)
  }

  private func control(_ operation: Int32, _ descriptor: Int32, writable: Bool) {
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | (writable ? EPOLLOUT.rawValue : 0)
    event.data.fd = descriptor
    _ = epoll_ctl(epoll.raw, operation, descriptor, &event)
  }

  private func unwatch(_ descriptor: Int32) {
    sources[descriptor] = nil
    var event = epoll_event()
    _ = epoll_ctl(epoll.raw, EPOLL_CTL_DEL, descriptor, &event)
  }

  // MARK: Domains

  private func takeEvents(_ id: DomainID) {
    guard let domain = domains[id] else { return }
    let rung = domain.takeEvents()
    if !rung.consoleOutput.isEmpty { show(rung.consoleOutput, of: id) }
    if rung.powerctlChanged { publish(domain.status) }
  }

  private func publish(_ event: ControlProtocol.Event) {
    for connection in connections.values where connection.isSubscribed {
      // A subscriber that does not keep up asks with `list` when it comes back.
      try? connection.socket.send(event.encodedEvent())
    }
  }

  private func attach(
    _ key: ControlProtocol.DomainKey, _ vifs: [ControlProtocol.Vif], _ descriptors: [Int32]
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
    let log = Descriptor(adopting: descriptors[2])
    // One of that number is left from before: numbers are used again.
    if let old = domains[key.domain] { detach(old.key) }
    let domain = try DomainBackend(
      key: key, vifs: vifs, privcmd: privcmd, eventChannels: eventChannels, log: log, queues: queues)
    domains[key.domain] = domain
    watch(domain.eventDescriptor, .events(key.domain))
    for (descriptor, slot) in domain.callDescriptors { watch(descriptor, .call(key.domain, slot: slot)) }
  }

  private func attachVif(
    _ key: ControlProtocol.DomainKey, _ vif: ControlProtocol.Vif, _ descriptors: [Int32]
  ) throws {
    guard Self.isSound(vif), descriptors.count == 3, let domain = try? served(key) else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("attach vif \(vif.slot) of domain \(key.domain)", errno: EINVAL)
    }
    let queue = DomainBackend.QueuePair(tap: descriptors[1], vhost: descriptors[2])
    try domain.add(vif, privcmd: Descriptor(adopting: descriptors[0]), queue: queue)
    for descriptor in domain.callDescriptors(ofSlot: Int(vif.slot)) {
      watch(descriptor, .call(key.domain, slot: Int(vif.slot)))
    }
  }

  /// Stops serving a vif; it is gone a moment later, like a detached domain.
  private func detachVif(_ key: ControlProtocol.DomainKey, slot: Int) {
    guard let domain = try? served(key) else { return }
    for descriptor in domain.callDescriptors(ofSlot: slot) { unwatch(descriptor) }
    if let vif = domain.remove(slot: slot) { retirement.retire(vif) }
  }

  private static func isSound(_ vif: ControlProtocol.Vif) -> Bool {
    Int(vif.slot) < Slots.maxVifs && (16...4096).contains(vif.windowFrames)
  }

  /// Stops serving a domain. Its descriptors and mappings go a moment later: who waits for the domain's end sees
  /// when they have.
  private func detach(_ key: ControlProtocol.DomainKey) {
    guard let domain = try? served(key) else { return }
    let id = key.domain
    takeEvents(id)
    unwatch(domain.eventDescriptor)
    for (descriptor, _) in domain.callDescriptors { unwatch(descriptor) }
    for (descriptor, console) in consoles where console.domain == id {
      _ = console.client.flush()
      dropConsole(descriptor)
    }
    domains[id] = nil
    retirement.retire(domain)
  }

  // MARK: Consoles

  private func show(_ output: [UInt8], of domain: DomainID) {
    for (descriptor, console) in consoles where console.domain == domain {
      console.client.append(output)
      flush(descriptor, console)
    }
  }

  private func flush(_ descriptor: Int32, _ console: Console) {
    switch console.client.flush() {
    case .finished: dropConsole(descriptor)
    case .open: control(EPOLL_CTL_MOD, descriptor, writable: console.client.wantsToWrite)
    }
  }

  private func dropConsole(_ descriptor: Int32) {
    unwatch(descriptor)
    consoles[descriptor] = nil
  }

  private func serveConsole(_ descriptor: Int32, events: UInt32) {
    guard let console = consoles[descriptor] else { return }
    if events & EPOLLOUT.rawValue != 0 {
      flush(descriptor, console)
      if consoles[descriptor] == nil { return }
    }
    guard events & ~EPOLLOUT.rawValue != 0 else { return }
    switch console.client.read(limit: Int(ConsoleRing.inputSize)) {
    case .bytes(let bytes): if console.client.acceptsInput { domains[console.domain]?.type(bytes) }
    case .nothing: break
    case .closed: dropConsole(descriptor)
    }
  }

  private func openConsole(
    _ key: ControlProtocol.DomainKey, follow: Bool, input: Bool, _ descriptors: [Int32]
  ) throws(BackendError) {
    guard descriptors.count == 1, let domain = try? served(key) else {
      for descriptor in descriptors { close(descriptor) }
      throw BackendError("console of domain \(key.domain)", errno: descriptors.count == 1 ? ENODEV : EINVAL)
    }
    let client = ConsoleClient(
      socket: Descriptor(adopting: descriptors[0]), follow: follow, input: input,
      replay: domain.loggedOutput())
    let console = Console(domain: key.domain, client: client)
    consoles[descriptors[0]] = console
    watch(descriptors[0], .console)
    flush(descriptors[0], console)
  }

  // MARK: Control connections

  private func acceptConnections() {
    while let accepted = try? listener.accept() {
      let raw = accepted.raw
      connections[raw] = Connection(ControlSocket(adopting: accepted))
      watch(raw, .connection)
    }
  }

  private func serve(_ descriptor: Int32) {
    guard let connection = connections[descriptor] else { return }
    do {
      guard let (bytes, descriptors) = try connection.socket.receive() else { return drop(descriptor) }
      let reply = answer(bytes, descriptors, on: connection)
      if let reply { try connection.socket.send(reply.encoded()) }
    } catch {
      if error.errno != EAGAIN { drop(descriptor) }
    }
  }

  private func drop(_ descriptor: Int32) {
    unwatch(descriptor)
    connections[descriptor] = nil
  }

  private func answer(
    _ bytes: [UInt8], _ descriptors: [Int32], on connection: Connection
  ) -> ControlProtocol.Reply? {
    let request: ControlProtocol.Request
    do {
      request = try ControlProtocol.Request(decoding: bytes)
    } catch {
      for descriptor in descriptors { close(descriptor) }
      return .failed(
        errno: EPROTO, message: "not a request of protocol version \(ControlProtocol.Version.current.rawValue)")
    }
    do {
      return try perform(request, descriptors, on: connection)
    } catch let error as XenError {
      report(error.description)
      return .failed(errno: error.errno, message: error.description)
    } catch let error as BackendError {
      report(error.description)
      return .failed(errno: error.errno, message: error.description)
    } catch {
      return .failed(errno: EIO, message: "\(error)")
    }
  }

  /// Carries a request out. Consumes the descriptors.
  private func perform(
    _ request: ControlProtocol.Request, _ descriptors: [Int32], on connection: Connection
  ) throws -> ControlProtocol.Reply? {
    switch request {
    case .attach(let key, let vifs, _):
      try attach(key, vifs, descriptors)
      return .done
    case .attachVif(let key, let vif):
      try attachVif(key, vif, descriptors)
      return .done
    case .console(let key, let follow, let input):
      try openConsole(key, follow: follow, input: input, descriptors)
      return .done
    default:
      for descriptor in descriptors { close(descriptor) }
    }
    switch request {
    case .attach, .attachVif, .console: break
    case .resetVif(let key, _): throw BackendError("reset a vif of domain \(key.domain)", errno: EOPNOTSUPP)
    case .detach(let key): detach(key)
    case .rename(let key, let handle): try served(key).rename(to: handle)
    case .detachVif(let key, let slot): detachVif(key, slot: Int(slot))
    case .setFeatures(let key, let slot, let features):
      try served(key).setFeatures(slot: Int(slot), features)
    case .powerctl(let key, let bits): try served(key).request(bits)
    case .list(let from): return .domains(statuses(from: from))
    case .subscribe:
      connection.isSubscribed = true
      return nil
    }
    return .done
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
}
