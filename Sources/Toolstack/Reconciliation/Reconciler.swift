import Backends
import ChaosAPI
import Dispatch
import Glibc
import ShellPool
import Synchronization
import Threads
import VirtualLAN
import Xen

/// The one loop that asks "is what should be, there?", and has each difference mended until it is gone.
///
/// It compares at start, when a back-end appears or dies, when the kernel tells of changed interfaces, when a guest
/// says that it will end, and every half second, because nobody tells a toolstack without the XenStore that a domain
/// ended (VIRQ_DOM_EXC belongs to xenstored). What cannot be mended is tried again with back-off and reported once.
final class Reconciler: Sendable {
  /// How much of the world a comparison looks at.
  enum Scope: Int, CaseIterable, Sendable {
    /// The hypervisor's list of domains: a call for 1,024 of them.
    case domains
    /// That, and the host's interfaces.
    case links
    /// All of it.
    case everything
  }

  private struct State {
    /// What somebody asked to be looked at; nil: nobody did since the last round.
    var asked: Scope? = .everything
    var rounds = 0
    var backoffs: [Difference: Backoff] = [:]
    var underWay: Set<Difference> = []
    var unreadable: Set<DomainHandle> = []
  }

  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)
  /// What waits for the kernel, the hypervisor or the back-end; they must not wait for one another too.
  private let workers: BlockingPool

  private static let interval = DispatchTimeInterval.milliseconds(500)
  /// Between two rounds at least, in microseconds: neither a guest nor a busy network keeps the daemon busy.
  private static let pause: UInt32 = 50_000
  /// Rounds between two that look at everything.
  private static let slowRounds = 20
  /// Rounds between two that look at LANs.
  private static let lanRounds = 4
  /// A look takes longer the more guests there are (15 ms of an emulated CPU for 600); creates go before it.
  private static let niceness: Int32 = 5
  /// Mended at a time, and begun or waiting for it. What is more waits for the next round.
  private static let threads = 16
  private static let mostUnderWay = 2048

  init() throws(BackgroundThread.Failure) {
    workers = try BlockingPool(name: "chaos-mend", .init(threads: Self.threads, queued: Self.mostUnderWay))
  }

  func start(_ toolstack: Toolstack) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-watch", niceness: Self.niceness) { [self] in
      while true {
        _ = wake.wait(timeout: .now() + Self.interval)
        round(toolstack)
        usleep(Self.pause)
      }
    }
  }

  /// Notes domains whose records cannot be read: nothing of theirs is touched.
  func leaveAlone(_ handles: [DomainHandle]) { state.withLock { $0.unreadable.formUnion(handles) } }

  /// Has the world looked at now instead of at the next interval. However often that is asked, it costs one round
  /// each ``pause``.
  func lookNow(_ scope: Scope = .domains) {
    let isFirst = state.withLock { state in
      let asked = state.asked
      state.asked = scope.rawValue > (asked?.rawValue ?? -1) ? scope : asked
      return asked == nil
    }
    if isFirst { wake.signal() }
  }

  /// What could not be mended at the last try.
  var unmended: [Difference] { state.withLock { $0.backoffs.filter { $0.value.failures > 0 }.map(\.key) } }

  /// Runs something on each of the threads that mend, and on one at least.
  func onAllWorkers(_ work: @escaping @Sendable () -> Void) {
    for _ in 0..<Self.threads {
      do throws(BlockingPool.Full) { try workers.submit { _ in work() } } catch { return work() }
    }
  }

  /// One comparison, and a try at each difference that is due.
  func round(_ toolstack: Toolstack) {
    let (scope, rounds) = state.withLock { state -> (Scope, Int) in
      state.rounds += 1
      defer { state.asked = nil }
      return (state.rounds % Self.slowRounds == 0 ? .everything : Self.scope(state), state.rounds)
    }
    guard let differences = toolstack.differences(scope, leaving: state.withLock { $0.unreadable }) else { return }
    forget(allBut: differences, scope)
    for difference in differences { attempt(difference, toolstack) }
    if scope != .domains || rounds % Self.lanRounds == 0 {
      toolstack.reconcileLANs(isThorough: scope == .everything)
    }
    if scope == .everything { toolstack.keepHouse() }
  }

  /// How much to look at: what was asked, and what it takes to see again what is due for another try.
  private static func scope(_ state: State) -> Scope {
    let due = state.backoffs.filter { $0.value.isDue && !state.underWay.contains($0.key) }.keys
    let asked = state.asked ?? .domains
    return Scope.allCases.first { scope in
      scope.rawValue >= asked.rawValue && due.allSatisfy { $0.isSeen(by: scope) }
    } ?? .everything
  }

  /// Drops the back-off of what is no difference any more.
  private func forget(allBut differences: [Difference], _ scope: Scope) {
    let present = Set(differences)
    state.withLock { state in
      for difference in state.backoffs.keys
      where !present.contains(difference) && !state.underWay.contains(difference) && difference.isSeen(by: scope) {
        state.backoffs[difference] = nil
      }
    }
  }

  private func attempt(_ difference: Difference, _ toolstack: Toolstack) {
    let mayStart = state.withLock { state in
      guard state.underWay.count < Self.mostUnderWay, !state.underWay.contains(difference),
        state.backoffs[difference]?.isDue ?? true
      else { return false }
      state.underWay.insert(difference)
      return true
    }
    guard mayStart else { return }
    guard difference.takesLong else { return mend(difference, toolstack) }
    do throws(BlockingPool.Full) {
      try workers.submit { [self] _ in mend(difference, toolstack) }
    } catch {
      // The next round asks again.
      state.withLock { _ = $0.underWay.remove(difference) }
    }
  }

  private func mend(_ difference: Difference, _ toolstack: Toolstack) {
    do {
      try toolstack.mend(difference)
      state.withLock { state in
        state.underWay.remove(difference)
        state.backoffs[difference] = nil
      }
    } catch is Guest.Busy {
      state.withLock { state in
        state.underWay.remove(difference)
        state.backoffs[difference, default: Backoff()].postpone()
      }
    } catch {
      let isFirst = state.withLock { state in
        state.underWay.remove(difference)
        var backoff = state.backoffs[difference] ?? Backoff()
        backoff.fail()
        state.backoffs[difference] = backoff
        return backoff.failures == 1
      }
      if isFirst { toolstack.report("\(difference): \(error); it is tried again") }
    }
  }
}

extension Difference: CustomStringConvertible {
  /// Whether mending it waits for the kernel, the hypervisor or the back-end.
  var takesLong: Bool {
    switch self {
    case .stopped, .forgotten, .restartDue, .unstarted, .unfinishedEnd, .lostShell, .abandoned: true
    case .unserved, .unservedVif, .untold: true
    case .strangerServed, .strangerVif, .misplacedTap, .plainPort, .strayTap, .strayLog: false
    }
  }

  /// Whether a comparison of that scope would find it.
  func isSeen(by scope: Reconciler.Scope) -> Bool {
    switch self {
    case .stopped, .forgotten, .restartDue, .unstarted, .unfinishedEnd, .lostShell, .abandoned: true
    case .misplacedTap, .plainPort, .strayTap: scope != .domains
    case .untold, .unserved, .strangerServed, .strangerVif, .unservedVif, .strayLog: scope == .everything
    }
  }

  /// What is done about it, for reports.
  var description: String {
    switch self {
    case .stopped(let identity, let reason): "guest in domain \(identity.domain) ended (\(reason.rawValue))"
    case .forgotten(let identity): "let the guest in domain \(identity.domain) go on"
    case .restartDue(let identity): "make the guest in domain \(identity.domain) again"
    case .unstarted(let handle): "start guest \(handle.uuid)"
    case .unfinishedEnd(let identity): "destroy the guest in domain \(identity.domain)"
    case .lostShell(let identity): "forget the shell in domain \(identity.domain), which is gone"
    case .abandoned(let handle): "unmake domain \(handle.uuid)"
    case .unserved(let identity): "have chaos-backend serve domain \(identity.domain)"
    case .strangerServed(let identity): "have chaos-backend let go of domain \(identity.domain)"
    case .strangerVif(let identity, let slot):
      "have chaos-backend let go of vif \(slot) of domain \(identity.domain)"
    case .unservedVif(let identity, let slot): "have chaos-backend serve vif \(slot) of domain \(identity.domain)"
    case .untold(let identity): "tell the guest in domain \(identity.domain) that its device page changed"
    case .misplacedTap(let identity, let slot): "put vif \(slot) of domain \(identity.domain) back on its bridge"
    case .plainPort(let identity, let slot, _): "set up the port of vif \(slot) of domain \(identity.domain)"
    case .strayTap(_, let name): "delete tap '\(name)', which belongs to no guest"
    case .strayLog(let handle): "delete the console log of \(handle.uuid)"
    }
  }
}
