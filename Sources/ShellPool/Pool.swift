import Backends
import Dispatch
import Glibc
import Synchronization
import Threads
import Xen

/// The shells kept ready, by flavour, and the thread that refills them.
///
/// Refilling gives way to creates: it runs at a lower priority and, before each step, waits while there are as many
/// creates under way as processors.
public final class Pool: Sendable {
  /// What the pool needs of the daemon around it.
  public struct Environment: Sendable {
    /// The images of a hot flavour; nil when they are no longer there.
    public var images: @Sendable (Flavour.HotImage) -> BootImages?
    /// Whether the host has room for so many more pages.
    public var hasRoom: @Sendable (_ pages: Int) -> Bool
    /// Called before each step of a prepare.
    public var observe: StepObserver?
    /// Takes one line for the operator.
    public var report: @Sendable (String) -> Void

    public init(
      images: @escaping @Sendable (Flavour.HotImage) -> BootImages?,
      hasRoom: @escaping @Sendable (_ pages: Int) -> Bool, observe: StepObserver?,
      report: @escaping @Sendable (String) -> Void
    ) {
      self.images = images
      self.hasRoom = hasRoom
      self.observe = observe
      self.report = report
    }
  }

  /// One flavour as it stands.
  public struct Status: Sendable {
    public let flavour: Flavour
    public let watermarks: Watermarks
    public let ready: Int
    /// Creates served from this flavour since the daemon started.
    public let hits: Int
  }

  private struct Shelf {
    var watermarks: Watermarks
    var ready: [DomainShell] = []
    var hits = 0
    /// Set when refilling began below the low mark, until the high mark is reached.
    var isFilling = true
  }

  private struct State {
    /// In the order they were set.
    var order: [Flavour] = []
    var shelves: [Flavour: Shelf] = [:]
    var budgetMiB: Int
    var isDraining = false
    /// Flavours that could not be built, which is not tried at every turn.
    var failed: [Flavour: Backoff] = [:]
    /// The flavour being built right now.
    var building: Flavour?
    var isStopped = false

    var usedMiB: Int { shelves.reduce(0) { $0 + $1.value.ready.count * $1.key.memoryMiB } }
  }

  private let builder: ShellBuilder
  private let environment: Environment
  private let state: Mutex<State>
  private let wake = DispatchSemaphore(value: 0)
  private let createsUnderWay = Atomic<Int>(0)
  /// Serialises refilling and draining, so that a drain sees every shell.
  private let work = Mutex(())

  /// - Parameter budgetMiB: the most memory all shells together may hold.
  public init(builder: ShellBuilder, environment: Environment, budgetMiB: Int) {
    self.builder = builder
    self.environment = environment
    state = Mutex(State(budgetMiB: budgetMiB))
  }

  // MARK: Creates

  /// Marks a create as under way until ``endCreate()``; refilling gives way meanwhile.
  public func beginCreate() { createsUnderWay.wrappingAdd(1, ordering: .relaxed) }

  public func endCreate() { createsUnderWay.wrappingSubtract(1, ordering: .relaxed) }

  /// A ready shell of exactly this flavour; nil when there is none. It is the caller's from then on.
  public func take(_ flavour: Flavour) -> DomainShell? {
    let (shell, isLow) = state.withLock { state -> (DomainShell?, Bool) in
      guard var shelf = state.shelves[flavour], let shell = shelf.ready.popLast() else { return (nil, false) }
      shelf.hits += 1
      if shelf.ready.count < shelf.watermarks.low { shelf.isFilling = true }
      let isFilling = shelf.isFilling
      state.shelves[flavour] = shelf
      return (shell, isFilling)
    }
    if isLow { wake.signal() }
    return shell
  }

  /// Whether a shell of exactly this flavour is ready now.
  public func hasReady(_ flavour: Flavour) -> Bool {
    state.withLock { !($0.shelves[flavour]?.ready.isEmpty ?? true) }
  }

  /// Gives shells back until the host has room for `pages` more, least needed flavours first. Returns whether
  /// it now has.
  ///
  /// - Parameter spared: shells of this flavour, hot or blank, are not given back: creates of the same burst are about
  ///   to take them.
  public func makeRoom(pages: Int, sparing spared: Flavour?) -> Bool {
    while !environment.hasRoom(pages) {
      let victim = state.withLock { state -> DomainShell? in
        for flavour in state.order.reversed() where flavour != spared && flavour != spared?.blank {
          if let shell = state.shelves[flavour]?.ready.popLast() {
            // Not refilled at once: the memory is wanted elsewhere.
            state.shelves[flavour]?.isFilling = false
            return shell
          }
        }
        return nil
      }
      guard let victim else { return false }
      tearDown([victim])
    }
    return true
  }

  // MARK: Settings

  public var budgetMiB: Int { state.withLock { $0.budgetMiB } }

  public var usedMiB: Int { state.withLock { $0.usedMiB } }

  public var isDraining: Bool { state.withLock { $0.isDraining } }

  public var status: [Status] {
    state.withLock { state in
      state.order.compactMap { flavour in
        state.shelves[flavour].map {
          Status(flavour: flavour, watermarks: $0.watermarks, ready: $0.ready.count, hits: $0.hits)
        }
      }
    }
  }

  public func setBudget(_ mebibytes: Int) {
    state.withLock { $0.budgetMiB = mebibytes }
    wake.signal()
  }

  /// Sets how many shells of a flavour to keep; a high mark of 0 forgets the flavour. Shells above the high
  /// mark are given back.
  public func set(_ flavour: Flavour, _ watermarks: Watermarks) {
    let surplus = state.withLock { state -> [DomainShell] in
      var shelf = state.shelves[flavour] ?? Shelf(watermarks: watermarks)
      shelf.watermarks = watermarks
      shelf.isFilling = true
      let extra = max(0, shelf.ready.count - watermarks.high)
      let surplus = Array(shelf.ready.suffix(extra))
      shelf.ready.removeLast(extra)
      state.order.removeAll { $0 == flavour }
      if watermarks.high > 0 {
        state.order.append(flavour)
        state.shelves[flavour] = shelf
      } else {
        state.shelves[flavour] = nil
      }
      state.failed[flavour] = nil
      return surplus
    }
    tearDown(surplus)
    wake.signal()
  }

  /// Takes a shell found after a restart onto its shelf; false when no flavour of that kind is kept.
  public func adopt(_ shell: DomainShell) -> Bool {
    state.withLock { state in
      guard let shelf = state.shelves[shell.flavour], shelf.ready.count < shelf.watermarks.high else {
        return false
      }
      state.shelves[shell.flavour]?.ready.append(shell)
      return true
    }
  }

  /// Takes exactly this shell off its shelf, for whoever has to mend it; nil when it is there no more. It is the
  /// caller's from then on.
  public func withdraw(_ identity: DomainIdentity) -> DomainShell? {
    state.withLock { state in
      for flavour in state.order {
        guard let index = state.shelves[flavour]?.ready.firstIndex(where: { $0.identity == identity }) else {
          continue
        }
        return state.shelves[flavour]?.ready.remove(at: index)
      }
      return nil
    }
  }

  // MARK: Filling and draining

  /// Starts refilling again after ``drain()``.
  public func fill() {
    state.withLock { state in
      state.isDraining = false
      for flavour in state.order { state.shelves[flavour]?.isFilling = true }
      state.failed = [:]
    }
    wake.signal()
  }

  /// Whether every flavour is at its high mark, as far as memory allows and prepares succeed.
  public var isFull: Bool {
    state.withLock { state in
      state.building == nil && nextToBuild(&state) == nil
    }
  }

  /// Gives every shell back and keeps the pool empty until ``fill()``. Returns how many were given back.
  public func drain(_ blocking: borrowing Blocking) -> Int {
    state.withLock { $0.isDraining = true }
    // Waits for a shell being built, so that none appears after the drain.
    return work.withLock { _ in
      let shells = state.withLock { state in
        state.order.flatMap { flavour in
          let ready = state.shelves[flavour]?.ready ?? []
          state.shelves[flavour]?.ready = []
          return ready
        }
      }
      tearDown(shells)
      return shells.count
    }
  }

  /// The shells ready now, for adoption checks and for handing them to a new back-end.
  public var shells: [DomainShell] {
    state.withLock { state in state.order.flatMap { state.shelves[$0]?.ready ?? [] } }
  }

  /// Starts the refilling thread.
  public func start() throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-pool", niceness: 10) { [self] in
      while !state.withLock({ $0.isStopped }) {
        if !refillOne() { _ = wake.wait(timeout: .now() + .seconds(1)) }
      }
    }
  }

  /// Ends the refilling thread; the shells stay for the next daemon.
  public func stop() {
    state.withLock { $0.isStopped = true }
    wake.signal()
  }

  /// Builds one shell if one is wanted.
  private func refillOne() -> Bool {
    work.withLock { _ in
      let next = state.withLock { state -> Flavour? in
        state.building = state.isStopped ? nil : nextToBuild(&state)
        return state.building
      }
      guard let flavour = next else { return false }
      defer { state.withLock { $0.building = nil } }
      guard environment.hasRoom(flavour.hostPages) else {
        _ = postpone(flavour)
        return true
      }
      do {
        let shell = try build(flavour)
        let isWanted = state.withLock { state in
          guard !state.isDraining, state.shelves[flavour] != nil else { return false }
          state.shelves[flavour]?.ready.append(shell)
          state.failed[flavour] = nil
          return true
        }
        if !isWanted { tearDown([shell]) }
      } catch {
        // Said once: a flavour that cannot be built is tried again, later and later.
        if postpone(flavour) == 1 {
          environment.report(
            "pool: cannot prepare a shell of \(flavour.memoryMiB) MiB: \(error); it is tried again")
        }
      }
      return true
    }
  }

  /// Leaves a flavour alone for a while; returns how often in a row that was necessary.
  private func postpone(_ flavour: Flavour) -> Int {
    state.withLock { state in
      state.failed[flavour, default: Backoff()].fail()
      return state.failed[flavour]?.failures ?? 1
    }
  }

  private func build(_ flavour: Flavour) throws -> DomainShell {
    var images: BootImages?
    if let hot = flavour.image {
      guard let found = environment.images(hot) else {
        throw XenError(call: "find the flavour's image", domain: nil, errno: ENOENT)
      }
      images = found
    }
    return try builder.build(flavour, images: images) { [self] step in
      giveWay()
      environment.observe?(step)
    }
  }

  /// Waits while creates keep every processor busy: refilling then makes each of them wait and brings nothing, since a
  /// create that finds no shell makes its own at the same cost. A create ends within its deadlines, and between the
  /// creates of one client there is room.
  private func giveWay() {
    while createsUnderWay.load(ordering: .relaxed) >= Self.processors && !state.withLock({ $0.isStopped }) {
      usleep(500)
    }
  }

  /// Processors that this process may run on.
  private static let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  /// The first flavour that wants a shell and may have one.
  private func nextToBuild(_ state: inout State) -> Flavour? {
    if state.isDraining { return nil }
    for flavour in state.order {
      guard var shelf = state.shelves[flavour] else { continue }
      if shelf.ready.count >= shelf.watermarks.high { shelf.isFilling = false }
      if shelf.ready.count < shelf.watermarks.low { shelf.isFilling = true }
      state.shelves[flavour] = shelf
      guard shelf.isFilling, state.usedMiB + flavour.memoryMiB <= state.budgetMiB else { continue }
      guard state.failed[flavour]?.isDue ?? true else { continue }
      return flavour
    }
    return nil
  }

  private func tearDown(_ shells: [DomainShell]) {
    let failed = builder.abandon(shells, observe: environment.observe)
    if let error = failed.first {
      environment.report("pool: \(failed.count) of \(shells.count) shells are given back later: \(error)")
    }
  }
}
