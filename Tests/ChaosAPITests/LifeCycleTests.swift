import Testing

@testable import ChaosAPI

private func message(_ body: () throws -> Void) -> String? {
  do {
    try body()
    return nil
  } catch let error as APIError {
    return error.message
  } catch {
    return "\(error)"
  }
}

private func read<Value: JSONConvertible>(_ text: String) throws -> Value {
  try Value(parsing: Array(text.utf8))
}

@Suite("Policies, autostart and scheduling")
struct LifeCycleTests {
  @Test("a config says what becomes of its guest")
  func config() throws {
    let text = #"""
      {"name": "web", "kernel": "k", "onPoweroff": "restart", "onReboot": "destroy", "onCrash": "restart",
       "autostart": true, "after": ["dns", "router"], "cpus": "0-3,^2", "weight": 512, "cap": 150}
      """#
    let request: CreateRequest = try read(text)
    let expected = CreateRequest(
      name: "web", image: "k",
      policies: GuestPolicies(onPoweroff: .restart, onReboot: .destroy, onCrash: .restart), autostart: true,
      after: ["dns", "router"], scheduling: Scheduling(cpus: "0-3,^2", weight: 512, cap: 150))
    #expect(request == expected)
    try request.validate()
    #expect(try CreateRequest(json: request.json) == request)
  }

  @Test("left out, it is destroyed, restarted or preserved by how it ended")
  func defaults() throws {
    let request: CreateRequest = try read(#"{"kernel": "k"}"#)
    #expect(request.policies == GuestPolicies(onPoweroff: .destroy, onReboot: .restart, onCrash: .preserve))
    #expect(!request.autostart && request.after.isEmpty && request.scheduling == Scheduling())
  }

  @Test(
    "what cannot be is refused by name",
    arguments: [
      (#""onCrash":"explode""#, "onCrash: expected one of destroy, restart, preserve: 'explode'"),
      (#""onReboot":1"#, "onReboot: expected a string, got an integer, 1"),
      (#""on_poweroff":"destroy""#, "unknown key 'on_poweroff'"),
      (#""autostart":"yes""#, "autostart: expected true or false, got the string 'yes'"),
      (#""after":"dns""#, "after: expected an array, got the string 'dns'"),
      (#""after":[1]"#, "after[0]: expected a string, got an integer"),
      (#""after":["a","12"]"#, "after[1]: digits only, which is a domain ID: '12'"),
      (#""after":["a","b","a"]"#, "after[2]: given twice: 'a'"),
      (#""after":["web"]"#, "after[0]: the guest's own name: 'web'"),
      (#""weight":0"#, "weight: must be 1 to 65535: '0'"),
      (#""weight":65536"#, "weight: must be 1 to 65535: '65536'"),
      (#""cap":-1"#, "cap: must be 0 to 12800: '-1'"),
      (#""cap":12801"#, "cap: must be 0 to 12800: '12801'"),
      (#""cpus":"""#, "cpus: expected processors, as 0-3,^2, or all: ''"),
      (#""cpus":"1,^1""#, "cpus: leaves no processor: '1,^1'"),
      (#""weight":65535,"cap":0,"cpus":"all""#, nil),
    ] as [(String, String?)])
  func refused(member: String, problem: String?) {
    #expect(
      message {
        let request: CreateRequest = try read(#"{"kernel":"k","name":"web",\#(member)}"#)
        try request.validate()
      } == problem)
  }

  @Test("no more predecessors than can be named")
  func manyPredecessors() {
    let names = (0...CreateRequest.mostPredecessors).map { "g\($0)" }
    #expect(message { try CreateRequest(image: "k", after: names).validate() } == "after: more than 64: '65'")
    #expect(message { try CreateRequest(image: "k", after: names.dropLast()).validate() } == nil)
  }

  @Test(
    "processors are written as xl's are",
    arguments: [
      ("0", [0]), ("0-3,^2", [0, 1, 3]), ("3,1-2", [1, 2, 3]), ("0-5,^1-3,2", [0, 2, 4, 5]), ("all", nil),
      ("16383", [16_383]),
    ] as [(String, [Int]?)])
  func processors(text: String, numbers: [Int]?) throws {
    #expect(try CPUList(text, field: "cpus").numbers == numbers)
  }

  @Test(
    "what names no processors",
    arguments: [
      "", ",", "0,", "-", "1-", "-1", "3-1", "^", "^1", "^^1", "1-2-3", "a", "ALL", "0x1", " 1", "16384",
      "99999999999",
      "٣", String(repeating: "0,", count: 600) + "0",
    ])
  func noProcessors(text: String) {
    #expect(throws: APIError.self) { try CPUList(text, field: "cpus") }
  }

  @Test("a change has something to change, and only what may be changed")
  func change() throws {
    let all: GuestChange = try read(
      #"{"onPoweroff":"preserve","onReboot":"destroy","onCrash":"restart","autostart":false,"after":[],"#
        + #""cpus":"all","weight":1,"cap":0}"#)
    #expect(
      all
        == GuestChange(
          onPoweroff: .preserve, onReboot: .destroy, onCrash: .restart, autostart: false, after: [], cpus: "all",
          weight: 1, cap: 0))
    try all.validate()
    #expect(try GuestChange(json: all.json) == all)
    #expect(message { let _: GuestChange = try read(#"{"name":"b"}"#) } == "unknown key 'name'")
    #expect(
      message { try GuestChange().validate() }?.hasPrefix("nothing to change: give one of onPoweroff,") == true)
    #expect(message { try GuestChange(weight: 0).validate() } == "weight: must be 1 to 65535: '0'")
    #expect(message { try GuestChange(after: [""]).validate() } == "after[0]: empty")
  }

  @Test("a new name is one that a guest may have")
  func rename() throws {
    let request: RenameRequest = try read(#"{"name":"b"}"#)
    #expect(request == RenameRequest(name: "b"))
    try request.validate()
    #expect(message { try RenameRequest(name: "12").validate() } == "name: digits only, which is a domain ID: '12'")
  }
}

@Suite("Events, ends and goals")
struct EventTests {
  @Test("events are lines that come back as they were")
  func lines() throws {
    let event = Event(
      number: 7, time: "2026-03-01T12:00:00Z", kind: .ended, guest: "web", uuid: "u", reason: .watchdog,
      message: "its watchdog's time ran out")
    #expect(try Event(json: event.json) == event)
    let new: Event = try read(#"{"number":8,"time":"t","kind":"transcended","guest":"w","uuid":"u","more":1}"#)
    #expect(new.kind == Event.Kind(rawValue: "transcended") && new.reason == nil)
    #expect(message { let _: Event = try read(#"{"number":8,"time":"t","kind":"ended","guest":"w"}"#) } != nil)
  }

  @Test("events begin at a number or a time")
  func start() throws {
    #expect(try EventStart("17") == .after(number: 17))
    #expect(try EventStart("1970-01-02T00:00:00Z") == .at(seconds: 86_400))
    for text in ["17", "1970-01-02T00:00:00Z"] { #expect(try EventStart(text).text == text) }
    for text in ["", "-1", "yesterday", "99999999999999999999", "2026-03-01"] {
      #expect(
        message { _ = try EventStart(text) }
          == "since: expected an event's number or a time, as 2026-03-01T12:00:00Z: '\(text)'")
    }
  }

  @Test("what version 1.0 waited for is still known")
  func goals() throws {
    #expect(try WaitGoal("ended") == .stopped)
    #expect(try WaitGoal("gone") == .gone)
    #expect(message { _ = try WaitGoal("lunch") } == "for: expected one of ready, stopped, gone: 'lunch'")
  }

  @Test("a guest of a daemon of version 1.0 has what was the only way then")
  func olderDaemon() throws {
    let guest: GuestInfo = try read(
      #"{"name":"web","uuid":"u","domid":7,"state":"running","memoryMiB":8,"vcpus":1,"image":{"digest":"d"},"#
        + #""cmdline":"","created":"c","cpuSeconds":0.25,"ready":true,"tampered":false,"vifs":[]}"#)
    #expect(guest.restarts == 0 && !guest.autostart && guest.scheduling == Scheduling())
    #expect(try GuestInfo(json: guest.json) == guest)
  }

  @Test("the ended are listed only where they were asked for")
  func ended() throws {
    #expect(GuestList(guests: []).json.description == #"{"guests":[]}"#)
    let list = GuestList(
      guests: [], ended: [EndedGuest(name: "web", uuid: "u", reason: .crash, ended: "t", message: "triple fault")])
    #expect(
      list.json.description
        == #"{"guests":[],"ended":[{"name":"web","uuid":"u","state":"ended","reason":"crash","ended":"t","#
        + #""message":"triple fault"}]}"#)
    #expect(try GuestList(json: list.json) == list)
  }

  @Test("health is that of the worst check")
  func health() throws {
    let good = HealthCheck(name: "xen", status: .ok)
    #expect(Health(checks: [good]).status == .ok)
    let health = Health(checks: [good, HealthCheck(name: "backend", status: .degraded, message: "is not there")])
    #expect(health.status == .degraded)
    #expect(try Health(json: health.json) == health)
  }

  @Test("counters come back as they were")
  func statistics() throws {
    let statistics = Statistics(
      nanoseconds: 5,
      guests: [
        GuestStatistics(
          name: "web", uuid: "u", domid: 7, cpuNanoseconds: 1, memoryMiB: 8,
          vifs: [
            VifStatistics(
              index: 1, rxPackets: 2, rxBytes: 3, rxDropped: 4, txPackets: 5, txBytes: 6, txDropped: 7)
          ])
      ])
    #expect(try Statistics(json: statistics.json) == statistics)
  }
}
