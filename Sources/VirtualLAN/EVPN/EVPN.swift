import Glibc
import NetworkAddresses
import Synchronization

/// BGP EVPN on this host, by way of FRR's zebra and bgpd: chaos writes its block into FRR's configuration and has the
/// daemons take it over; they do the rest, whether or not chaosd runs.
///
/// FRR 8.4 knows VTEPs of IPv4 only (`netlink_macfdb_change` in zebra/rt_netlink.c); sessions may be over IPv6.
public final class EVPN: Sendable {
  public let installation: FRRInstallation
  /// One change at a time.
  private let changing = Mutex<Void>(())

  public init(_ installation: FRRInstallation = .standard) {
    self.installation = installation
  }

  /// What FRR's configuration asks of this host; nil when EVPN was not enabled, or FRR is not there.
  ///
  /// - Throws: `EVPNError` when the file cannot be read or the block is damaged.
  public func settings() throws(EVPNError) -> EVPNSettings? { try configuration().settings }

  /// What a LAN is when nobody said: one that spans hosts by BGP where this host speaks it.
  ///
  /// - Throws: `EVPNError` when FRR's configuration does not let that be known: a LAN that became static then would
  ///   reach nobody, and nobody would see why.
  public func defaultMode() throws(EVPNError) -> LANDefinition.Mode { try settings() == nil ? .static : .evpn }

  /// Whether EVPN was switched off, as far as can be known: a damaged or unreadable configuration is no answer, and
  /// the daemons go on by what they have.
  var isOff: Bool {
    do throws(EVPNError) { return try settings() == nil } catch { return false }
  }

  private func configuration() throws(EVPNError) -> FRRConfiguration {
    try FRRConfiguration(try installation.read("frr.conf") ?? [])
  }

  /// Enables EVPN or gives it other settings. Sessions that both the old and the new want stay up, and so does
  /// everything FRR's user configured.
  ///
  /// - Parameter routerID: this host's number among BGP's speakers, which no other may have: its VTEP's address.
  ///   The user's own `bgp router-id` goes first.
  /// - Throws: `EVPNError`; the configuration is as before then.
  public func enable(_ settings: EVPNSettings, routerID: IPv4Address) throws(EVPNError) {
    try changing.withLock { _ throws(EVPNError) in
      try installation.check()
      let old = try configuration()
      let new = try old.replacingBlock(with: settings, routerID: routerID)
      try enableDaemon()
      if new != old { try installation.replace("frr.conf", with: new.bytes) }
      do throws(EVPNError) {
        if !installation.missingDaemons.isEmpty { try installation.start() }
        try take(over: new, from: old, wanted: settings)
      } catch {
        if new != old { try? installation.replace("frr.conf", with: old.bytes) }
        try? take(over: old, from: new, wanted: old.settings)
        throw error
      }
    }
  }

  /// Takes back what `enable` did, in the configuration and in the daemons, which go on running.
  ///
  /// - Throws: `EVPNError`; the configuration is without the block then, unless that is what failed.
  public func disable() throws(EVPNError) {
    try changing.withLock { _ throws(EVPNError) in
      let old = try configuration()
      let new = try old.removingBlock()
      // The file first: whoever sees routes vanish looks there whether that is a fault.
      if new != old { try installation.replace("frr.conf", with: new.bytes) }
      if installation.missingDaemons.contains("bgpd") { return }
      if !old.farewell.isEmpty {
        try carryOut(in: "bgpd") { _ in old.farewell }
        sleep(Self.farewellSeconds)
      }
      try take(over: new, from: old, wanted: nil)
    }
  }

  /// Gives bgpd its settings again where it runs without them: one that was killed and started again comes up with
  /// nothing when nobody has FRR's scripts read frr.conf to it, or when those are too late.
  ///
  /// - Returns: whether there was something to mend.
  /// - Throws: `EVPNError`, also when bgpd was given its settings and has others still.
  public func mend() throws(EVPNError) -> Bool {
    try changing.withLock { _ throws(EVPNError) in
      let wanted = try configuration()
      guard let settings = wanted.settings, installation.missingDaemons.isEmpty else { return false }
      guard let running = try? runningConfiguration(of: "bgpd"), let zebra = try? runningConfiguration(of: "zebra"),
        running.settings != settings || !wanted.missingZebraCommands(running: zebra).isEmpty
      else { return false }
      try take(over: wanted, from: wanted, wanted: settings)
      if let running = try? runningConfiguration(of: "bgpd"), running.settings != settings {
        throw EVPNError(.system, "bgpd was given its settings and does not have them")
      }
      return true
    }
  }

  private func runningConfiguration(of daemon: String) throws -> FRRConfiguration {
    var console = try installation.console(daemon)
    _ = try console.run("enable")
    return try FRRConfiguration(try console.run("show running-config").text)
  }

  /// Long enough for the others to hear that this host's routes are withdrawn, and to see that bgpd is there still
  /// (`HeldRoutes.confirmation`): otherwise they would take it for dead.
  private static let farewellSeconds: UInt32 = 2

  private func enableDaemon() throws(EVPNError) {
    let old = try installation.read("daemons") ?? []
    let new = FRRDaemons.enablingBGP(old)
    if new != old { try installation.replace("daemons", with: new) }
  }

  /// Brings the daemons, which run, from one configuration to the other.
  private func take(
    over new: FRRConfiguration, from old: FRRConfiguration, wanted: EVPNSettings?
  ) throws(EVPNError) {
    if !installation.missingDaemons.contains("zebra") {
      try carryOut(in: "zebra") { running in
        old.zebraWithdrawal(running: running, wanted: new) + new.missingZebraCommands(running: running)
      }
    }
    try carryOut(in: "bgpd") { running in
      old.withdrawal(running: running, wanted: wanted) + new.blockCommands
    }
  }

  /// Has a daemon carry out commands of its configuration, which depend on what it has.
  private func carryOut(
    in daemon: String, _ commands: (FRRConfiguration) -> [String]
  ) throws(EVPNError) {
    var refused: EVPNError?
    do throws(FRRConsole.Failure) {
      var console = try installation.console(daemon)
      _ = try console.run("enable")
      let running = try? FRRConfiguration(try console.run("show running-config").text)
      refused = try console.configure(running.map(commands) ?? [], of: daemon)
    } catch {
      throw EVPNError(.system, error.description)
    }
    if let refused { throw refused }
  }
}

extension FRRConsole {
  /// Carries out commands of a configuration up to the first that is refused, which is what it returns.
  fileprivate mutating func configure(
    _ commands: [String], of daemon: String
  ) throws(Failure) -> EVPNError? {
    if commands.isEmpty { return nil }
    for command in ["configure terminal"] + commands + ["end"] {
      let answer = try run(command)
      if !answer.isSuccess { return EVPNError(.system, "\(daemon) refused '\(command)': \(answer.line)") }
    }
    return nil
  }
}

// MARK: - Status

extension EVPN {
  /// What EVPN is set to and what it is doing.
  public struct Status: Sendable {
    /// Nil when it is not enabled.
    public var settings: EVPNSettings?
    public var peerings: [EVPNPeering] = []
    public var routes: [EVPNAnnouncement] = []
    /// What is not as it should be, in one line each.
    public var problems: [String] = []
  }

  /// Never fails: what cannot be found out is a problem among the others.
  public func status() -> Status {
    var status = Status()
    do throws(EVPNError) {
      status.settings = try settings()
    } catch {
      status.problems.append(error.description)
    }
    guard let settings = status.settings else { return status }
    guard installation.isInstalled else {
      status.problems.append("FRR is not installed: apt-get install frr")
      return status
    }
    for daemon in installation.missingDaemons {
      status.problems.append("\(daemon) is not running")
    }
    do throws(FRRConsole.Failure) {
      try askBGP(settings, &status)
    } catch {
      if case .notRunning = error { return status }
      status.problems.append(error.description)
    }
    return status
  }

  private func askBGP(_ settings: EVPNSettings, _ status: inout Status) throws(FRRConsole.Failure) {
    var console = try installation.console("bgpd")
    _ = try console.run("enable")
    let running = try? FRRConfiguration(try console.run("show running-config").text)
    if running?.settings != settings {
      status.problems.append("bgpd runs with other settings than frr.conf has: enable EVPN again")
    }
    status.peerings = EVPNReport.peerings(try console.run(Self.summaryCommand).text)
    status.problems += status.peerings.filter { !$0.isEstablished }.map { peering in
      "no session with \(peering.neighbor): \(peering.state)"
    }
    status.routes = EVPNReport.routes(try console.run("show bgp l2vpn evpn route json").text)
  }

  private static let summaryCommand = "show bgp l2vpn evpn summary json"
}

// MARK: - The daemons' state

extension EVPN {
  /// Whether this host's own routing can be believed when it says that a route is gone.
  enum Routing: Equatable, Sendable {
    /// A daemon is not running, or no session is up: it forgot everything, whatever may be true.
    case lost
    /// There are sessions, with these neighbours.
    case working(neighbors: Set<IPAddress>)
  }

  /// Asks the daemons, which takes a few milliseconds. One that is too busy to answer is one that works.
  func routing() -> Routing {
    let limit = Duration.seconds(1)
    do throws(FRRConsole.Failure) {
      _ = try installation.console("zebra", limit: limit)
      var console = try installation.console("bgpd", limit: limit)
      let peerings = EVPNReport.peerings(try console.run(Self.summaryCommand).text)
      let established = peerings.filter(\.isEstablished)
      return established.isEmpty ? .lost : .working(neighbors: Set(established.map(\.neighbor)))
    } catch {
      switch error {
      case .notRunning, .ended: return .lost
      case .silent, .tooLong, .system: return .working(neighbors: [])
      }
    }
  }
}
