import Glibc
import Testing

@testable import ChaosAPI

private let guestInfo = GuestInfo(
  name: "web", uuid: "01234567-89ab-cdef-0123-456789abcdef", domid: 7, state: .running,
  memoryMiB: 8, vcpus: 1, image: ImageReference(name: "daytime", digest: "sha256:00"),
  cmdline: "a=b", created: "2026-03-01T12:00:00Z", cpuSeconds: 0.25, ready: true, tampered: false,
  vifs: [
    VifInfo(index: 0, mac: "52:54:00:00:00:01", bridge: "br0", tap: "vif7.0", mtu: 1500),
    VifInfo(
      index: 1, mac: "52:54:00:00:00:02", bridge: "lan100", lan: "red", tap: "vif7.1", ip: "10.1.0.2/24",
      gateway: "10.1.0.1", ip6: "fd00::2/64", gateway6: "fe80::1", mtu: 1450),
  ])
private let created = CreateResult(guest: guestInfo, shell: .hot, microseconds: 812)

/// An open file with that content, its name gone, at its start.
private func temporaryFile(_ content: String) -> Int32 {
  var template = Array("/tmp/chaos-api-test-XXXXXX".utf8CString)
  let file = mkstemp(&template)
  unlink(template)
  precondition(write(file, content, content.utf8.count) == content.utf8.count)
  lseek(file, 0, SEEK_SET)
  return file
}

@Suite("The client")
struct ChaosClientTests {
  @Test("a create is one request, and its answer is read", arguments: [false, true])
  func create(bytewise: Bool) throws {
    let server = ScriptedServer(
      answers: [answer("201 Created", created.json.description)], bytewise: bytewise)
    var client = ChaosClient(socketPath: server.path)
    #expect(try client.create(CreateRequest(name: "web", image: "daytime")) == created)
    let body = #"{"name":"web","kernel":"daytime","memory":8,"vcpus":1}"#
    #expect(
      server.requests() == [
        "POST /v1/guests HTTP/1.1\r\nHost: chaos\r\nContent-Type: application/json\r\n"
          + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
      ])
  }

  @Test("requests share a connection, and a closed one is made anew")
  func connections() throws {
    let version = VersionInfo(
      version: "1.0", abiVersion: 1, xen: "4.17.7", xenInterface: "domctl 0x15, sysctl 0x15")
    let closing =
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: \(version.json.compact.count)\r\n\r\n\(version.json)"
    let server = ScriptedServer(answers: [
      answer("200 OK", version.json.description), closing,
      answer("200 OK", version.json.description),
    ])
    var client = ChaosClient(socketPath: server.path)
    for _ in 0..<3 { #expect(try client.version() == version) }
    #expect(server.requests().count == 3)
  }

  @Test("guests of a count come one by one, however the stream is cut", arguments: [false, true])
  func createMany(bytewise: Bool) throws {
    let lines = "\(created.json)\n\(created.json)\n"
    let cut = lines.utf8.count / 3
    let chunks = [lines.prefix(cut), lines.dropFirst(cut)].map { text in
      "\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n"
    }
    let server = ScriptedServer(
      answers: [
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
          + chunks.joined() + "0\r\n\r\n"
      ], bytewise: bytewise)
    var client = ChaosClient(socketPath: server.path)
    var made: [CreateResult] = []
    try client.create(CreateRequest(image: "daytime", count: 2)) { made.append($0) }
    #expect(made == [created, created])
    _ = server.requests()
  }

  @Test("the error that ends a count's stream is thrown")
  func createManyFails() throws {
    let error = APIError(.noCapacity, "no memory for guest 2 of 2: 8 MiB wanted, 3 MiB free")
    let server = ScriptedServer(answers: [answer("200 OK", "\(created.json)\n\(error.body)\n")])
    var client = ChaosClient(socketPath: server.path)
    var count = 0
    #expect(throws: error) {
      try client.create(CreateRequest(image: "daytime", count: 2)) { _ in count += 1 }
    }
    #expect(count == 1)
    _ = server.requests()
  }

  @Test("what the daemon refuses is thrown as it said it")
  func refusal() throws {
    let error = APIError(
      .invalidArgument, "vifs[0].bridge: no such bridge: 'br9'", field: "vifs[0].bridge")
    let server = ScriptedServer(answers: [
      answer("400 Bad Request", error.body.description), answer("502 Bad Gateway", "<html>"),
      answer("404 Not Found", ""), answer("200 OK", #"{"name": 7}"#), answer("200 OK", "{"),
    ])
    var client = ChaosClient(socketPath: server.path)
    #expect(throws: error) { try client.create(CreateRequest(image: "daytime")) }
    #expect(throws: APIError(.internal, "chaosd answered with HTTP status 502")) {
      try client.guests()
    }
    #expect(throws: APIError(.notFound, "chaosd answered with HTTP status 404")) {
      try client.guest("web")
    }
    #expect(
      throws: APIError(
        .unavailable,
        "chaosd gave a malformed answer: name: expected a string, got an integer, 7")
    ) {
      try client.guest("web")
    }
    #expect(
      throws: APIError(
        .unavailable, "chaosd gave a malformed answer: invalid JSON: truncated at byte 1")
    ) {
      try client.guest("web")
    }
    _ = server.requests()
  }

  @Test("every call asks what the API describes")
  func targets() throws {
    let guest = guestInfo.json.description
    let pool = PoolStatus(
      flavours: [], budgetMiB: 64, usedMiB: 0, draining: false,
      hits: ShellHits(hot: 1, blank: 2, none: 3))
    let image = ImageInfo(name: "a", digest: "sha256:00", size: 5, added: "2026-03-01T12:00:00Z")
    let empty = "HTTP/1.1 204 No Content\r\n\r\n"
    let server = ScriptedServer(answers: [
      answer("200 OK", guest), answer("200 OK", guest), answer("202 Accepted", ""), empty, empty,
      answer("200 OK", #"{"destroyed":3}"#), answer("200 OK", guest),
      answer("200 OK", #"{"ended":"crash"}"#), empty, answer("200 OK", pool.json.description),
      answer("200 OK", #"{"destroyed":2}"#), answer("200 OK", pool.json.description),
      answer("201 Created", image.json.description), answer("201 Created", image.json.description),
      empty, answer("200 OK", "log text"),
    ])
    var client = ChaosClient(socketPath: server.path)
    #expect(try client.pause("web") == guestInfo)
    #expect(try client.unpause("a/../b c") == guestInfo)
    try client.shutdown("web")
    try client.shutdown("web", timeoutSeconds: 5)
    try client.destroy("web")
    #expect(try client.destroyAll() == 3)
    #expect(try client.waitUntilReady("web", timeoutSeconds: 30) == guestInfo)
    #expect(try client.waitUntilStopped("web", timeoutSeconds: 30) == .crash)
    try client.sendConsole("web", Array("ls\r".utf8))
    #expect(try client.setPool(PoolSetRequest(image: "a", vifs: 1, low: 2, high: 4)) == pool)
    #expect(try client.drainPool() == 2)
    #expect(try client.fillPool(wait: true) == pool)
    #expect(try client.addImage("a", .bytes([1, 2])) == image)
    #expect(try client.upload(.ramdisk, .bytes([3])) == image)
    try client.removeImage("a")
    try client.openLog("web", follow: true)
    #expect(try client.readStream() == Array("log text".utf8))
    #expect(try client.readStream() == nil)
    #expect(
      server.requests().map { $0.prefix { $0 != "\r\n" } } == [
        "POST /v1/guests/web/pause HTTP/1.1", "POST /v1/guests/a%2f..%2fb%20c/unpause HTTP/1.1",
        "POST /v1/guests/web/shutdown HTTP/1.1",
        "POST /v1/guests/web/shutdown?wait=true&timeout=5 HTTP/1.1",
        "DELETE /v1/guests/web HTTP/1.1", "DELETE /v1/guests HTTP/1.1",
        "GET /v1/guests/web/wait?for=ready&timeout=30 HTTP/1.1",
        "GET /v1/guests/web/wait?for=stopped&timeout=30 HTTP/1.1",
        "POST /v1/guests/web/console HTTP/1.1", "PUT /v1/pool/flavours HTTP/1.1",
        "POST /v1/pool/drain HTTP/1.1", "POST /v1/pool/fill?wait=true HTTP/1.1",
        "PUT /v1/images/a HTTP/1.1", "POST /v1/images?kind=ramdisk HTTP/1.1",
        "DELETE /v1/images/a HTTP/1.1", "GET /v1/guests/web/log?follow=true HTTP/1.1",
      ])
  }

  @Test("every call about the life cycle asks what the API describes")
  func lifeCycleTargets() throws {
    let guest = guestInfo.json.description
    let list = GuestList(guests: [guestInfo], ended: [EndedGuest(name: "a", uuid: "u", reason: .crash, ended: "t")])
    let statistics = Statistics(nanoseconds: 1, guests: [])
    let health = Health(checks: [HealthCheck(name: "xen", status: .ok)])
    let crash = Event(number: 3, time: "t", kind: .ended, guest: "web", uuid: "u", reason: .crash)
    let made = Event(number: 4, time: "t", kind: .restarted, guest: "web", uuid: "u")
    let events = "\(crash.json)\n\n\(made.json)\n"
    let server = ScriptedServer(answers: [
      answer("200 OK", list.json.description), answer("202 Accepted", ""), answer("200 OK", guest),
      answer("200 OK", guest), answer("200 OK", guest), answer("200 OK", guest),
      answer("200 OK", guestInfo.vifs[0].json.description), answer("200 OK", #"{"ended":"destroyed"}"#),
      answer("200 OK", statistics.json.description), answer("200 OK", health.json.description),
      answer("200 OK", events), answer("200 OK", events), answer("200 OK", ""),
    ])
    var client = ChaosClient(socketPath: server.path)
    #expect(try client.allGuests() == list)
    try client.reboot("web")
    try client.reboot("web", force: true)
    #expect(try client.restart("web") == guestInfo)
    #expect(try client.rename("web", to: "b") == guestInfo)
    #expect(try client.change("web", GuestChange(weight: 2)) == guestInfo)
    #expect(try client.resetVif("web", 0) == guestInfo.vifs[0])
    #expect(try client.waitUntilGone("web", timeoutSeconds: 5) == .destroyed)
    #expect(try client.statistics() == statistics)
    #expect(try client.health() == health)
    var lines: [Event] = []
    try client.events(of: "web", since: .at(seconds: 0), follow: true) { line throws(APIError) in
      lines.append(try Event(parsing: line))
    }
    #expect(lines == [crash, made])
    #expect(try client.lastEnd(of: "web") == crash)
    #expect(try client.lastEnd(of: "web") == nil)
    let requests = server.requests()
    #expect(
      requests.map { $0.prefix { $0 != "\r\n" } } == [
        "GET /v1/guests?all=true HTTP/1.1", "POST /v1/guests/web/reboot HTTP/1.1",
        "POST /v1/guests/web/reboot?force=true HTTP/1.1", "POST /v1/guests/web/restart HTTP/1.1",
        "POST /v1/guests/web/rename HTTP/1.1", "PATCH /v1/guests/web HTTP/1.1",
        "POST /v1/guests/web/vifs/0/reset HTTP/1.1", "GET /v1/guests/web/wait?for=gone&timeout=5 HTTP/1.1",
        "GET /v1/stats HTTP/1.1", "GET /v1/health HTTP/1.1",
        "GET /v1/events?ref=web&since=1970-01-01T00%3a00%3a00Z&follow=true HTTP/1.1",
        "GET /v1/events?ref=web HTTP/1.1", "GET /v1/events?ref=web HTTP/1.1",
      ])
    #expect(requests[4].hasSuffix(#"{"name":"b"}"#) && requests[5].hasSuffix(#"{"weight":2}"#))
  }

  @Test("a line without an end is given up")
  func endlessLine() throws {
    let server = ScriptedServer(answers: [answer("200 OK", String(repeating: "x", count: 4 << 20))])
    var client = ChaosClient(socketPath: server.path)
    #expect(throws: APIError(.unavailable, "chaosd gave a malformed answer: a line is too long")) {
      try client.events { _ throws(APIError) in }
    }
    _ = consume client
    _ = server.requests()
  }

  @Test("every call about LANs, EVPN and vifs asks what the API describes")
  func networkTargets() throws {
    let vif = guestInfo.vifs[1]
    let peers = [LANPeer(address: "2001:db8::2", macs: ["52:54:00:00:00:01"])]
    let lan = LANInfo(
      name: "red", vni: 100, mode: .static, bridge: "lan100", isUp: false, state: .ready, peers: peers)
    let evpn = EVPNStatus(enabled: true, asNumber: 65_000, reflector: true)
    let lans = LANList(lans: [
      LANSummary(name: "red", vni: 100, mode: .static, state: .ready, members: 0, bridge: "lan100")
    ])
    let peerList = LANPeerList(peers: peers).json.description
    let empty = "HTTP/1.1 204 No Content\r\n\r\n"
    let server = ScriptedServer(answers: [
      answer("201 Created", vif.json.description), empty, answer("200 OK", lans.json.description),
      answer("201 Created", lan.json.description), answer("200 OK", lan.json.description), empty, empty,
      answer("200 OK", peerList), answer("201 Created", peerList), empty,
      answer("201 Created", lan.json.description), empty, answer("200 OK", evpn.json.description),
      answer("200 OK", evpn.json.description), empty,
    ])
    var client = ChaosClient(socketPath: server.path)
    #expect(try client.addVif("web", VifRequest(lan: "red")) == vif)
    try client.removeVif("web", 1)
    #expect(try client.lans() == lans.lans)
    #expect(try client.createLAN(LANRequest(name: "red", vni: 100)) == lan)
    #expect(try client.lan("red") == lan)
    try client.deleteLAN("red")
    try client.deleteLAN("red", force: true)
    #expect(try client.peers("red") == peers)
    #expect(try client.addPeer("red", peers[0]) == peers)
    try client.removePeer("red", "2001:db8::2")
    #expect(try client.attach("red", "eth0.7") == lan)
    try client.detach("red", "a!b")
    #expect(try client.evpnStatus() == evpn)
    #expect(try client.enableEVPN(EVPNRequest(asNumber: 65_000, reflector: true)) == evpn)
    try client.disableEVPN()
    let requests = server.requests()
    #expect(
      requests.map { $0.prefix { $0 != "\r\n" } } == [
        "POST /v1/guests/web/vifs HTTP/1.1", "DELETE /v1/guests/web/vifs/1 HTTP/1.1", "GET /v1/lans HTTP/1.1",
        "POST /v1/lans HTTP/1.1", "GET /v1/lans/red HTTP/1.1", "DELETE /v1/lans/red HTTP/1.1",
        "DELETE /v1/lans/red?force=true HTTP/1.1", "GET /v1/lans/red/peers HTTP/1.1",
        "POST /v1/lans/red/peers HTTP/1.1", "DELETE /v1/lans/red/peers/2001%3adb8%3a%3a2 HTTP/1.1",
        "POST /v1/lans/red/interfaces HTTP/1.1", "DELETE /v1/lans/red/interfaces/a%21b HTTP/1.1",
        "GET /v1/evpn HTTP/1.1", "PUT /v1/evpn HTTP/1.1", "DELETE /v1/evpn HTTP/1.1",
      ])
    let bodies = [0, 3, 8, 10, 13].map { requests[$0].split(separator: "\r\n").last ?? "" }
    #expect(
      bodies == [
        #"{"lan":"red"}"#, #"{"name":"red","vni":100}"#,
        #"{"address":"2001:db8::2","macs":["52:54:00:00:00:01"]}"#, #"{"interface":"eth0.7"}"#,
        #"{"as":65000,"reflector":true}"#,
      ])
  }

  @Test("an empty name is refused before anything is asked: its path would be that of all")
  func emptyNames() {
    var client = ChaosClient(socketPath: "/nonexistent")
    #expect(throws: APIError(.invalidArgument, "guest: empty", field: "guest")) { try client.destroy("") }
    #expect(throws: APIError(.invalidArgument, "lan: empty", field: "lan")) { try client.deleteLAN("") }
    #expect(throws: APIError(.invalidArgument, "address: empty", field: "address")) {
      try client.removePeer("red", "")
    }
    #expect(throws: APIError(.invalidArgument, "name: empty", field: "name")) { try client.removeImage("") }
  }

  @Test("a file's bytes are sent as they are")
  func sendsFile() throws {
    let image = ImageInfo(digest: "sha256:00", size: 5, added: "2026-03-01T12:00:00Z")
    let server = ScriptedServer(answers: [answer("200 OK", image.json.description)])
    let content = String(repeating: "content ", count: 100_000)
    let file = temporaryFile(content)
    defer { close(file) }
    var client = ChaosClient(socketPath: server.path)
    #expect(
      try client.upload(.kernel, .file(descriptor: file, size: content.utf8.count)) == image)
    #expect(server.requests().first?.hasSuffix("\r\n\r\n" + content) == true)
  }

  @Test("a refusal in the middle of an upload is what is thrown")
  func refusalDuringUpload() throws {
    let error = APIError(.invalidArgument, "image: not an ELF file")
    let server = ScriptedServer(
      answers: [answer("400 Bad Request", error.body.description)], readsBodies: false)
    let content = String(repeating: "content ", count: 1_000_000)
    let file = temporaryFile(content)
    defer { close(file) }
    var client = ChaosClient(socketPath: server.path)
    #expect(throws: error) {
      try client.upload(.kernel, .file(descriptor: file, size: content.utf8.count))
    }
    _ = server.requests()
  }

  @Test("a file that is shorter than it was is said to be")
  func shrunkenFile() {
    let server = ScriptedServer(answers: [""])
    let file = temporaryFile("abc")
    defer { close(file) }
    do {
      var client = ChaosClient(socketPath: server.path)
      #expect(throws: APIError(.invalidArgument, "the file became shorter while it was sent")) {
        try client.upload(.kernel, .file(descriptor: file, size: 4))
      }
    }
    // The server never had a whole request; this one lets it end.
    var another = ChaosClient(socketPath: server.path)
    _ = try? another.version()
    _ = server.requests()
  }

  @Test("no daemon is one clear line")
  func noDaemon() {
    var client = ChaosClient(socketPath: "/nonexistent/chaosd.sock")
    #expect(
      throws: APIError(
        .unavailable, "cannot reach chaosd at /nonexistent/chaosd.sock: is it running?")
    ) {
      try client.version()
    }
    var tooLong = ChaosClient(socketPath: String(repeating: "x", count: 108))
    let error = #expect(throws: APIError.self) { try tooLong.version() }
    #expect(error?.code == .invalidArgument)
  }

  @Test("a daemon that goes away is one clear line")
  func daemonGoesAway() {
    let server = ScriptedServer(answers: [
      "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe",
    ])
    var client = ChaosClient(socketPath: server.path)
    #expect(
      throws: APIError(
        .unavailable, "chaosd at \(server.path): it closed the connection without an answer")
    ) {
      try client.version()
    }
    #expect(
      throws: APIError(
        .unavailable,
        "chaosd at \(server.path): it closed the connection in the middle of an answer")
    ) {
      try client.version()
    }
    _ = server.requests()
  }
}

@Suite("API types")
struct TypesTests {
  @Test("what is written is read back the same")
  func roundTrips() throws {
    func check<Value: JSONConvertible & Equatable>(_ value: Value) throws {
      #expect(try Value(parsing: value.json.compact) == value)
    }
    try check(guestInfo)
    try check(created)
    try check(GuestList(guests: [guestInfo]))
    try check(CreateLine.made(created))
    try check(CreateLine.refused(APIError(.timeout, "too late")))
    try check(EndResult(ended: .poweroff))
    try check(DestroyedCount(destroyed: 3))
    let flavour = FlavourInfo(
      id: "f1", image: ImageReference(digest: "sha256:00"),
      ramdisk: ImageReference(name: "rd", digest: "sha256:11"), memoryMiB: 8, vcpus: 1, vifs: 2,
      windowKiB: 256, low: 2, high: 8, ready: 5, hits: 100)
    try check(flavour)
    try check(
      PoolStatus(
        flavours: [flavour], budgetMiB: 256, usedMiB: 40, draining: true,
        hits: ShellHits(hot: 1, blank: 2, none: 3)))
    try check(
      PoolSetRequest(image: "a", ramdisk: "b", windowKiB: 512, low: 1, high: 2, budgetMiB: 9))
    try check(PoolSetRequest(low: 0, high: 0))
    let image = ImageInfo(
      name: "daytime", digest: "sha256:00", size: 17_408, entry: 0x10_0000, runtimeABI: 1,
      added: "2026-03-01T12:00:00Z")
    try check(ImageList(images: [image]))
    try check(
      HostInfo(
        hostname: "h", xenVersion: "4.17.7", xenInterface: "domctl 0x15, sysctl 0x15",
        capabilities: "hvm-3.0-x86_64", totalMiB: 4096,
        freeMiB: 2000, reservedMiB: 8, dom0MemoryMiB: 1024, dom0MemoryFixed: true, cpus: 2,
        guests: 1, shells: 4, limits: [HostLimit(name: "bridge ports", used: 3, max: 1023)],
        warnings: ["w"]))
    try check(VersionInfo(version: "1", abiVersion: 1, xen: "4.17", xenInterface: "domctl 0x15, sysctl 0x15"))
    for code in APIError.Code.allCases {
      try check(APIError(code, "m", field: "f"))
      #expect(APIError.Code(httpStatus: code.httpStatus).exitStatus == code.exitStatus)
    }
  }

  @Test(
    "an answer of a newer daemon is read: unknown keys are skipped, an unknown code is internal")
  func newerDaemon() throws {
    var json = guestInfo.json
    if case .object(var object) = json {
      object["new"] = 1
      json = .object(object)
    }
    #expect(try GuestInfo(json: json) == guestInfo)
    let error = try APIError(json: ["error": ["code": "novel", "message": "m", "hint": 1]])
    #expect(error == APIError(.internal, "m"))
  }

  @Test("a wrong answer names the place")
  func wrongAnswer() {
    let json: JSON = ["guests": [["name": "a", "uuid": "b", "domid": 1, "state": "asleep"]]]
    #expect(
      throws: APIError(
        .invalidArgument,
        "guests[0].state: expected one of starting, running, paused, shutdown, crashed, dying, ended: 'asleep'",
        field: "guests[0].state")
    ) {
      try GuestList(json: json)
    }
  }

  @Test(
    "a flavour's values are checked",
    arguments: [
      (PoolSetRequest(low: 1, high: 2), nil),
      (PoolSetRequest(low: 3, high: 2), "low: above 'high', which is 2: '3'"),
      (PoolSetRequest(low: -1, high: 2), "low: must be 0 to 10000: '-1'"),
      (PoolSetRequest(memoryMiB: 0, low: 0, high: 0), "memoryMiB: must be 1 to 16777216 MiB: '0'"),
      (PoolSetRequest(vifs: 16, low: 0, high: 0), "vifs: must be 0 to 15: '16'"),
      (
        PoolSetRequest(image: "a/b", low: 0, high: 0),
        "image: only letters, digits and ._- are allowed: 'a/b'"
      ),
      (PoolSetRequest(ramdisk: "a", low: 0, high: 0), "ramdisk: given without 'image': 'a'"),
      (
        PoolSetRequest(windowKiB: 100, low: 0, high: 0),
        "windowKiB: must be a power of two, 64 to 16384 KiB: '100'"
      ),
    ] as [(PoolSetRequest, String?)])
  func poolSet(request: PoolSetRequest, expected: String?) {
    var message: String?
    do { try request.validate() } catch { message = error.message }
    #expect(message == expected)
  }
}

@Suite("Timestamps")
struct TimestampTests {
  @Test(
    arguments: [
      (0, 0, "1970-01-01T00:00:00Z"), (1_772_366_400, 0, "2026-03-01T12:00:00Z"),
      (951_782_399, 5, "2000-02-28T23:59:59.005Z"), (951_782_400, 0, "2000-02-29T00:00:00Z"),
      (4_107_542_399, 0, "2100-02-28T23:59:59Z"), (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
      (-1, 0, "1969-12-31T23:59:59Z"), (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
    ])
  func goBothWays(seconds: Int, milliseconds: Int, text: String) {
    #expect(Timestamp.format(seconds: seconds, milliseconds: milliseconds) == text)
    #expect(Timestamp.seconds(text) == seconds)
  }

  @Test("every day of 800 years goes both ways")
  func days() {
    for day in stride(from: -146_097, through: 146_097, by: 1) {
      let seconds = day * 86_400 + 12_345
      #expect(Timestamp.seconds(Timestamp.format(seconds: seconds)) == seconds)
    }
  }

  @Test(
    "other text is none",
    arguments: [
      "", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00:00+00:00", "2026-02-29T12:00:00Z",
      "2026-13-01T12:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T12:00:00.Z",
      "2026-03-01T12:00:00.xZ", "2026/03/01T12:00:00Z", "+026-03-01T12:00:00Z",
    ])
  func refused(text: String) {
    #expect(Timestamp.seconds(text) == nil)
  }

  @Test func extremesAreClamped() {
    #expect(Timestamp.format(seconds: .max) == "9999-12-31T23:59:59Z")
    #expect(Timestamp.format(seconds: .min) == "0000-01-01T00:00:00Z")
  }
}
