import ChaosAPI
import Glibc
import Testing

@testable import chaos

@Suite("The command line of the life cycle")
struct LifeCycleCommandLineTests {
  @Test("options lay a guest's life cycle over its config")
  func create() throws {
    let line =
      "create --image k --on-poweroff restart --on-crash destroy --autostart --after a --after=b --cpus 0-3,^2 "
      + "--weight 512 --cap 50"
    let request = try createRequest(try invocation(line))
    #expect(request.policies == GuestPolicies(onPoweroff: .restart, onReboot: .restart, onCrash: .destroy))
    #expect(request.autostart && request.after == ["a", "b"])
    #expect(request.scheduling == Scheduling(cpus: "0-3,^2", weight: 512, cap: 50))
    #expect(try createRequest(try invocation("create --image k")) == CreateRequest(image: "k"))
    #expect(
      commandError { _ = try invocation("create --on-crash explode") }
        == "option '--on-crash': expected destroy or restart or preserve, got 'explode'")
  }

  @Test("what is wrong is said without asking anybody")
  func refused() {
    func run(_ line: String) -> String? {
      commandError {
        let invocation = try invocation(line + " --socket /nonexistent/s")
        _ = try invocation.command.run(invocation)
      }
    }
    #expect(run("set web") == "nothing to change")
    #expect(run("set web --weight 0") == "weight: must be 1 to 65535: '0'")
    #expect(run("set web --cpus 3-1") == "cpus: expected processors, as 0-3,^2, or all: '3-1'")
    #expect(run("rename web 12") == "name: digits only, which is a domain ID: '12'")
    #expect(run("autostart on web --after 12") == "after[0]: digits only, which is a domain ID: '12'")
    #expect(run("vif reset web 15") == "INDEX: expected 0 to 14, got '15'")
    #expect(run("top --interval 0") == "option '--interval': expected 1 to 3600 seconds, got '0'")
    #expect(
      run("events --since yesterday")
        == "since: expected an event's number or a time, as 2026-03-01T12:00:00Z: 'yesterday'")
    #expect(run("wait web --for lunch") == "option '--for': expected ready or stopped or gone, got 'lunch'")
  }

  @Test("an event is a line, with nothing in it that a terminal would act on")
  func event() {
    var event = Event(number: 17, time: "t", kind: .created, guest: "web", uuid: "u")
    #expect(eventLine(event) == "17  t  web  created\n")
    event.kind = .ended
    event.reason = .crash
    event.message = "triple\u{1b}fault\n"
    #expect(eventLine(event) == "17  t  web  ended (crash): triple?fault?\n")
  }

  @Test("a guest shows what becomes of it")
  func guest() {
    let guest = GuestInfo(
      name: "web", uuid: "u", domid: 7, state: .running, memoryMiB: 8, vcpus: 1, image: ImageReference(digest: "d"),
      cmdline: "", created: "t", cpuSeconds: 0, ready: false, tampered: false, restarts: 3,
      policies: GuestPolicies(onCrash: .restart), autostart: true, after: ["dns", "router"],
      scheduling: Scheduling(cpus: "0-3,^2", weight: 512, cap: 50),
      vifs: [VifInfo(index: 0, mac: "m", bridge: "b", tap: "t", mtu: 1500, broken: "a loop of descriptors")])
    let lines = factSheet(guest, now: 0).split(separator: "\n").dropFirst(9)
    #expect(
      Array(lines) == [
        "Restarts:   3", "On its end: poweroff destroy, reboot restart, crash restart",
        "Autostart:  yes, after dns, router", "Processors: 0-3,^2", "Weight:     512", "Cap:        50 %",
        "Vif 0:      m on b, tap t, MTU 1500; broken: a loop of descriptors",
      ])
  }

  @Test("those that have ended are listed after those that run")
  func ended() {
    let ended = [EndedGuest(name: "web", uuid: "u", reason: .watchdog, ended: "t")]
    #expect(
      guestTable([], ended: ended, now: 0) == """
        NAME  DOMID  STATE             MEMORY  VCPUS  ADDRESS  UPTIME
        web       -  ended (watchdog)       -      -  -             -

        """)
  }

  @Test("what guests use is what they used in between, the busiest first")
  func top() {
    func guest(_ name: String, domid: Int = 7, _ nanoseconds: Int, _ count: Int) -> GuestStatistics {
      GuestStatistics(
        name: name, uuid: name, domid: domid, cpuNanoseconds: nanoseconds, memoryMiB: 8,
        vifs: [
          VifStatistics(
            index: 0, rxPackets: count, rxBytes: 100 * count, rxDropped: 1, txPackets: 2 * count,
            txBytes: 3 * count,
            txDropped: count),
          VifStatistics(index: 1, rxPackets: count),
        ])
    }
    let before = Statistics(
      nanoseconds: 1_000, guests: [guest("idle", 5, 0), guest("again", domid: 3, 900, 9), guest("busy", 0, 10)])
    let now = Statistics(
      nanoseconds: 2_000_001_000,
      guests: [guest("idle", 5, 0), guest("again", domid: 8, 5, 1), guest("busy", 2_469_000_000, 30)])
    #expect(
      topTable(now, since: before) == """
        NAME   DOMID    CPU  MEMORY  OUT-PPS  OUT-BPS  IN-PPS  IN-BPS  DROPS
        busy       7  123.4   8 MiB       20     1000      20      30     20
        idle       7    0.0   8 MiB        0        0       0       0      0
        again      8      -   8 MiB        -        -       -       -      -

        """)
    // A clock that stands still, and counters that begin anew.
    #expect(topTable(now, since: now).contains("busy       7    -"))
    let back = Statistics(nanoseconds: 3_000_000_000, guests: [guest("busy", 0, 0)])
    #expect(topTable(back, since: now).contains("0.0"))
  }

  @Test("health names what is not as it should be")
  func health() {
    let health = Health(checks: [
      HealthCheck(name: "xen", status: .ok),
      HealthCheck(name: "backend", status: .degraded, message: "is not there"),
    ])
    #expect(
      healthText(health) == """
        degraded

        CHECK    STATUS    MESSAGE
        xen      ok        -
        backend  degraded  is not there

        """)
  }
}

/// The program as it is built, against a scripted daemon.
@Suite("The program's life cycle")
struct LifeCycleProgramTests {
  private static let event = #"{"number":3,"time":"t","kind":"created","guest":"web","uuid":"u","new":1}"#

  @Test("events are printed for people, or as they are")
  func events() throws {
    let lines = answer("200 OK", Self.event + "\n\n" + Self.event + "\n")
    let text = "3  t  web  created\n"
    #expect(try run(["history", "web"], [lines]).outcome == Outcome(status: 0, output: text + text))
    let (json, requests) = try run(["events", "--since", "2", "-f", "--format", "json"], [lines])
    #expect(json == Outcome(status: 0, output: "\(Self.event)\n\(Self.event)\n"))
    #expect(requests[0].hasPrefix("GET /v1/events?since=2&follow=true HTTP/1.1"))
  }

  @Test("guests are waited for one after another, and how they ended is printed")
  func wait() throws {
    let notFound = answer("404 Not Found", #"{"error":{"code":"not_found","message":"no guest 'b'"}}"#)
    let ended = answer("200 OK", #"{"ended":"watchdog"}"#)
    #expect(
      try run(["wait", "a", "b", "--for", "gone"], [ended, notFound]).outcome
        == Outcome(status: 0, output: "watchdog\n"))
    #expect(
      try run(["wait", "b", "a", "--for", "stopped"], [notFound, ended]).outcome
        == Outcome(status: 3, output: "watchdog\n", errors: "chaos: no guest 'b'\n"))
    let timeout = answer("504 Gateway Timeout", #"{"error":{"code":"timeout","message":"not ready"}}"#)
    let (late, requests) = try run(["wait", "a", "--timeout", "1"], [timeout])
    #expect(late == Outcome(status: 6, errors: "chaos: a: not ready\n"))
    #expect(requests[0].hasPrefix("GET /v1/guests/a/wait?for=ready&timeout=1 HTTP/1.1"))
  }

  @Test("a host that is not well has a status of its own")
  func health() throws {
    let degraded = #"{"status":"degraded","checks":[]}"#
    #expect(
      try run(["health", "--format", "json"], [answer("200 OK", degraded)]).outcome
        == Outcome(status: 1, output: degraded + "\n"))
    #expect(
      try run(["health"], [answer("200 OK", #"{"status":"ok","checks":[]}"#)]).outcome
        == Outcome(status: 0, output: "ok\n"))
  }

  @Test("top shows one interval and ends where that is asked for")
  func top() throws {
    let statistics = #"{"nanoseconds":1,"guests":[]}"#
    #expect(
      try run(["top", "--once", "--format", "json"], [answer("200 OK", statistics)]).outcome
        == Outcome(status: 0, output: statistics + "\n"))
    let both = [answer("200 OK", statistics), answer("200 OK", statistics)]
    let outcome = try run(["top", "--once", "--interval", "1"], both).outcome
    #expect(outcome.status == 0 && outcome.output.hasPrefix("NAME  DOMID"))
  }

  @Test("guests are each restarted, rebooted and set to start with the host")
  func changes() throws {
    let guest = answer(
      "200 OK",
      #"{"name":"web","uuid":"u","domid":7,"state":"running","memoryMiB":8,"vcpus":1,"image":{"digest":"d"},"#
        + #""cmdline":"","created":"t","cpuSeconds":0.25,"ready":true,"tampered":false,"vifs":[]}"#)
    let accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    #expect(try run(["reboot", "a", "b"], [accepted, accepted]).outcome == Outcome(status: 0))
    #expect(try run(["restart", "a", "b"], [guest, guest]).outcome == Outcome(status: 0))
    #expect(try run(["rename", "a", "b"], [guest]).outcome == Outcome(status: 0))
    #expect(try run(["set", "a", "--cap", "0"], [guest]).outcome == Outcome(status: 0))
    let (outcome, requests) = try run(["autostart", "on", "a", "b", "--after", "dns"], [guest, guest])
    #expect(outcome == Outcome(status: 0))
    #expect(requests.allSatisfy { $0.hasSuffix(#"{"autostart":true,"after":["dns"]}"#) })
    #expect(try run(["autostart", "off", "a"], [guest]).requests[0].hasSuffix(#"{"autostart":false}"#))
    let vif = answer("200 OK", #"{"index":1,"mac":"m","bridge":"b","tap":"t","mtu":1500}"#)
    #expect(try run(["vif", "reset", "a", "1"], [vif]).outcome == Outcome(status: 0))
  }

  private func run(_ arguments: [String], _ answers: [String]) throws -> (outcome: Outcome, requests: [String]) {
    let server = ScriptedServer(answers: answers)
    let outcome = try Program(arguments + ["--socket", server.path]).finish()
    return (outcome, server.requests())
  }
}
