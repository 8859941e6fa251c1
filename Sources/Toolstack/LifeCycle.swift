import Backends
import CDevicePage
import ChaosAPI
import Glibc
import ShellPool
import StateFiles
import Threads
import Xen

extension Toolstack {
  // MARK: Looking

  /// Every guest, by domain ID.
  public func list(_ blocking: borrowing Blocking) throws(APIError) -> [GuestInfo] {
    let domains: [DomainIdentity: DomainInfo]
    do { domains = try hypervisor.domainsByIdentity() } catch { throw APIError(error) }
    return registry.guests.compactMap { guest in
      guard let info = domains[guest.identity] else { return nil }
      return describe(guest, state: Self.state(info), cpuNanoseconds: info.cpuNanoseconds)
    }
  }

  public func info(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) -> GuestInfo {
    let guest = try registry.find(reference)
    do { guest.isTampered = try !wiring.isIntact(guest.shell) } catch {
      // A domain that is going has no pages to look at; what its state is, is said below.
    }
    return try info(of: guest)
  }

  func info(of guest: Guest) throws(APIError) -> GuestInfo {
    let info: DomainInfo?
    do { info = try hypervisor.info(of: guest.identity) } catch { throw APIError(error) }
    guard let info else {
      throw APIError(.notFound, "guest '\(guest.name)' has ended")
    }
    return describe(guest, state: Self.state(info), cpuNanoseconds: info.cpuNanoseconds)
  }

  private static func state(_ info: DomainInfo) -> GuestState {
    if info.isDying { return .dying }
    if info.isShutdown { return info.shutdownReason == .crash ? .crashed : .shutdown }
    return info.isPaused ? .paused : .running
  }

  func describe(_ guest: Guest, state: GuestState, cpuNanoseconds: UInt64) -> GuestInfo {
    let record = guest.record
    let broken = guest.brokenVifs
    let vifs = record.vifs.map { vif in
      var info = Self.describe(vif, guest.shell)
      info.broken = broken[vif.slot]
      return info
    }
    return GuestInfo(
      name: guest.name, uuid: guest.handle.uuid, domid: Int(guest.shell.domain.rawValue), state: state,
      memoryMiB: guest.shell.flavour.memoryMiB, vcpus: guest.shell.flavour.vcpus,
      image: ImageReference(name: record.imageName, digest: record.kernel.description),
      cmdline: record.commandLine, created: Timestamp.format(seconds: record.created),
      cpuSeconds: Double(cpuNanoseconds / 1_000_000) / 1000, ready: guest.isReady,
      tampered: guest.isTampered, restarts: record.restarts, policies: record.policies, autostart: record.autostart,
      after: record.after, scheduling: record.scheduling, vifs: vifs)
  }

  // MARK: Changing

  public func pause(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) -> GuestInfo {
    try change(reference, blocking) { guest, state in
      switch state {
      case .running:
        // A paused domain no longer shows that it was started; from here on the record does.
        try self.records.write(guest.domainRecord(.guest))
        try self.hypervisor.pause(guest.shell.domain)
        self.journal.note(.paused, guest)
      // What still stands still of a hold that is over is to do so from now on.
      case .paused where guest.record.isHeld: try self.keepPaused(guest)
      case .paused: break
      default: throw Self.wrongState(guest, state, "paused")
      }
    }
  }

  public func unpause(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) -> GuestInfo {
    try change(reference, blocking) { guest, state in
      switch state {
      case .paused:
        try self.hypervisor.unpause(guest.shell.domain)
        self.journal.note(.unpaused, guest)
      case .running: break
      default: throw Self.wrongState(guest, state, "unpaused")
      }
    }
  }

  private func keepPaused(_ guest: Guest) throws {
    var record = guest.record
    record.isHeld = false
    try write(record, of: guest)
    journal.note(.paused, guest)
  }

  private func change(
    _ reference: String, _ blocking: borrowing Blocking, _ body: (Guest, GuestState) throws -> Void
  ) throws(APIError) -> GuestInfo {
    let guest = try registry.find(reference)
    do {
      return try guest.serially(blocking) {
        try body(guest, try info(of: guest).state)
        return try info(of: guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  static func wrongState(_ guest: Guest, _ state: GuestState, _ wanted: String) -> APIError {
    APIError(.wrongState, "guest '\(guest.name)' is \(state.rawValue) and cannot be \(wanted)")
  }

  /// Asks a guest to power off. Returns at once; ``waitUntilEnded(_:seconds:)`` waits for it.
  public func shutDown(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) {
    let guest = try registry.find(reference)
    guard guest.record.bus == .noxs else {
      throw APIError(
        .unsupported, "guest '\(guest.name)' does not speak powerctl on the noxs bus; use 'chaos destroy'")
    }
    do {
      try guest.serially(blocking) {
        let state = try info(of: guest).state
        guard state == .running else { throw Self.wrongState(guest, state, "shut down") }
        try withBackend(of: guest) {
          try attachment.request(UInt32(CHAOS_REQUEST_POWEROFF), of: guest.identity)
        }
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Destroys a guest and returns when nothing of it is left.
  public func destroy(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) {
    // One that is only to be started is not wanted any more.
    if let note = pending.find(reference), registry[note.handle] == nil {
      do { try forget(note.handle) } catch { throw APIError(error) }
      return
    }
    try destroy(try registry.find(reference), blocking)
  }

  func destroy(_ guest: Guest, _ blocking: borrowing Blocking) throws(APIError) {
    do {
      guest.breakHold()
      try guest.serially(blocking) {
        try forget(guest.handle)
        try unmake(guest, reason: .destroyed)
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Destroys every guest; returns how many. One that cannot be destroyed does not keep the others alive.
  public func destroyAll(_ blocking: borrowing Blocking) throws(APIError) -> Int {
    var destroyed = 0
    var first: (any Error)?
    // In one order, whoever asks: two of these must not wait for each other's guests.
    var guests = registry.guests.sorted { $0.handle.uuid < $1.handle.uuid }[...]
    do {
      for note in pending.all where registry[note.handle] == nil { try forget(note.handle) }
      while !guests.isEmpty {
        try holding(guests.prefix(Self.destroyedTogether), blocking) { guests in
          for guest in guests { try forget(guest.handle) }
          let failed = try unmake(guests, reason: .destroyed)
          destroyed += guests.count - failed.count
          first = first ?? failed.values.first
        }
        guests = guests.dropFirst(Self.destroyedTogether)
      }
    } catch {
      throw APIError(error)
    }
    if let first { throw APIError(first) }
    return destroyed
  }

  private static let destroyedTogether = 32

  /// Destroyed is not wanted: not now, and not after the next boot.
  private func forget(_ handle: DomainHandle) throws(StateFile.Failure) {
    try wanted.remove(handle)
    try pending.remove(handle)
  }

  /// Runs an operation on several guests' queues at a time; those that have ended are left out.
  private func holding(
    _ guests: ArraySlice<Guest>, _ blocking: borrowing Blocking, with held: [Guest] = [],
    _ body: ([Guest]) throws -> Void
  ) throws {
    guard let guest = guests.first else { return try body(held) }
    guest.breakHold()
    try guest.whole(blocking) { isThere in
      try holding(guests.dropFirst(), blocking, with: isThere ? held + [guest] : held, body)
    }
  }

  /// Unmakes a guest; called on its queue. When it cannot be unmade now, the guest stays, ending, and the reconciler
  /// goes on with it.
  func unmake(_ guest: Guest, reason: GuestEnd, patience: Teardown.Patience = .caller) throws {
    if let error = try unmake([guest], reason: reason, patience: patience).values.first { throw error }
  }

  /// The same for many, together; returns why some of them stay.
  private func unmake(
    _ guests: [Guest], reason: GuestEnd, patience: Teardown.Patience = .caller
  ) throws -> [DomainIdentity: any Error] {
    for guest in guests {
      guest.beginEnding()
      if guest.stop(reason) { journal.note(.ended, guest, reason: reason) }
    }
    let candidates = guests.map {
      Teardown.Candidate($0.shell, ending: $0.domainRecord(.ending), keepsLog: true)
    }
    let failed = try builder.teardown.run(candidates, patience: patience, observe: observe)
    for guest in guests where failed[guest.identity] == nil {
      left(guest.record.vifs)
      registry.remove(guest)
      guest.end(reason)
    }
    return failed
  }

  // MARK: Waiting

  /// Waits until the guest says that it is ready.
  public func waitUntilReady(_ reference: String, seconds: Int) async throws -> GuestInfo {
    let guest = try registry.find(reference)
    guard guest.record.bus == .noxs else {
      throw APIError(
        .unsupported, "guest '\(guest.name)' runs an image that cannot say it is ready (no device page)")
    }
    let stops = guest.stops
    let isReady = try await wait(for: guest, seconds: seconds) { guest in
      if let end = guest.stopped, guest.stops > stops || !guest.isRestartPlanned {
        throw APIError(.wrongState, "guest '\(guest.name)' ended before it was ready (\(end.rawValue))")
      }
      return guest.isReady
    }
    guard isReady else {
      throw APIError(.timeout, "guest '\(guest.name)' is not ready after \(seconds) s")
    }
    return try info(of: guest)
  }

  /// Waits until the guest is gone, however that comes about.
  public func waitUntilEnded(_ reference: String, seconds: Int) async throws -> GuestEnd {
    try await waitUntilEnded(try registry.find(reference), seconds: seconds)
  }

  /// Waits until there is no such guest any more, its restarts counted as itself.
  public func waitUntilGone(_ reference: String, seconds: Int) async throws -> GuestEnd {
    let guest = try registry.find(reference)
    let isGone = try await wait(for: guest, seconds: seconds) { $0.ended != nil }
    guard isGone, let end = guest.ended else {
      throw APIError(.timeout, "guest '\(guest.name)' is not gone after \(seconds) s")
    }
    return end
  }

  /// - Parameter since: how often it had stopped when the wait began; nil: now.
  private func waitUntilEnded(_ guest: Guest, seconds: Int, since: Int? = nil) async throws -> GuestEnd {
    let stops = since ?? guest.stops
    let hasEnded = try await wait(for: guest, seconds: seconds) { $0.stopped != nil || $0.stops > stops }
    guard hasEnded else {
      throw APIError(.timeout, "guest '\(guest.name)' has not ended after \(seconds) s")
    }
    return guest.stopped ?? guest.lastStop ?? .crash
  }

  /// Asks a guest to power off and waits until it has.
  ///
  /// - Parameter pool: where the asking blocks.
  public func shutDownAndWait(
    _ reference: String, seconds: Int, on pool: BlockingPool
  ) async throws -> GuestEnd {
    let guest = try registry.find(reference)
    let stops = guest.stops
    try await pool.run { blocking in try self.shutDown(reference, blocking) }
    return try await waitUntilEnded(guest, seconds: seconds, since: stops)
  }

  /// Waits until `condition` holds; false when that took too long.
  private func wait(
    for guest: Guest, seconds: Int, _ condition: @escaping @Sendable (Guest) throws -> Bool
  ) async throws -> Bool {
    try await withThrowingTaskGroup(of: Bool.self) { group in
      group.addTask {
        for await _ in guest.changes() where try condition(guest) { return true }
        return false
      }
      group.addTask {
        try await self.tasks.sleep(for: .seconds(seconds))
        return false
      }
      defer { group.cancelAll() }
      return try await group.next() ?? false
    }
  }

  // MARK: Console

  /// Opens a guest's console and returns the daemon's end of it: a stream socket the caller closes.
  ///
  /// - Parameters:
  ///   - follow: stay open for what the guest writes next.
  ///   - input: pass on what is written to the socket.
  public func openConsole(_ reference: String, follow: Bool, input: Bool, _ blocking: borrowing Blocking)
    throws(APIError) -> Int32
  {
    let guest = try registry.find(reference)
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw APIError(APIError.code(errno), "open a console: \(String(cString: strerror(errno)))")
    }
    defer { close(ends[1]) }
    let open = { [attachment] in
      try attachment.openConsole(of: guest.identity, follow: follow, input: input, on: ends[1])
    }
    do {
      do { try open() } catch let error as BackendError where error.errno == ENODEV {
        try guest.serially(blocking) { try withBackend(of: guest, open) }
      }
    } catch {
      close(ends[0])
      throw APIError(error)
    }
    return ends[0]
  }

  /// What a guest that has ended wrote last, while that is kept; nil when there is nothing, or no such guest.
  public func endedLog(_ reference: String, _ blocking: borrowing Blocking) throws(APIError) -> [UInt8]? {
    guard (try? registry.find(reference)) == nil,
      let end = journal.ends().first(where: { $0.guest == reference || $0.uuid == reference }),
      let handle = DomainHandle(uuid: end.uuid)
    else { return nil }
    do { return try attachment.endedLog(handle) } catch { throw APIError(error) }
  }

  /// Types on a guest's console.
  public func type(_ input: [UInt8], to reference: String, _ blocking: borrowing Blocking) throws(APIError) {
    let socket = try openConsole(reference, follow: true, input: true, blocking)
    defer { close(socket) }
    if send(socket, input, input.count, Int32(MSG_NOSIGNAL)) < 0 {
      throw APIError(.internal, "type on the console: \(String(cString: strerror(errno)))")
    }
  }
}
