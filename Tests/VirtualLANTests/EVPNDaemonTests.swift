import Foundation
import Glibc
import NetworkAddresses
import Testing

@testable import VirtualLAN

private let client = try! EVPNSettings(asNumber: 65000, role: .client(neighbors: [IPAddress("10.0.0.1")!]))
private let routerID = IPv4Address("10.0.0.7")!

private let summary = """
  {"routerId":"10.9.0.1","as":65000,"vrfId":0,"peers":{
  "10.9.0.3":{"dynamicPeer":true,"remoteAs":65000,"peerUptime":"00:12:28","peerUptimeMsec":748500,"pfxRcd":2,
  "state":"Established","idType":"ipv4"},
  "10.9.0.2":{"remoteAs":65000,"peerUptime":"never","peerUptimeMsec":0,"pfxRcd":0,"state":"Active","idType":"ipv4"},
  "fd99::2":{"state":"OpenSent"}, "r3":{"state":"Idle"}, "10.9.0.4":{}, "10.9.0.5":7
  },"totalPeers":2}
  """

private let routes = """
  {"10.9.0.1:2":{"rd":"10.9.0.1:2",
  "[2]:[0]:[48]:[02:00:00:00:01:01]":{"prefixLen":352,"paths":[[{"valid":true,"bestpath":true,"routeType":2,
  "mac":"02:00:00:00:01:01","peerId":"10.9.0.1","extendedCommunity":{"string":"RT:65000:100 ET:8"},
  "nexthops":[{"ip":"10.9.0.1","afi":"ipv4","used":true}]},{"valid":true,"routeType":2,
  "mac":"02:00:00:00:01:01","peerId":"10.9.0.3","extendedCommunity":{"string":"RT:65000:100 ET:8"},
  "nexthops":[{"ip":"10.9.0.3"}]}]]},
  "[3]:[0]:[32]:[10.9.0.1]":{"paths":[[{"bestpath":true,"routeType":3,"peerId":"10.9.0.1",
  "extendedCommunity":{"string":"ET:8 RT:65000:100"},"nexthops":[{"ip":"10.9.0.1"}]}]]}},
  "10.9.0.2:3":{"rd":"10.9.0.2:3","[3]:[0]:[32]:[10.9.0.2]":{"paths":[[{"bestpath":true,"routeType":3,
  "peerId":"(unspec)","extendedCommunity":{"string":"ET:8 RT:464:16777215"},"nexthops":[{"ip":"10.9.0.2"}]}]]},
  "[5]:[0]:[32]":{"paths":[[{"bestpath":true,"routeType":5}]]},"x":{"paths":[7,[null]]},"y":3},
  "numPrefix":4,"numPaths":4}
  """

@Suite struct EVPNReportTests {
  @Test func sessionsAreReadFromTheSummary() {
    let peerings = EVPNReport.peerings(summary)
    #expect(
      peerings == [
        EVPNPeering(neighbor: IPAddress("10.9.0.2")!, state: "Active", uptimeSeconds: nil, routesReceived: nil),
        EVPNPeering(neighbor: IPAddress("10.9.0.3")!, state: "Established", uptimeSeconds: 748, routesReceived: 2),
        EVPNPeering(neighbor: IPAddress("fd99::2")!, state: "OpenSent", uptimeSeconds: nil, routesReceived: nil),
      ])
    #expect(peerings.filter(\.isEstablished).map(\.neighbor) == [IPAddress("10.9.0.3")!])
  }

  @Test func theBestPathsAreTheRoutes() {
    let vtep = IPAddress("10.9.0.1")!
    #expect(
      EVPNReport.routes(routes) == [
        EVPNAnnouncement(vni: VNI(rawValue: 100)!, mac: nil, vtep: vtep, isLocal: false),
        EVPNAnnouncement(
          vni: VNI(rawValue: 100)!, mac: MACAddress("02:00:00:00:01:01")!, vtep: vtep, isLocal: false),
        EVPNAnnouncement(
          vni: VNI(rawValue: 16_777_215)!, mac: nil, vtep: IPAddress("10.9.0.2")!, isLocal: true),
      ])
  }

  @Test func whatIsCutOffOrSomethingElseGivesNothingAndNoTrap() {
    for text in ["", "{}", "[]", "% Unknown command", "null", "{\"peers\":[]}", "{\"peers\":{\"10.0.0.1\":null}}"] {
      #expect(EVPNReport.peerings(text).isEmpty && EVPNReport.routes(text).isEmpty)
    }
    for report in [summary, routes] {
      for length in 0..<report.count {
        let part = String(report.prefix(length))
        #expect(EVPNReport.peerings(part).isEmpty && EVPNReport.routes(part).isEmpty)
      }
    }
  }
}

@Suite struct FRRConsoleTests {
  private func console(_ frr: FRRDouble, limit: Duration = .seconds(10)) throws -> FRRConsole {
    try FRRConsole("bgpd", folder: frr.folder, limit: limit)
  }

  @Test func anAnswerHasATextAndAStatus() throws {
    let frr = try FRRDouble()
    let long = String(repeating: "route\n", count: 50_000)
    let daemon = try DaemonDouble("\(frr.folder)/bgpd.vty") { command in
      switch command {
      case "long": DaemonDouble.answer(long)
      case "router bgp 65001":
        DaemonDouble.answer("\nBGP is already running; AS is 65000\n\n", status: 13)
      default: DaemonDouble.answer("")
      }
    }
    defer { daemon.stop() }
    var console = try console(frr)
    #expect(try console.run("enable").isSuccess)
    let answer = try console.run("long")
    #expect(answer.text == long && answer.status == 0)
    let refusal = try console.run("router bgp 65001")
    #expect(refusal.status == 13 && !refusal.isSuccess && refusal.line == "BGP is already running; AS is 65000")
    // One command stays one.
    _ = try console.run("a\nb\0c")
    #expect(daemon.commands == ["enable", "long", "router bgp 65001", "abc"])
  }

  @Test func aDaemonThatIsNotThereIsTold() throws {
    let frr = try FRRDouble()
    func failure() throws -> FRRConsole.Failure? {
      do throws(FRRConsole.Failure) {
        _ = try FRRConsole("bgpd", folder: frr.folder, limit: .seconds(1))
        return nil
      } catch { return error }
    }
    #expect(try failure() == .notRunning(daemon: "bgpd"))
    // Killed: the socket's file stays.
    let daemon = try DaemonDouble("\(frr.folder)/bgpd.vty")
    #expect(try failure() == nil)
    daemon.stop()
    while try failure() == nil { usleep(1000) }
    #expect(try failure() == .notRunning(daemon: "bgpd"))
    #expect(EVPN(frr.installation).routing() == .lost)
  }

  @Test func aDaemonThatFallsSilentOrEndsIsNotWaitedFor() throws {
    for (bytes, expected) in [
      ([] as [UInt8], FRRConsole.Failure.silent(daemon: "bgpd")), ([0x41, 0, 0, 0], .silent(daemon: "bgpd")),
    ] {
      let frr = try FRRDouble()
      let daemon = try DaemonDouble("\(frr.folder)/bgpd.vty") { _ in bytes }
      defer { daemon.stop() }
      var console = try console(frr, limit: .milliseconds(50))
      var failure: FRRConsole.Failure?
      do throws(FRRConsole.Failure) { _ = try console.run("enable") } catch { failure = error }
      #expect(failure == expected)
    }
    // One that reads no more, as a stopped one: what is sent fills its socket.
    let stopped = try FRRDouble()
    let reading = try DaemonDouble("\(stopped.folder)/bgpd.vty") { _ in
      sleep(3600)
      return nil
    }
    defer { reading.stop() }
    var deaf = try FRRConsole("bgpd", folder: stopped.folder, limit: .milliseconds(200))
    for command in ["enable", String(repeating: "x", count: 16 << 20)] {
      var deafness: FRRConsole.Failure?
      do throws(FRRConsole.Failure) { _ = try deaf.run(command) } catch { deafness = error }
      #expect(deafness == .silent(daemon: "bgpd"))
    }

    let frr = try FRRDouble()
    let daemon = try DaemonDouble("\(frr.folder)/bgpd.vty") { _ in nil }
    defer { daemon.stop() }
    var console = try console(frr)
    var failure: FRRConsole.Failure?
    do throws(FRRConsole.Failure) { _ = try console.run("enable") } catch { failure = error }
    #expect(failure == .ended(daemon: "bgpd"))
  }
}

@Suite struct EVPNTests {
  /// zebra and bgpd, of which bgpd has a configuration and may refuse a command.
  private struct Daemons {
    let zebra, bgpd: DaemonDouble

    init(
      _ frr: FRRDouble, suffix: String = ".vty", running: String = "", zebra text: String = "",
      refuses: String? = nil
    ) throws {
      zebra = try DaemonDouble("\(frr.folder)/zebra\(suffix)") { command in
        DaemonDouble.answer(command == "show running-config" ? text : "")
      }
      bgpd = try DaemonDouble("\(frr.folder)/bgpd\(suffix)") { command in
        if command == refuses { return DaemonDouble.answer("% No way\n", status: 13) }
        switch command {
        case "show running-config": return DaemonDouble.answer(running)
        case "show bgp l2vpn evpn summary json": return DaemonDouble.answer(summary)
        case "show bgp l2vpn evpn route json": return DaemonDouble.answer(routes)
        default: return DaemonDouble.answer("")
        }
      }
    }

    func stop() {
      zebra.stop()
      bgpd.stop()
    }
  }

  private static let users = "hostname mine"

  @Test func withoutFRRThatIsSaid() throws {
    let evpn = EVPN(
      FRRInstallation(
        configuration: "/nowhere", sockets: "/nowhere", programs: "/nowhere", systemdMark: "/nowhere",
        systemctl: "/nowhere"))
    #expect(try evpn.settings() == nil)
    let error = #expect(throws: EVPNError.self) { try evpn.enable(client, routerID: routerID) }
    #expect(error?.description == "FRR is not installed: apt-get install frr")
    try evpn.disable()
    let status = evpn.status()
    #expect(status.settings == nil && status.problems.isEmpty)
    #expect(evpn.routing() == .lost)
  }

  @Test func runningDaemonsAreGivenTheBlock() throws {
    let frr = try FRRDouble(configuration: Self.users, daemons: "bgpd=no\n")
    let daemons = try Daemons(frr)
    defer { daemons.stop() }
    let evpn = EVPN(frr.installation)
    try evpn.enable(client, routerID: routerID)
    let expected = try FRRConfiguration(Self.users).replacingBlock(with: client, routerID: routerID)
    #expect(try frr.read("frr.conf") == String(decoding: expected.bytes, as: UTF8.self))
    #expect(try frr.read("daemons") == "bgpd=yes\n")
    #expect(
      daemons.bgpd.commands
        == ["enable", "show running-config", "configure terminal"] + expected.blockCommands + ["end"])
    #expect(try evpn.settings() == client)
    var status = stat()
    stat("\(frr.folder)/frr.conf", &status)
    #expect(status.st_mode & 0o7777 == 0o640)
  }

  @Test func settingsThatRunInAnotherOrderAreNotMended() throws {
    let two = try EVPNSettings(
      asNumber: 65000, role: .client(neighbors: [IPAddress("10.0.0.20")!, IPAddress("10.0.0.3")!]))
    let running = """
      router bgp 65000
       neighbor CHAOS peer-group
       neighbor 10.0.0.3 peer-group CHAOS
       neighbor 10.0.0.20 peer-group CHAOS
      """
    let block = try FRRConfiguration("").replacingBlock(with: two, routerID: routerID)
    let frr = try FRRDouble(configuration: String(decoding: block.bytes, as: UTF8.self))
    let daemons = try Daemons(frr, running: running)
    defer { daemons.stop() }
    #expect(try EVPN(frr.installation).mend() == false)
    #expect(!daemons.bgpd.commands.contains("configure terminal"))
  }

  /// Whatever FRR makes of a block that chaos did not foresee: it is given again, and that this was in vain is said.
  @Test func aDaemonThatDoesNotKeepItsSettingsIsTold() throws {
    let block = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    let frr = try FRRDouble(configuration: String(decoding: block.bytes, as: UTF8.self))
    let daemons = try Daemons(frr)
    defer { daemons.stop() }
    let error = #expect(throws: EVPNError.self) { try EVPN(frr.installation).mend() }
    #expect(error?.description == "bgpd was given its settings and does not have them")
    #expect(daemons.bgpd.commands.contains("router bgp 65000"))
  }

  @Test func zebraIsToldThatTheDefaultRouteCounts() throws {
    let block = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    let text = String(decoding: block.bytes, as: UTF8.self)
    let frr = try FRRDouble(configuration: text)
    let daemons = try Daemons(frr, running: text, zebra: "frr defaults datacenter\n")
    defer { daemons.stop() }
    let evpn = EVPN(frr.installation)
    // As after a start of zebra that read no file.
    #expect(try evpn.mend())
    let told = ["configure terminal"] + FRRConfiguration.nextHopTracking + ["end"]
    #expect(daemons.zebra.commands.suffix(4) == told)
    try evpn.disable()
    let untold = ["configure terminal"] + FRRConfiguration.nextHopTracking.map { "no \($0)" } + ["end"]
    #expect(daemons.zebra.commands.suffix(4) == untold)
  }

  @Test func disablingSaysFarewellAndRestoresTheFile() throws {
    let frr = try FRRDouble(configuration: Self.users)
    let block = try FRRConfiguration(Self.users).replacingBlock(with: client, routerID: routerID)
    let daemons = try Daemons(frr, running: String(decoding: block.bytes, as: UTF8.self))
    defer { daemons.stop() }
    let evpn = EVPN(frr.installation)
    try evpn.enable(client, routerID: routerID)
    let before = daemons.bgpd.commands.count
    try evpn.disable()
    #expect(try frr.read("frr.conf") == Self.users)
    #expect(
      Array(daemons.bgpd.commands.dropFirst(before)) == ["enable", "show running-config", "configure terminal"]
        + block.farewell + [
          "end", "enable", "show running-config", "configure terminal", "no router bgp 65000", "end",
        ])
    #expect(try evpn.settings() == nil)
  }

  @Test func whatTheDaemonRefusesIsUndone() throws {
    let frr = try FRRDouble(configuration: Self.users)
    let daemons = try Daemons(frr, refuses: "neighbor 10.0.0.1 peer-group CHAOS")
    defer { daemons.stop() }
    let evpn = EVPN(frr.installation)
    let error = #expect(throws: EVPNError.self) { try evpn.enable(client, routerID: routerID) }
    #expect(error?.description == "bgpd refused 'neighbor 10.0.0.1 peer-group CHAOS': % No way")
    #expect(try frr.read("frr.conf") == Self.users)
  }

  @Test func aRefusedASLeavesEverythingAlone() throws {
    let frr = try FRRDouble(configuration: "router bgp 65001\n", daemons: "bgpd=no\n")
    let daemons = try Daemons(frr)
    defer { daemons.stop() }
    #expect(throws: EVPNError.self) { try EVPN(frr.installation).enable(client, routerID: routerID) }
    #expect(try frr.read("frr.conf") == "router bgp 65001\n")
    #expect(try frr.read("daemons") == "bgpd=no\n")
    #expect(daemons.bgpd.commands.isEmpty)
  }

  @Test func perDaemonConfigurationIsRefused() throws {
    let frr = try FRRDouble()
    try frr.write("vtysh.conf", "!\nno service integrated-vtysh-config\n", mode: 0o640)
    let error = #expect(throws: EVPNError.self) { try EVPN(frr.installation).enable(client, routerID: routerID) }
    #expect(error?.kind == .conflict && error?.description.contains("line 2") == true)
  }

  @Test func daemonsThatDoNotRunAreStarted() throws {
    let frr = try FRRDouble()
    let daemons = try Daemons(frr, suffix: ".off")
    defer { daemons.stop() }
    try frr.write(
      "frrinit.sh",
      "#!/bin/sh\necho $1 > \(frr.folder)/verb\ncd \(frr.folder)\nmv zebra.off zebra.vty\nmv bgpd.off bgpd.vty\n",
      mode: 0o755)
    try EVPN(frr.installation).enable(client, routerID: routerID)
    #expect(try frr.read("verb") == "start\n")
    #expect(try frr.read("frr.conf").contains("router bgp 65000"))
    #expect(daemons.bgpd.commands.contains("router bgp 65000"))
  }

  @Test func aDamagedBlockIsNoReasonForStaticLANs() throws {
    let frr = try FRRDouble()
    let evpn = EVPN(frr.installation)
    #expect(try evpn.defaultMode() == .static && evpn.isOff)
    let block = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    let text = String(decoding: block.bytes, as: UTF8.self)
    try frr.write("frr.conf", text, mode: 0o640)
    #expect(try evpn.defaultMode() == .evpn && !evpn.isOff)
    try frr.write("frr.conf", text.replacing("! chaos end\n", with: ""), mode: 0o640)
    let error = #expect(throws: EVPNError.self) { try evpn.defaultMode() }
    #expect(error?.description.contains("do not come as one pair (line 1)") == true)
    #expect(!evpn.isOff)
  }

  @Test func theStatusNamesProblems() throws {
    let frr = try FRRDouble()
    let running = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    let daemons = try Daemons(frr, running: String(decoding: running.bytes, as: UTF8.self))
    let evpn = EVPN(frr.installation)
    try evpn.enable(client, routerID: routerID)
    var status = evpn.status()
    #expect(status.settings == client && status.peerings.count == 3 && status.routes.count == 3)
    #expect(status.problems == ["no session with 10.9.0.2: Active", "no session with fd99::2: OpenSent"])
    #expect(evpn.routing() == .working(neighbors: [IPAddress("10.9.0.3")!]))

    daemons.stop()
    while evpn.routing() != .lost { usleep(1000) }
    status = evpn.status()
    #expect(status.problems == ["zebra is not running", "bgpd is not running"])
    try frr.write("frr.conf", "! chaos begin\n", mode: 0o640)
    #expect(evpn.status().problems.count == 1)
  }
}

@Suite struct ChildProcessTests {
  /// A routing daemon that outlives chaosd must not hold its sockets.
  @Test func aProgramHasNoDescriptorsOfOurs() throws {
    let ours = dup(0)
    defer { close(ours) }
    let outcome = try ChildProcess.run("/bin/ls", ["/proc/self/fd"], limit: .seconds(30))
    // The standard ones, and the folder that is being listed.
    #expect(outcome.lastLine == "3")
  }

  @Test func theLastLineIsKept() throws {
    let outcome = try ChildProcess.run("/bin/sh", ["-c", "echo a; echo b >&2; echo; exit 3"], limit: .seconds(30))
    #expect(outcome.isInTime && outcome.lastLine == "b")
    #expect(throws: ChildProcess.Errno.self) { try ChildProcess.run("/nowhere", [], limit: .seconds(1)) }
  }

  @Test func whatTakesTooLongIsKilledWithItsChildren() throws {
    let start = ContinuousClock.now
    let outcome = try ChildProcess.run("/bin/sh", ["-c", "sleep 600; true"], limit: .milliseconds(50))
    #expect(!outcome.isInTime)
    #expect(ContinuousClock.now - start < .seconds(300))
  }

  @Test func whatIsLeftBehindIsNotWaitedFor() throws {
    let start = ContinuousClock.now
    let outcome = try ChildProcess.run("/bin/sh", ["-c", "sleep 30 & echo started"], limit: .seconds(20))
    #expect(outcome.isInTime && outcome.lastLine == "started")
    #expect(ContinuousClock.now - start < .seconds(15))
  }
}
