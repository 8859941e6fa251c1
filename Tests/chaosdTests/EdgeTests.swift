import ChaosAPI
import Glibc
import NIOCore
import Synchronization
import Testing
import Threads

@testable import chaosd

/// What clients may do to each other: nothing.
@Suite struct EdgeTests {
  @Test func requestsAreAnsweredOneAfterAnother() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      for body in ["one", "two"] {
        client.say(request("POST", "/now", body: body))
        #expect(await client.hear(until: body).hasPrefix("HTTP/1.1 200 OK"))
      }
    }
  }

  @Test func listenerOfAServiceManagerIsUsed() async throws {
    let server = try await TestServer { path in
      let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      _ = withAddress(path) { bind(listener, $0, $1) }
      listen(listener, 16)
      return listener
    }
    let client = try TestClient(server.path)
    client.say(request("POST", "/now", body: "one"))
    #expect(await client.hear(until: "one").hasPrefix("HTTP/1.1 200 OK"))
    try await server.stop()
  }

  // MARK: Time-outs

  @Test func silentClientIsLeft() async throws {
    var limits = Limits()
    limits.idle = .milliseconds(100)
    try await TestServer.with(limits) { server in
      let client = try TestClient(server.path)
      #expect(await client.isClosed)
      let slow = try TestClient(server.path)
      slow.say("GET /now HT")
      #expect(await slow.isClosed)
      let served = try TestClient(server.path)
      served.say(request("GET", "/now"))
      #expect(await served.hear().hasPrefix("HTTP/1.1 200 OK"))
      #expect(try await eventually { server.edge.connections.inUse == 0 })
    }
  }

  @Test func halfABodyIsNotWaitedForLong() async throws {
    var limits = Limits()
    limits.body = .milliseconds(100)
    try await TestServer.with(limits) { server in
      let client = try TestClient(server.path)
      client.say("POST /now HTTP/1.1\r\nhost: c\r\ncontent-length: 10\r\n\r\nhalf")
      #expect(await client.isClosed)
    }
  }

  @Test func stalledUploadIsForgotten() async throws {
    var limits = Limits()
    limits.uploadStall = .milliseconds(100)
    try await TestServer.with(limits) { server in
      let client = try TestClient(server.path)
      client.say("PUT /store HTTP/1.1\r\nhost: c\r\ncontent-length: 10\r\n\r\nhalf")
      #expect(await client.isClosed)
      #expect(try await eventually { server.router.sink.state.withLock { $0.isAbandoned } })
      #expect(try await eventually { server.edge.uploads.inUse == 0 })
    }
  }

  @Test func unreadAnswerIsNotKeptForLong() async throws {
    var limits = Limits()
    limits.answer = .milliseconds(200)
    try await TestServer.with(limits) { server in
      let client = try TestClient(server.path)
      client.say(request("POST", "/now", body: String(repeating: "a", count: 1 << 20)))
      #expect(try await eventually { server.edge.connections.inUse == 1 })
      #expect(try await eventually { server.edge.connections.inUse == 0 })
    }
  }

  // MARK: Numbers

  @Test func connectionBeyondTheLimitIsTold() async throws {
    var limits = Limits()
    limits.connections = 2
    limits.connectionsRefused = 1
    try await TestServer.with(limits) { server in
      let first = try TestClient(server.path)
      var second: TestClient? = try TestClient(server.path)
      #expect(try await eventually { server.edge.connections.inUse == 2 })
      #expect(second != nil)
      let third = try TestClient(server.path)
      third.say(request("GET", "/now"))
      let answer = await third.hear(until: "}}")
      #expect(answer.hasPrefix("HTTP/1.1 507"))
      #expect(answer.contains("no_capacity"))
      let fourth = try TestClient(server.path)
      #expect(await fourth.isClosed)
      first.say(request("GET", "/now"))
      #expect(await first.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 OK"))
      second = nil
      #expect(try await eventually { server.edge.connections.inUse == 1 })
      let fifth = try TestClient(server.path)
      fifth.say(request("GET", "/now"))
      #expect(await fifth.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 OK"))
    }
  }

  @Test func largeBodyIsRefusedBeforeItComes() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      client.say("POST /now HTTP/1.1\r\nhost: c\r\ncontent-length: 1048577\r\n\r\n")
      #expect(await client.hear(until: "}}").hasPrefix("HTTP/1.1 400"))
      let chunked = try TestClient(server.path)
      chunked.say("POST /now HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n")
      let chunk = "10000\r\n" + String(repeating: "a", count: 1 << 16) + "\r\n"
      for _ in 0..<17 { chunked.say(chunk) }
      #expect(await chunked.hear(until: "}}").hasPrefix("HTTP/1.1 400"))
    }
  }

  @Test func bodiesTogetherAreBounded() async throws {
    var limits = Limits()
    limits.allBodyBytes = 1000
    try await TestServer.with(limits) { server in
      let first = try TestClient(server.path)
      first.say("POST /now HTTP/1.1\r\nhost: c\r\ncontent-length: 901\r\n\r\n" + String(repeating: "a", count: 900))
      #expect(try await eventually { server.edge.bodies.inUse == 900 })
      let second = try TestClient(server.path)
      second.say(request("POST", "/now", body: String(repeating: "b", count: 200)))
      #expect(await second.hear(until: "}}").hasPrefix("HTTP/1.1 507"))
      first.say("a")
      #expect(await first.hear(until: "aaa").hasPrefix("HTTP/1.1 200 OK"))
      #expect(try await eventually { server.edge.bodies.inUse == 0 })
    }
  }

  @Test func uploadsTogetherAreBounded() async throws {
    var limits = Limits()
    limits.uploads = 1
    try await TestServer.with(limits) { server in
      let first = try TestClient(server.path)
      first.say("PUT /store HTTP/1.1\r\nhost: c\r\ncontent-length: 4\r\n\r\n12")
      #expect(try await eventually { server.edge.uploads.inUse == 1 })
      let second = try TestClient(server.path)
      second.say(request("PUT", "/store", body: "56"))
      #expect(await second.hear(until: "}}").contains("no_capacity"))
      first.say("34")
      #expect(await first.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 201"))
      #expect(server.router.sink.state.withLock { $0.bytes } == Array("1234".utf8))
      #expect(server.edge.uploads.inUse == 0)
    }
  }

  @Test func waitsTogetherAreBounded() async throws {
    var limits = Limits()
    limits.waits = 1
    try await TestServer.with(limits) { server in
      let first = try TestClient(server.path)
      first.say(request("GET", "/wait"))
      #expect(try await eventually { server.edge.waits.inUse == 1 })
      let second = try TestClient(server.path)
      second.say(request("GET", "/wait"))
      #expect(await second.hear(until: "}}").contains("no_capacity"))
    }
  }

  // MARK: Blocking

  @Test func blockedOperationsHoldUpNobodyElse() async throws {
    var limits = Limits()
    limits.blockingThreads = 1
    limits.blockingQueue = 1
    try await TestServer.with(limits) { server in
      let first = try TestClient(server.path)
      let second = try TestClient(server.path)
      first.say(request("POST", "/block"))
      #expect(try await eventually { server.edge.pool.load.busy == 1 && server.edge.pool.load.queued == 0 })
      second.say(request("POST", "/block"))
      #expect(try await eventually { server.edge.pool.load.queued == 1 })
      let refused = try TestClient(server.path)
      refused.say(request("POST", "/block"))
      #expect(await refused.hear(until: "}}").contains("no_capacity"))
      refused.say(request("GET", "/now"))
      #expect(await refused.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 OK"))
      server.router.gate.open()
      #expect(await first.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 204"))
      #expect(await second.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 204"))
    }
  }

  @Test func slowDiskHoldsBackItsUploadOnly() async throws {
    try await TestServer.with { server in
      let gate = Gate()
      server.router.sink.gate.withLock { $0 = gate }
      let size = 8 << 20
      let client = try TestClient(server.path)
      client.say("PUT /store HTTP/1.1\r\nhost: c\r\ncontent-length: \(size)\r\n\r\n")
      let taken = await client.offer(size)
      #expect(taken < 4 << 20)
      let other = try TestClient(server.path)
      other.say(request("GET", "/now"))
      #expect(await other.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 OK"))
      gate.open()
      await client.sayLater([UInt8](repeating: 7, count: size - taken))
      #expect(await client.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 201"))
      #expect(server.router.sink.state.withLock { $0.bytes.count } == size)
    }
  }

  @Test func failureOfTheDiskIsAnswered() async throws {
    try await TestServer.with { server in
      server.router.sink.state.withLock { $0.failure = APIError(.noCapacity, "full") }
      let client = try TestClient(server.path)
      client.say(request("PUT", "/store", body: "1234"))
      #expect(await client.hear(until: "}}").hasPrefix("HTTP/1.1 507"))
      #expect(server.router.sink.state.withLock { $0.isAbandoned })
    }
  }

  // MARK: Leaving

  @Test func waitEndsWithItsClient() async throws {
    try await TestServer.with { server in
      do {
        let client = try TestClient(server.path)
        client.say(request("GET", "/wait"))
        #expect(try await eventually { server.edge.waits.inUse == 1 })
      }
      #expect(try await eventually { server.edge.waits.inUse == 0 })
      #expect(server.router.cancelledWaits.withLock { $0 } == 1)
      #expect(try await eventually { server.edge.connections.inUse == 0 })
    }
  }

  @Test func clientThatOnlyEndsItsInputGetsItsAnswer() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      client.say(request("GET", "/wait?milliseconds=200"))
      client.endInput()
      #expect(await client.hear().hasPrefix("HTTP/1.1 204"))
      #expect(server.router.cancelledWaits.withLock { $0 } == 0)
    }
  }

  @Test func uploadOfAClientThatLeavesIsForgotten() async throws {
    try await TestServer.with { server in
      do {
        let client = try TestClient(server.path)
        client.say("PUT /store HTTP/1.1\r\nhost: c\r\ncontent-length: 4\r\n\r\n12")
        #expect(try await eventually { server.edge.uploads.inUse == 1 })
      }
      #expect(try await eventually { server.router.sink.state.withLock { $0.isAbandoned } })
      #expect(try await eventually { server.edge.uploads.inUse == 0 })
    }
  }

  // MARK: HTTP

  @Test func clientThatAsksBeforeItsBodyIsToldToGoOn() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      client.say("PUT /store HTTP/1.1\r\nhost: c\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
      #expect(await client.hear(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
      client.say("ab")
      #expect(await client.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 201"))
      let refused = try TestClient(server.path)
      refused.say("POST /now HTTP/1.1\r\nhost: c\r\ncontent-length: 9999999\r\nexpect: 100-continue\r\n\r\n")
      #expect(await refused.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 400"))
    }
  }

  @Test func stoppingDaemonRefuses() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      #expect(try await eventually { server.edge.connections.inUse == 1 })
      server.edge.stop()
      client.say(request("GET", "/now"))
      #expect(await client.hear(until: "}}").contains("unavailable"))
    }
  }

  // MARK: Descriptors

  @Test func acceptWithoutDescriptorsWaitsQuietly() async {
    await #expect(processExitsWith: .success) {
      let server = try await TestServer()
      let clients = try [TestClient(server.path), TestClient(server.path)]
      #expect(try await eventually { server.edge.connections.inUse == 2 })
      let waiting = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      var none = rlimit(rlim_cur: 1, rlim_max: limit.rlim_max)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &none)
      let late = try TestClient(server.path, on: waiting)
      let before = clock()
      try await Task.sleep(for: .seconds(1))
      // Microseconds of CPU time in a second.
      let spent = clock() - before
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      late.say(request("GET", "/now"))
      let isServed = await late.hear(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 OK")
      withExtendedLifetime(clients) {}
      exit(spent > 300_000 ? 2 : isServed ? 0 : 3)
    }
  }
}

@Suite struct AllowanceTests {
  @Test func permitsComeBack() throws {
    let allowance = Allowance("things", 2)
    do {
      let one = try allowance.take()
      let two = try allowance.take()
      #expect(allowance.takeIfFree() == nil)
      #expect(throws: APIError(.noCapacity, "too many things: the limit is 2")) { try allowance.take() }
      withExtendedLifetime((one, two)) {}
    }
    #expect(allowance.inUse == 0)
  }

  @Test func reserveIsKept() throws {
    let allowance = Allowance("connections", 3)
    let first = try allowance.take(leaving: 2)
    #expect(allowance.takeIfFree(leaving: 2) == nil)
    let root = [try allowance.take(), try allowance.take()]
    #expect(allowance.inUse == 3)
    withExtendedLifetime((first, root)) {}
  }
}
