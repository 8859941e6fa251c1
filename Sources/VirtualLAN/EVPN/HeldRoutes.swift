import NetworkAddresses

/// A way to a station, or to all of a host's, that EVPN announced once and that is kept: an entry of a VXLAN
/// device's table.
public struct HeldRoute: Hashable, Sendable {
  public let vni: VNI
  /// Nil for what is for everybody on the LAN.
  public let mac: MACAddress?
  public let vtep: IPAddress
  /// The LAN's VXLAN device here.
  let device: InterfaceIndex
  /// Its bridge.
  let bridge: InterfaceIndex
}

/// Decides which routes are kept although the routing daemon took them back.
///
/// FRR 8.4 has no graceful restart for EVPN: a bgpd that dies takes all that this host knows with it, and a
/// neighbour's takes all that is behind it, though nothing changed there. A route is held when this host's own
/// routing is lost, or when nobody listens any more at the BGP port of the route's VTEP while its host answers. "Any
/// more": at a VTEP that never accepted a connection from here, it is a firewall that refuses. A route is held until
/// routing announces it again, until it did not for a while after the cause ended, until the VTEP's host answers no
/// longer, and when it is the VTEP that refuses, for some minutes at most.
struct HeldRoutes {
  /// What a VTEP's host answers at BGP's port (179).
  enum Answer: Hashable, Sendable {
    case accepts
    case refuses
    case nothing
  }

  /// What to do now.
  struct Decision: Equatable {
    /// To be put back.
    var hold: [HeldRoute] = []
    /// To be removed.
    var release: [HeldRoute] = []
  }

  typealias Instant = ContinuousClock.Instant

  /// The daemon of a VTEP may still accept while it ends: a route counts as withdrawn on purpose when this much
  /// later it accepts again.
  static let confirmation = Duration.milliseconds(250)
  /// How long routing has to announce a route again: sessions come up one host after the other.
  static let patience = Duration.seconds(15)
  /// A daemon that was not started again for so long, or a firewall that came since, is not waited for.
  static let longestRefusal = Duration.seconds(600)
  /// A host that answers nothing for so long is gone.
  static let silence = Duration.seconds(30)

  /// Routes that vanished, and when their VTEP was first seen to accept since.
  private var vanished: [HeldRoute: Instant?] = [:]
  /// Routes that are held.
  private var held: [HeldRoute: Cause] = [:]
  /// VTEPs where somebody was seen to listen.
  private var accepting: Set<IPAddress> = []
  /// VTEPs of held routes that answer nothing, and since when.
  private var silent: [IPAddress: Instant] = [:]

  /// Why a route is held.
  private struct Cause {
    /// When it was last seen.
    var lastSeen: Instant
    /// Since when the VTEP refuses; nil while it is this host's own routing that is lost.
    var refusedSince: Instant?
  }

  var isEmpty: Bool { vanished.isEmpty && held.isEmpty }
  var hasUndecided: Bool { !vanished.isEmpty }
  var routes: Set<HeldRoute> { Set(held.keys) }
  var undecidedPeers: Set<IPAddress> { Set(vanished.keys.map(\.vtep)) }
  var heldPeers: Set<IPAddress> { Set(held.keys.map(\.vtep)) }
}

// MARK: - What happens

extension HeldRoutes {
  /// The routing daemon removed a route.
  mutating func vanish(_ route: HeldRoute) {
    if held[route] == nil, vanished[route] == nil { vanished[route] = .some(nil) }
  }

  /// The routing daemon announced a way to an address, whichever. Returns the routes held for it, which are of no
  /// more use.
  mutating func appear(_ mac: MACAddress?, at vtep: IPAddress, device: InterfaceIndex) -> [HeldRoute] {
    forget { $0.device == device && $0.mac == mac && (mac != nil || $0.vtep == vtep) }
  }

  /// A station is behind a port of a bridge. If that is not the LAN's VXLAN device, the routes held for it are
  /// returned.
  mutating func becomeLocal(_ mac: MACAddress, port: InterfaceIndex, bridge: InterfaceIndex) -> [HeldRoute] {
    forget { $0.bridge == bridge && $0.device != port && $0.mac == mac }
  }

  /// Entries of an earlier life of this process are taken over as held, and so is its judgement of their VTEPs.
  mutating func adopt(_ routes: [HeldRoute], at now: Instant) {
    for route in routes {
      held[route] = Cause(lastSeen: now)
      accepting.insert(route.vtep)
    }
  }

  /// Whether it is known that somebody listened at a VTEP.
  func hasAccepted(_ vtep: IPAddress) -> Bool { accepting.contains(vtep) }

  /// Notes what VTEPs answered that were asked without need.
  mutating func learn(_ answers: [IPAddress: Answer], at now: Instant) { note(answers, at: now) }

  /// Forgets everything. Returns what was held.
  mutating func releaseAll() -> [HeldRoute] {
    vanished = [:]
    return forget { _ in true }
  }

  /// A route's device is gone or down: it needs nothing any more.
  mutating func forget(device: InterfaceIndex) -> [HeldRoute] { forget { $0.device == device } }

  private mutating func forget(_ isMeant: (HeldRoute) -> Bool) -> [HeldRoute] {
    for route in vanished.keys where isMeant(route) { vanished[route] = nil }
    let gone = held.keys.filter(isMeant)
    for route in gone { held[route] = nil }
    return gone
  }
}

// MARK: - Deciding

extension HeldRoutes {
  /// Decides by what is known now.
  ///
  /// - Parameters:
  ///   - answers: of VTEPs that were asked since the last decision; the others' answers are not known yet.
  mutating func decide(
    _ routing: EVPN.Routing, answers: [IPAddress: Answer], at now: Instant
  ) -> Decision {
    note(answers, at: now)
    var decision = Decision()
    for (route, accepted) in vanished {
      switch fate(of: route, accepted: accepted, routing, answers[route.vtep], at: now) {
      case .lost:
        vanished[route] = nil
        held[route] = Cause(lastSeen: now)
        decision.hold.append(route)
      case .withdrawn: vanished[route] = nil
      case .accepted: vanished[route] = .some(now)
      case .unknown: break
      }
    }
    for (route, cause) in held {
      let cause = self.cause(of: route, after: cause, routing, answers[route.vtep], at: now)
      held[route] = cause
      let isStale = now - cause.lastSeen > Self.patience
      let isGone = silent[route.vtep].map { now - $0 > Self.silence } ?? false
      if isStale || isGone {
        held[route] = nil
        decision.release.append(route)
      }
    }
    return decision
  }

  private mutating func cause(
    of route: HeldRoute, after cause: Cause, _ routing: EVPN.Routing, _ answer: Answer?, at now: Instant
  ) -> Cause {
    if routing == .lost { return Cause(lastSeen: now) }
    guard answer == .refuses else { return cause }
    let since = cause.refusedSince ?? now
    let isOver = now - since > Self.longestRefusal
    if isOver { accepting.remove(route.vtep) }
    return Cause(lastSeen: isOver ? cause.lastSeen : now, refusedSince: since)
  }

  private enum Fate {
    case lost
    case withdrawn
    /// The VTEP accepts, for the first time.
    case accepted
    case unknown
  }

  private func fate(
    of route: HeldRoute, accepted: Instant?, _ routing: EVPN.Routing, _ answer: Answer?, at now: Instant
  ) -> Fate {
    guard case .working(let neighbors) = routing else { return .lost }
    // There is a session with the VTEP itself: nothing but a withdrawal takes its routes away.
    if neighbors.contains(route.vtep) { return .withdrawn }
    switch answer {
    case .refuses: return accepting.contains(route.vtep) ? .lost : .withdrawn
    case .nothing: return .withdrawn
    case .accepts:
      guard let accepted else { return .accepted }
      return now - accepted >= Self.confirmation ? .withdrawn : .unknown
    case nil: return .unknown
    }
  }

  private mutating func note(_ answers: [IPAddress: Answer], at now: Instant) {
    for (vtep, answer) in answers {
      if answer == .accepts { accepting.insert(vtep) }
      if answer == .nothing {
        silent[vtep] = silent[vtep] ?? now
      } else {
        silent[vtep] = nil
      }
    }
    let peers = heldPeers.union(undecidedPeers)
    silent = silent.filter { peers.contains($0.key) }
  }
}
