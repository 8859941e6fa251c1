import ChaosAPI
import ContainerNetwork
import ShellPool
import VirtualLAN

// One place asks whether LANs are what they are meant to be, and mends what is not: at the start, when the kernel tells
// of changes, and from time to time. What is there is compared as values (`HostSnapshot.compare`); each difference has
// one way to be mended, which may be repeated.

extension LANs.LAN {
  /// What the reconciler remembers of a LAN, so that it neither repeats itself nor tries the impossible all the time.
  struct Care: Sendable {
    /// What cannot be mended, since when, and whether it was said.
    fileprivate var problems: [String: (since: ContinuousClock.Instant, isTold: Bool)] = [:]
    /// What was tried to mend last, and has not been seen well since.
    fileprivate var tried: [LANDifference] = []
    /// Why that failed; nil when it did not.
    fileprivate var failure: String?
    fileprivate var nextAttempt = ContinuousClock.now
    fileprivate var delay = Self.shortestDelay

    /// Since when the VTEP that was chosen is not the host's.
    fileprivate var goneSince: ContinuousClock.Instant?

    fileprivate static let shortestDelay = Duration.seconds(1)
    fileprivate static let longestDelay = Duration.seconds(30)
    /// What lasts no longer is the ordinary course of things: a guest's tap goes before the guest is forgotten.
    fileprivate static let patience = Duration.seconds(1)
    /// How long an address may be away before another is chosen, which the other hosts have to be told of.
    fileprivate static let patienceWithAddress = Duration.seconds(10)
  }
}

extension LANs {
  /// How often a LAN that was mended is looked at again at once: laying it out comes before its members.
  private static let mostRounds = 3

  /// Compares every LAN with the kernel, and mends what is not as it should be or says so, once. Never waits for
  /// whoever else changes a LAN: that one is looked at the next time.
  ///
  /// - Parameters:
  ///   - guests: the ports that belong on LANs, by the LAN's name.
  ///   - isThorough: looks at what takes longer, too, and is told of by nobody: filters, and containers' places.
  func reconcile(guests: [String: [LANPort]], isThorough: Bool) {
    var pending = all
    if isThorough { forgetGoneContainers() }
    let containers = isThorough ? AttachmentStore().portsByBridge() : [:]
    for _ in 0..<Self.mostRounds where !pending.isEmpty {
      let definitions = pending.map { lan in lan.state.withLock { $0.definition } }
      let host: HostSnapshot
      do throws(LANError) {
        host = try network.snapshot(for: definitions, isThorough: isThorough)
      } catch {
        report("LANs cannot be looked at: \(error)")
        return
      }
      pending = zip(pending, definitions).filter { lan, definition in
        let ports = (guests[lan.name] ?? []) + host.present(containers[lan.bridge] ?? [])
        return mend(lan, definition, host.compare(definition, with: ports))
      }.map(\.0)
    }
  }

  /// Says once why one cannot be forgotten.
  private func forgetGoneContainers() {
    let failures = Set(AttachmentStore().forgetGone(of: network))
    let news = unforgotten.withLock { told in
      defer { told = failures }
      return failures.subtracting(told)
    }
    for failure in news { report(failure) }
  }

  /// Does something about what was found of a LAN; true when that changed something.
  private func mend(_ lan: LAN, _ definition: LANDefinition, _ finding: LANFinding) -> Bool {
    guard isSettled(lan, definition, finding) else { return false }
    // Without an underlay there is nothing to lay out on.
    let waits = finding.differences.contains { $0.reasonToWait != nil }
    let mendable = waits ? [] : finding.differences.filter(\.isMendable)
    let others = finding.differences.filter { waits ? $0.reasonToWait != nil : !$0.isMendable }
    let attempt = mendable.isEmpty ? note(finding, lan, definition) : tryToMend(mendable, finding, lan, definition)
    let problems = others.map(\.description) + [attempt.problem].compactMap { $0 }
    for problem in lan.care.withLock({ $0.news(problems) }) { report("LAN '\(lan.name)' \(problem)") }
    return attempt.isChange
  }

  private enum Attempt {
    case nothingToDo
    case changed
    /// Why it remains as it is, in one line.
    case stays(String)

    var isChange: Bool { if case .changed = self { true } else { false } }
    var problem: String? { if case .stays(let why) = self { why } else { nil } }
  }

  /// Whether what was found can be acted on: an address that is away may come back, as an IPv6 address does with the
  /// carrier of its interface.
  private func isSettled(_ lan: LAN, _ definition: LANDefinition, _ finding: LANFinding) -> Bool {
    let moves = definition.chosen != nil && finding.differences.contains(where: \.isMove)
    return lan.care.withLock { $0.isSettled(moves: moves) }
  }

  /// Mends what can be, if the LAN is nobody else's now and it was not tried a moment ago.
  private func tryToMend(
    _ mendable: [LANDifference], _ finding: LANFinding, _ lan: LAN, _ definition: LANDefinition
  ) -> Attempt {
    let care = lan.care.withLock { $0 }
    if care.isTooSoon(for: mendable) { return care.failure.map { .stays($0) } ?? .nothingToDo }
    var attempt = Attempt.changed
    do throws(APIError) {
      let isDone = try unlessHeld(lan) { state throws(APIError) in
        // Changed since the look: the next one tells.
        guard state.definition == definition else { return false }
        // Whoever else laid the LAN out made other devices.
        state.laid = finding.laid ?? state.laid
        try mend(mendable, &state)
        return true
      }
      guard let isDone else { return .stays("is being changed by somebody, and waits for that") }
      guard isDone else { return .nothingToDo }
      if let what = mendable.first(where: { !$0.isOrdinary }) { report("LAN '\(lan.name)': \(what): mended") }
    } catch {
      if error.code == .notFound { return .nothingToDo }
      attempt = .stays("cannot be mended: \(error.message)")
    }
    lan.care.withLock { $0.note(mendable, attempt.problem) }
    return attempt
  }

  /// Notes what was found where nothing is to be mended.
  private func note(_ finding: LANFinding, _ lan: LAN, _ definition: LANDefinition) -> Attempt {
    lan.care.withLock { $0.note([], nil) }
    lan.state.withLock { state in
      guard state.definition == definition, !state.isDeleted else { return }
      state.laid = finding.laid
      state.failure = finding.differences.compactMap(\.reasonToWait).first
    }
    return .nothingToDo
  }

  /// Needs the LAN's lock.
  private func mend(_ differences: [LANDifference], _ state: inout LAN.State) throws(APIError) {
    do {
      var definition = state.definition
      for difference in differences { difference.mend(&definition) }
      if definition != state.definition {
        try store.save(definition)
        state.definition = definition
      }
      if differences.contains(where: \.needsLayingOut) {
        layOut(&state)
        if let failure = state.failure { throw failure }
        // Members come next, by another look.
        return
      }
      for difference in differences { try mend(difference, &state) }
    } catch {
      throw APIError(error)
    }
  }

  private func mend(_ difference: LANDifference, _ state: inout LAN.State) throws {
    guard let laid = state.laid else { return layOut(&state) }
    switch difference {
    case .portOutside(let port), .addressForgotten(let port): try wiring.join([port], laid, state.definition)
    case .addressElsewhere(let entry): try wiring.forget(entry)
    case .vxlanUp: try wiring.settle(laid)
    default: break
    }
  }
}

extension LANs.LAN.Care {
  /// Whether the same was tried a moment ago. What fails is not tried all the time, and neither is what another program
  /// undoes at once.
  fileprivate func isTooSoon(for differences: [LANDifference]) -> Bool {
    tried == differences && ContinuousClock.now < nextAttempt
  }

  fileprivate mutating func note(_ differences: [LANDifference], _ failure: String?) {
    delay = tried == differences ? min(delay * 2, Self.longestDelay) : Self.shortestDelay
    tried = differences
    self.failure = failure
    nextAttempt = ContinuousClock.now + delay
  }

  fileprivate mutating func isSettled(moves: Bool) -> Bool {
    goneSince = moves ? goneSince ?? ContinuousClock.now : nil
    return goneSince.map { ContinuousClock.now - $0 >= Self.patienceWithAddress } ?? true
  }

  /// Those of the problems that are to be said now: they last, and were not said before.
  fileprivate mutating func news(_ found: [String]) -> [String] {
    let now = ContinuousClock.now
    problems = problems.filter { found.contains($0.key) }
    var news: [String] = []
    for problem in found {
      let known = problems[problem] ?? (since: now, isTold: false)
      let isNews = !known.isTold && now - known.since >= Self.patience
      if isNews { news.append(problem) }
      problems[problem] = (known.since, known.isTold || isNews)
    }
    return news
  }
}

extension LANDifference {
  fileprivate var isMendable: Bool {
    switch self {
    case .waits, .attachedWaits, .portMissing: false
    default: true
    }
  }

  fileprivate var needsLayingOut: Bool {
    switch self {
    case .device, .peers, .attachedOutside, .vtepChosen: true
    default: false
    }
  }

  fileprivate var isMove: Bool {
    if case .vtepChosen = self { true } else { false }
  }

  fileprivate var reasonToWait: LANError? {
    if case .waits(let error) = self { error } else { nil }
  }

  /// Changes a definition, where that is what mends it.
  fileprivate func mend(_ definition: inout LANDefinition) {
    switch self {
    case .vtepChosen(let address): definition.chosen = address
    case .attachedKnown(let before, let now):
      definition.attached = definition.attached.map { $0 == before ? now : $0 }
    default: break
    }
  }
}

extension Toolstack {
  /// Brings LANs into the state their definitions and members ask for. For the reconciler: on the kernel's word
  /// (``lansConcern(_:)``), from time to time, and at the start.
  func reconcileLANs(isThorough: Bool) {
    var ports: [String: [LANPort]] = [:]
    for guest in registry.guests {
      for vif in guest.record.vifs {
        guard let lan = vif.lan else { continue }
        ports[lan, default: []].append(
          LANPort(interface: guest.tapName(vif.slot), mac: vif.mac, mtu: vif.mtu))
      }
    }
    lans.reconcile(guests: ports, isThorough: isThorough)
  }

  /// Whether what the kernel tells may mean that a LAN is not as it should be. Most of what it tells is chaos's own
  /// doing, and a look at everything takes its time.
  func lansConcern(_ notice: LinkChangeNotice) -> Bool {
    switch notice {
    case .lookAtEverything: true
    case .link(let link):
      registry.owner(ofTap: link.index) != nil ? isLost(link) : lans.isContradicted(by: link)
    case .linkRemoved(let link): lans.find(device: link.name) != nil || lans.isAttached(link)
    case .address: lans.all.contains { lan in lan.state.withLock { $0.laid?.waiting.isEmpty != true } }
    case .addressRemoved(let gone):
      lans.all.contains { lan in lan.state.withLock { $0.laid?.underlay?.address == gone.address.address } }
    case .forwardingRemoved(let entry): isMember(entry)
    case .forwarding: false
    }
  }

  /// Whether a guest's tap is not on the LAN it belongs to.
  private func isLost(_ link: Link) -> Bool {
    guard let lan = lan(ofTap: link.index) else { return false }
    return lan.state.withLock { $0.laid?.bridge != link.master } || !link.isUp
  }

  /// Whether a table lost the address of a member whose tap is there.
  private func isMember(_ entry: ForwardingEntry) -> Bool {
    guard entry.scope == .master, entry.state == .static, !entry.isExternallyLearned else { return false }
    return lan(ofTap: entry.device) != nil
  }

  private func lan(ofTap index: InterfaceIndex) -> LANs.LAN? {
    guard let (guest, slot) = registry.owner(ofTap: index), !guest.isEnding,
      let lan = guest.record.vifs.first(where: { $0.slot == slot })?.lan
    else { return nil }
    return try? lans.find(lan)
  }
}

extension LANs {
  /// Whether a LAN's device is not what was laid out, or is down with members.
  fileprivate func isContradicted(by link: Link) -> Bool {
    guard let lan = find(device: link.name) else { return isAttached(link) && isOutside(link) }
    let state = lan.state.withLock { $0 }
    guard !state.isDeleted, let laid = state.laid else { return !state.isDeleted }
    if link.name == state.definition.bridge {
      return link.index != laid.bridge || !link.isUp || Int(link.mtu) != laid.mtu
    }
    return link.index != laid.vxlan || link.master != laid.bridge || !link.isUp && !isDeserted(state.definition)
  }

  fileprivate func isAttached(_ link: Link) -> Bool {
    all.contains { lan in lan.state.withLock { $0.definition.attached.contains { $0.isCalled(link.name, link) } } }
  }

  private func isOutside(_ link: Link) -> Bool {
    !link.isUp
      || link.master.map { master in !all.contains { lan in lan.state.withLock { $0.laid?.bridge == master } } }
        ?? true
  }
}
