import ChaosAPI
import ShellPool
import VirtualLAN
import Xen

/// Something that is not as it should be, and that one procedure can mend.
enum Difference: Hashable, Sendable {
  /// A guest runs no more: it stopped by itself, or somebody else destroyed its domain.
  case stopped(DomainIdentity, GuestEnd)
  /// A guest stopped, is to be made again, and its back-off is over.
  case restartDue(DomainIdentity)
  /// A guest stands still for somebody who is gone.
  case forgotten(DomainIdentity)
  /// A guest that is to be started is not there, and what it waits for is.
  case unstarted(DomainHandle)
  /// A guest's destruction was begun and not finished.
  case unfinishedEnd(DomainIdentity)
  /// A shell's domain is gone.
  case lostShell(DomainIdentity)
  /// A record that nobody is answerable for.
  case abandoned(DomainHandle)
  /// The back-end does not serve a domain of ours.
  case unserved(DomainIdentity)
  /// The back-end serves what is none of ours any more; as long as it maps that, it stays a zombie.
  case strangerServed(DomainIdentity)
  /// The back-end has a vif that a guest lacks: what a kill in the middle of adding or removing one left.
  case strangerVif(DomainIdentity, slot: Int)
  /// The back-end lacks a vif that a guest has.
  case unservedVif(DomainIdentity, slot: Int)
  /// A guest's device page was changed, and the guest was not told.
  case untold(DomainIdentity)
  /// A guest's tap is not on its bridge.
  case misplacedTap(DomainIdentity, slot: Int)
  /// A guest's tap is on its bridge without its settings as a port.
  case plainPort(DomainIdentity, slot: Int, InterfaceIndex)
  /// A tap of chaos's that no record speaks of.
  case strayTap(InterfaceIndex, InterfaceName)
  /// A console log of a domain that is no more.
  case strayLog(DomainHandle)
}

/// What should be: what was written down, and who is answerable for it.
///
/// Guests and shells are those of before the world was looked at, so that what is made meanwhile is not missed in it;
/// records and taps those of after, so that it is not taken for somebody else's.
struct WantedState: Sendable {
  struct Domain: Sendable {
    var identity: DomainIdentity
    var taps: [GuestTap] = []
    /// Slots whose tap belongs on a bridge that is not a LAN's. LANs look after their own members.
    var bridges: [Int: InterfaceName] = [:]
    /// Slots of a guest's vifs; nil: not compared.
    var vifs: Set<Int>?
    var isEnding = false
    /// Known to run no more, and kept.
    var isStopped = false
    var isRestartDue = false
    /// Its device page was changed, and nobody rang.
    var isUntold = false
    /// Paused for a while by somebody who does not have it any more.
    var isForgotten = false
  }

  var guests: [Domain] = []
  var shells: [Domain] = []
  /// Guests that are to be started now.
  var starts: [DomainHandle] = []
  /// Records that nobody is answerable for.
  var abandoned: [DomainHandle] = []
  /// Handles of every record there is, operations in flight included.
  var recorded: Set<DomainHandle> = []
  /// Taps that a record speaks of, or that this process is making.
  var taps: Set<InterfaceIndex> = []
  /// Handles of domains whose record cannot be read: they are left alone, whatever belongs to them.
  var unreadable: Set<DomainHandle> = []
}

/// What is. Nil: was not asked this time, or did not answer.
struct ActualState: Sendable {
  var domains: [DomainIdentity: DomainInfo]
  var served: [DomainIdentity: Set<Int>?]?
  var links: [Link]?
  /// Handles that a console log is called by.
  var logs: [DomainHandle]?
}

extension Difference {
  /// Compares; touches nothing.
  static func between(_ wanted: WantedState, _ actual: ActualState) -> [Difference] {
    var found: [Difference] = []
    for guest in wanted.guests { found += Self.differences(of: guest, actual) }
    for shell in wanted.shells {
      if actual.domains[shell.identity]?.isDying != false { found.append(.lostShell(shell.identity)) }
    }
    found += wanted.starts.map { .unstarted($0) }
    found += wanted.abandoned.map { .abandoned($0) }
    found += inBackend(wanted, actual) + amongLinks(wanted, actual)
    for handle in actual.logs ?? [] where !wanted.recorded.contains(handle) && !wanted.unreadable.contains(handle) {
      found.append(.strayLog(handle))
    }
    return found
  }

  private static func differences(of guest: WantedState.Domain, _ actual: ActualState) -> [Difference] {
    if guest.isEnding { return [.unfinishedEnd(guest.identity)] }
    // A domain that another tool destroyed stays in the list, dying, as long as we map its memory.
    guard let info = actual.domains[guest.identity], !info.isDying else {
      return [.stopped(guest.identity, .destroyed)]
    }
    if guest.isForgotten { return [.forgotten(guest.identity)] }
    if guest.isRestartDue { return [.restartDue(guest.identity)] }
    if info.isShutdown { return guest.isStopped ? [] : [.stopped(guest.identity, GuestEnd(info.shutdownReason))] }
    return []
  }

  private static func inBackend(_ wanted: WantedState, _ actual: ActualState) -> [Difference] {
    guard let served = actual.served else { return [] }
    var found: [Difference] = []
    for domain in wanted.guests + wanted.shells where !domain.isEnding && served[domain.identity] == nil {
      if let info = actual.domains[domain.identity], !info.isDying { found.append(.unserved(domain.identity)) }
    }
    for guest in wanted.guests where guest.isUntold && !guest.isEnding && served[guest.identity] != nil {
      found.append(.untold(guest.identity))
    }
    for guest in wanted.guests where !guest.isEnding {
      guard let slots = served[guest.identity] ?? nil, let wanted = guest.vifs else { continue }
      found += slots.subtracting(wanted).sorted().map { .strangerVif(guest.identity, slot: $0) }
      found += wanted.subtracting(slots).sorted().map { .unservedVif(guest.identity, slot: $0) }
    }
    for identity in served.keys where !wanted.unreadable.contains(identity.handle) {
      let isThere = actual.domains[identity].map { !$0.isDying } ?? false
      if !isThere || !wanted.recorded.contains(identity.handle) { found.append(.strangerServed(identity)) }
    }
    return found
  }

  private static func amongLinks(_ wanted: WantedState, _ actual: ActualState) -> [Difference] {
    guard let links = actual.links else { return [] }
    var found: [Difference] = []
    var owners: [InterfaceIndex: (DomainIdentity, slot: Int)] = [:]
    var ports: [(tap: InterfaceName, bridge: InterfaceName)] = []
    for guest in wanted.guests where !guest.isEnding {
      for tap in guest.taps {
        guard let bridge = guest.bridges[tap.slot] else { continue }
        owners[tap.index] = (guest.identity, tap.slot)
        ports.append((tap.name, bridge))
      }
    }
    // Without its bridge a guest waits; without its tap there is nothing to put anywhere.
    for port in MisplacedPort.find(wanted: ports, links: links) {
      guard let (identity, slot) = owners[port.tapIndex] else { continue }
      found.append(
        port.isPlaced ? .plainPort(identity, slot: slot, port.tapIndex) : .misplacedTap(identity, slot: slot))
    }
    for link in links
    where HostNetwork.isTap(link) && !wanted.taps.contains(link.index) {
      found.append(.strayTap(link.index, link.name))
    }
    return found
  }
}

extension GuestEnd {
  /// What a domain's own word for its end (xen/sched.h, guest-controlled) means for a guest.
  init(_ reason: ShutdownReason) {
    switch reason {
    case .poweroff: self = .poweroff
    case .reboot, .softReset: self = .reboot
    case .suspend: self = .suspend
    case .watchdog: self = .watchdog
    default: self = .crash
    }
  }
}
