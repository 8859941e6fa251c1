import ChaosAPI
import DevicePages
import Glibc
import ImageStore
import NetworkAddresses
import ShellPool
import Threads
import VirtualLAN
import Xen

/// A create whose every value was checked and found possible.
struct Plan {
  let request: CreateRequest
  let name: String
  /// Chosen by the client; nil: the shell's own becomes the guest's.
  let handle: DomainHandle?
  /// The flavour with its image.
  let flavour: Flavour
  let images: BootImages
  let vifs: [PlannedVif]
  /// The guest was there before and is made again.
  let note: StartNote?

  var addresses: [LANAddress] {
    vifs.compactMap { vif in
      vif.request.mac.flatMap { MACAddress($0) }.flatMap { mac in vif.lan.map { LANAddress(lan: $0, mac: mac) } }
    }
  }
}

extension Toolstack {
  // MARK: One guest

  /// Makes one guest where that takes less than a switch of threads: a hot shell is ready, and nobody has to be waited
  /// for: no LAN, whose lock another process may hold, no UUID, of which chaos-backend must be told. Nil, with nothing
  /// made, where it would take longer.
  ///
  /// A create that fails in the middle is unmade by the reconciler.
  public func createAtOnce(_ request: CreateRequest) throws(APIError) -> CreateResult? {
    guard request.pool, request.uuid == nil, !request.autostart, request.scheduling == Scheduling(),
      request.vifs.allSatisfy({ $0.lan == nil })
    else { return nil }
    let start = Self.microseconds()
    try request.validate()
    let name = request.name ?? "guest-\(DomainHandle.random().uuid.prefix(8))"
    let plan = try plan(request, name: name, handle: nil)
    guard pool.hasReady(plan.flavour) else { return nil }
    try registry.reserve(names: [name])
    defer { registry.release(names: [name]) }
    pool.beginCreate()
    defer { pool.endCreate() }
    guard let shell = takeLiving(plan.flavour) else { return nil }
    do {
      return try finish(plan, shell, .hot, mayBlock: false, start: start)
    } catch {
      throw APIError(error)
    }
  }

  /// Makes one guest, until it runs (or, if asked, is paused); on failure nothing of it is left.
  public func create(
    _ request: CreateRequest, _ blocking: borrowing Blocking
  ) throws(APIError) -> CreateResult {
    let start = Self.microseconds()
    try request.validate()
    if let existing = try existing(request) { return existing }
    // What starts with the host must be known by a UUID before it is made.
    let handle = request.uuid.flatMap { DomainHandle(uuid: $0) } ?? (request.autostart ? .random() : nil)
    return try create(request, handle: handle, note: nil, start: start)
  }

  /// Makes the guest that a note speaks of.
  func make(_ note: StartNote) throws(APIError) -> CreateResult {
    try create(note.request, handle: note.handle, note: note, start: Self.microseconds())
  }

  private func create(
    _ request: CreateRequest, handle: DomainHandle?, note: StartNote?, start: Int
  ) throws(APIError) -> CreateResult {
    if let handle, !registry.reserve(handle) {
      throw APIError(.conflict, "uuid: a create with it is under way: '\(handle.uuid)'", field: "uuid")
    }
    defer { if let handle { registry.release(handle) } }
    if let handle { try checkIsFree(handle) }
    let name = request.name ?? "guest-\((handle ?? .random()).uuid.prefix(8))"
    try registry.reserve(names: [name])
    defer { registry.release(names: [name]) }
    return try create(request, name: name, handle: handle, note: note, start: start)
  }

  /// Refuses a UUID that any domain of the host has, ours or another toolstack's.
  private func checkIsFree(_ handle: DomainHandle) throws(APIError) {
    let holder: DomainInfo?
    do { holder = try hypervisor.domains().first { $0.handle == handle } } catch { throw APIError(error) }
    if let holder {
      throw APIError(.conflict, "uuid: domain \(holder.id) of this host has it: '\(handle.uuid)'", field: "uuid")
    }
  }

  /// The guest an earlier try of the same request made.
  private func existing(_ request: CreateRequest) throws(APIError) -> CreateResult? {
    guard let handle = request.uuid.flatMap({ DomainHandle(uuid: $0) }), let guest = registry[handle] else {
      return nil
    }
    if let name = request.name, name != guest.name {
      throw APIError(.conflict, "uuid: belongs to guest '\(guest.name)'", field: "uuid")
    }
    if guest.isEnding {
      throw APIError(.conflict, "uuid: guest '\(guest.name)' with it is being destroyed", field: "uuid")
    }
    return CreateResult(guest: try info(of: guest), shell: .none, microseconds: 0)
  }

  /// Makes a guest whose name is reserved.
  private func create(
    _ request: CreateRequest, name: String, handle: DomainHandle?, note: StartNote? = nil, start: Int
  ) throws(APIError) -> CreateResult {
    pool.beginCreate()
    defer { pool.endCreate() }
    let plan = try plan(request, name: name, handle: handle, note: note)
    let addresses = plan.addresses
    try registry.reserve(addresses, except: handle)
    defer { registry.release(addresses) }
    do {
      let (shell, kind) = try obtainShell(plan)
      return try finish(plan, shell, kind, mayBlock: true, start: start)
    } catch {
      throw APIError(error)
    }
  }

  private func finish(
    _ plan: Plan, _ shell: DomainShell, _ kind: ShellKind, mayBlock: Bool, start: Int
  ) throws -> CreateResult {
    let guest = try execute(plan, shell, kind, as: nil, mayBlock: mayBlock)
    hits.withLock { hits in
      switch kind {
      case .hot: hits.hot += 1
      case .blank: hits.blank += 1
      case .none: hits.none += 1
      }
    }
    return CreateResult(
      guest: describe(guest, state: plan.request.paused ? .paused : .running, cpuNanoseconds: 0), shell: kind,
      microseconds: Self.microseconds() - start)
  }

  private static func microseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
  }

  // MARK: Many guests

  /// A create of many whose values were checked and whose names are reserved. ``createAll(_:_:)`` must follow.
  public struct Accepted: Sendable {
    fileprivate let requests: [CreateRequest]
    fileprivate let names: [String]
  }

  /// Checks a request with a count and reserves its guests' names.
  public func accept(_ request: CreateRequest, _ blocking: borrowing Blocking) throws(APIError) -> Accepted {
    try request.validate()
    let requests = request.expanded().enumerated().map { number, single in
      var named = single
      if named.name == nil { named.name = "guest-\(DomainHandle.random().uuid.prefix(8))-\(number + 1)" }
      return named
    }
    let names = requests.compactMap(\.name)
    try registry.reserve(names: names)
    do {
      guard let first = requests.first else { return Accepted(requests: [], names: []) }
      // The guests differ in names and addresses only: what is refused for one is refused for all.
      _ = try plan(first, name: names[0], handle: nil)
      try checkRoom(for: requests)
    } catch {
      registry.release(names: names)
      throw error
    }
    return Accepted(requests: requests, names: names)
  }

  /// Makes the guests one after another, all of them or none.
  ///
  /// - Parameter run: runs what it is given on a thread that may block.
  public func createAll(
    _ accepted: Accepted,
    _ run: (@escaping @Sendable (borrowing Blocking) throws -> CreateResult) async throws -> CreateResult
  ) async throws {
    defer { registry.release(names: accepted.names) }
    var made: [DomainHandle] = []
    do {
      for (request, name) in zip(accepted.requests, accepted.names) {
        let result = try await run { [self] _ in
          try create(
            request, name: name, handle: request.autostart ? .random() : nil, start: Self.microseconds())
        }
        if let handle = DomainHandle(uuid: result.guest.uuid) { made.append(handle) }
      }
    } catch {
      try await unmakeAll(made, run)
      throw error
    }
  }

  /// Takes back the guests of a create that failed, latest first. One that cannot be unmade now is unmade by the
  /// reconciler.
  private func unmakeAll(
    _ made: [DomainHandle],
    _ run: (@escaping @Sendable (borrowing Blocking) throws -> CreateResult) async throws -> CreateResult
  ) async throws {
    for handle in made.reversed() {
      guard let guest = registry[handle] else { continue }
      let name = guest.name
      do {
        _ = try await run { [self] blocking in
          let info = describe(guest, state: .dying, cpuNanoseconds: 0)
          try destroy(guest, blocking)
          return CreateResult(guest: info, shell: .none, microseconds: 0)
        }
      } catch {
        report("guest '\(name)' of a create that failed is unmade later: \(error)")
      }
    }
  }

  /// Refuses a batch that cannot fit, before the first of it is made.
  private func checkRoom(for requests: [CreateRequest]) throws(APIError) {
    guard let first = requests.first else { return }
    let flavour = try flavour(of: first, image: nil)
    let pages = flavour.hostPages * requests.count
    // Shells that fit are memory already spent for these guests; the pool gives the others back.
    let pooled = pool.status.reduce(0) { $0 + $1.ready * $1.flavour.hostPages }
    guard capacity.hasRoom(pages - pooled) else {
      throw noMemory(flavour.memoryMiB * requests.count)
    }
  }

  // MARK: Checking

  /// Checks all that can be checked against the host before anything is made.
  private func plan(
    _ request: CreateRequest, name: String, handle: DomainHandle?, note: StartNote? = nil
  ) throws(APIError) -> Plan {
    let images = try findImages(request)
    let hot = Flavour.HotImage(kernel: images.kernel.digest, ramdisk: images.ramdisk?.digest)
    let flavour = try flavour(of: request, image: hot)
    if let misfit = images.misfit(flavour) {
      throw APIError(.invalidArgument, "memory: \(misfit)", field: "memory")
    }
    if let runtime = images.kernel.kernel?.runtime, runtime.abiVersion != UInt32(DevicePage.version) {
      throw .refused(
        "kernel", "speaks a device page version other than \(DevicePage.version)", "\(runtime.abiVersion)")
    }
    var vifs: [PlannedVif] = []
    for (index, vif) in request.vifs.enumerated() {
      vifs.append(try plan(vif, field: "vifs[\(index)]", of: handle))
    }
    return Plan(
      request: request, name: name, handle: handle, flavour: flavour, images: images, vifs: vifs, note: note)
  }

  func plan(_ note: StartNote) throws(APIError) -> Plan {
    try plan(note.request, name: note.request.name ?? note.handle.uuid, handle: note.handle, note: note)
  }

  private func findImages(_ request: CreateRequest) throws(APIError) -> BootImages {
    do {
      let kernel = try images.find(request.image)
      do {
        let ramdisk = try request.ramdisk.map { try images.find($0, isKernel: false) }
        return BootImages(kernel: kernel, ramdisk: ramdisk)
      } catch {
        throw APIError(error as? ImageStoreError ?? .unknown(request.ramdisk ?? ""), field: "ramdisk")
      }
    } catch let error as APIError {
      throw error
    } catch let error as ImageStoreError {
      throw APIError(error, field: "kernel")
    } catch {
      throw APIError(error)
    }
  }

  private func flavour(of request: CreateRequest, image: Flavour.HotImage?) throws(APIError) -> Flavour {
    let flavour = Flavour(
      memoryMiB: request.memoryMiB, vcpus: request.vcpus, vifs: request.vifs.count,
      windowKiB: request.windowKiB ?? Flavour.defaultWindowKiB, image: image)
    guard flavour.memoryPlan != nil else {
      throw .refused(
        "memory", "too small for \(flavour.vifs) windows of \(flavour.windowKiB) KiB", "\(flavour.memoryMiB)")
    }
    return flavour
  }

  private func noMemory(_ mebibytes: Int) -> APIError {
    let free = ((try? hypervisor.hostMemory().freePages) ?? 0) / 256
    return APIError(
      .noCapacity, "memory: \(mebibytes) MiB wanted, \(free) MiB free on the host", field: "memory")
  }

  // MARK: Shell

  /// A shell for the guest: hot if there is one, else blank, else made on the spot.
  func obtainShell(_ plan: Plan) throws -> (DomainShell, ShellKind) {
    if plan.request.pool, let ready = takeReady(plan) { return ready }
    return try buildShell(plan)
  }

  private func takeReady(_ plan: Plan) -> (DomainShell, ShellKind)? {
    if let shell = takeLiving(plan.flavour) { return (shell, .hot) }
    if let shell = takeLiving(plan.flavour.blank) { return (shell, .blank) }
    return nil
  }

  /// Takes a shell whose domain still is ours; somebody may have destroyed it with another tool.
  private func takeLiving(_ flavour: Flavour) -> DomainShell? {
    while let shell = pool.take(flavour) {
      do {
        if try hypervisor.info(of: shell.identity) != nil { return shell }
        report("the shell in domain \(shell.domain) is gone")
      } catch {
        report("the shell in domain \(shell.domain) is not used: \(error)")
      }
      // Unmade by the reconciler: this may be an event loop.
      builder.leave(shell)
    }
    return nil
  }

  private func buildShell(_ plan: Plan) throws -> (DomainShell, ShellKind) {
    guard try hypervisor.dom0Memory().isFixed else { throw APIError(.noCapacity, Capacity.dom0Advice) }
    let pages = plan.flavour.hostPages
    if !capacity.reserve(pages) {
      let spared = plan.request.pool ? plan.flavour : nil
      guard pool.makeRoom(pages: pages, sparing: spared), capacity.reserve(pages) else {
        // One that became ready meanwhile, and was spared, does as well.
        if spared != nil, let ready = takeReady(plan) { return ready }
        throw noMemory(plan.flavour.memoryMiB)
      }
    }
    defer { capacity.release(pages) }
    return (try builder.build(plan.flavour, images: plan.images, observe: observe), .none)
  }

  // MARK: Execute

  /// Tells a shell who it is and starts it. On failure nothing of the shell is left.
  ///
  /// Unpausing is the last step and the one that counts: a domain whose record says `starting` is a guest if it
  /// was unpaused and is destroyed after a restart if it was not. So a create writes one record, and nothing
  /// after the guest has begun to compete for the processor.
  ///
  /// - Parameters:
  ///   - old: the guest that is made again; nil: a new one.
  ///   - mayBlock: whether a failure may be undone on the spot; else that is the reconciler's.
  @discardableResult
  func execute(
    _ plan: Plan, _ shell: DomainShell, _ kind: ShellKind, as old: Guest?, mayBlock: Bool = true
  ) throws -> Guest {
    var procedure = Procedure<CreateStep>(observe: observe)
    let record = guestRecord(plan, handle: plan.handle ?? shell.handle)
    var current = shell
    do {
      if let handle = plan.handle, handle != shell.handle {
        current = try procedure.step(.rename) {
          try builder.rename(shell, to: handle, phase: .starting, guest: record)
        }
      } else {
        try procedure.step(.record) { try records.write(shell.record(.starting, guest: record)) }
      }
      let guest = old ?? Guest(record: record, shell: current)
      if kind == .blank {
        try procedure.step(.loadImage) { try loadBlank(plan, current) }
      }
      try procedure.step(.writeIdentity) {
        current.write(Self.devicePage(record, current))
        current.writeCommandLine(record.commandLine)
      }
      try procedure.step(.joinBridges) { try join(Array(zip(plan.vifs, record.vifs)), of: current) }
      if record.scheduling != Scheduling() {
        try procedure.step(.schedule) {
          try hypervisor.schedule(current, record.scheduling, from: Scheduling())
        }
      }
      if record.autostart { try procedure.step(.want) { try setWanted(record, current) } }
      // Known before it runs, so that nothing it says is lost.
      old?.become(current, record)
      if old == nil { registry.insert(guest) } else { registry.update(guest) }
      // Before it runs: nothing that it says comes first.
      if old == nil { journal.note(.created, guest) }
      if plan.request.paused {
        try procedure.step(.recordPaused) { try records.write(guest.domainRecord(.guest)) }
      } else {
        try procedure.step(.unpause) { try hypervisor.unpause(current.domain) }
      }
      // The next back-end looked for guests to serve when this was none yet.
      if !attachment.hasKept(current) { reconciler.lookNow(.everything) }
      return guest
    } catch {
      if let guest = registry[current.handle] {
        journal.note(.failed, guest, message: APIError(error).message)
        registry.remove(guest)
      }
      if !mayBlock {
        builder.leave(current)
      } else if let remaining = builder.abandon(current, observe: observe) {
        report("a create failed, and its domain \(current.domain) is unmade later: \(remaining)")
      }
      left(record.vifs)
      // Wanted is what was made once; a guest made again stays wanted.
      if record.autostart && plan.note == nil { try wanted.remove(current.handle) }
      throw error
    }
  }

  private func loadBlank(_ plan: Plan, _ shell: DomainShell) throws {
    try builder.load(plan.images, into: shell, commandLine: plan.request.cmdline)
    let features = plan.images.vifFeatures
    if features != .always { try attachment.setFeatures(features, of: shell) }
  }

  private func guestRecord(_ plan: Plan, handle: DomainHandle) -> GuestRecord {
    let request = plan.request
    let abi = plan.images.kernel.kernel?.runtime.map { Int($0.abiVersion) }
    var record = GuestRecord(
      name: plan.name,
      imageName: plan.note?.imageName ?? (request.image.hasPrefix("sha256:") ? nil : request.image),
      kernel: plan.images.kernel.digest, ramdisk: plan.images.ramdisk?.digest, bus: abi == nil ? .none : .noxs,
      runtimeABI: abi, commandLine: request.cmdline, created: time(nil),
      vifs: plan.vifs.enumerated().map { $1.record(handle: handle, slot: $0, features: plan.images.vifFeatures) })
    record.policies = request.policies
    record.autostart = request.autostart
    record.after = request.after
    record.scheduling = request.scheduling
    record.restarts = plan.note?.restarts ?? 0
    return record
  }
}
