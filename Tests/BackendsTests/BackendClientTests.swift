import Dispatch
import Glibc
import Synchronization
import Testing
import Threads
import Xen

@testable import Backends

@Suite struct BackendClientTests {
  private func status(_ domain: Int) -> ControlProtocol.Status {
    let key = ControlProtocol.DomainKey(domain: DomainID(rawValue: UInt16(domain)), handle: .random())
    return ControlProtocol.Status(key: key, status: 1, acknowledged: 0)
  }

  private static let list = ControlProtocol.Request.list(from: .dom0)

  /// What a client makes of a back-end that answers its requests with these replies, one after another.
  /// The back-end hangs up when it has no more.
  private func listing(_ replies: [ControlProtocol.Reply]) throws -> [ControlProtocol.Status] {
    // The first request asks for the version.
    let rest = Answers([.domains([])] + replies)
    let backend = try ScriptedBackend { _ in rest.next()?.encoded() }
    return try BackendClient(path: backend.path).domains()
  }

  private final class Answers: Sendable {
    private let rest: Mutex<[ControlProtocol.Reply]>
    init(_ replies: [ControlProtocol.Reply]) { rest = Mutex(replies) }
    func next() -> ControlProtocol.Reply? { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
  }

  @Test func longListingsComeInParts() throws {
    let all = (1...2500).map(status)
    let parts = [all[..<1000], all[1000..<2000], all[2000...]].map { ControlProtocol.Reply.domains(Array($0)) }
    #expect(try listing(parts) == all)
    #expect(try listing([.domains([])]) == [])
  }

  @Test func aListingThatDoesNotAdvanceEnds() throws {
    let last = [ControlProtocol.Status](repeating: status(65535), count: 1000)
    #expect(try listing([.domains(last)]).count == 1000)
    let same = [ControlProtocol.Status](repeating: status(3), count: 1000)
    #expect(try listing([.domains(same), .domains(same), .domains(same)]).count == 2000)
  }

  @Test func refusalsAndHangUpsAreSaid() throws {
    let refusal = #expect(throws: BackendError.self) {
      try listing([.failed(errno: ENODEV, message: "domain 7 is not served")])
    }
    #expect(refusal?.errno == ENODEV && refusal?.operation == "domain 7 is not served" && refusal?.kind == .refused)
    let hangUp = #expect(throws: BackendError.self) { try listing([]) }
    #expect(hangUp?.errno == EPIPE && hangUp?.kind == .unavailable)
  }

  /// What only one back-end can do is not asked of the next.
  @Test func aRequestForOneConnectionIsMadeOnNoOther() throws {
    let backend = try ScriptedBackend { request in
      guard let decoded = try? ControlProtocol.Request(decoding: request) else { return nil }
      // Its version is asked for; then it dies of what it is asked.
      return decoded == .own ? nil : ControlProtocol.Reply.domains([]).encoded()
    }
    let client = BackendClient(path: backend.path)
    #expect(throws: BackendError.self) { try client.perform(.own, on: 0) }
    #expect(client.connections == 0)
    _ = try client.domains()
    #expect(client.connections == 1)
    #expect(throws: BackendError.self) { try client.perform(.own, on: 0) }
    try client.perform(Self.list, on: 1)
    #expect(client.connections == 1)
    // Not made again, as others are.
    #expect(throws: BackendError.self) { try client.perform(.own, on: 1) }
    #expect(client.connections == 1)
  }

  /// A request that a dead back-end took with it is made once more, to the next.
  @Test func aDeadBackEndsRequestIsMadeAgainOnce() throws {
    let deaths = Mutex(0)
    let backend = try ScriptedBackend { request in
      guard let decoded = try? ControlProtocol.Request(decoding: request) else { return nil }
      guard case .detach = decoded else { return ControlProtocol.Reply.domains([]).encoded() }
      let isToDie = deaths.withLock { deaths in
        deaths -= 1
        return deaths >= 0
      }
      return isToDie ? nil : ControlProtocol.Reply.done.encoded()
    }
    let client = BackendClient(path: backend.path)
    for (dying, connections) in [(0, 1), (1, 2), (1, 3)] {
      deaths.withLock { $0 = dying }
      try client.perform(.detach(status(1).key))
      #expect(client.connections == connections && backend.connections == connections)
    }
    deaths.withLock { $0 = 2 }
    let error = #expect(throws: BackendError.self) { try client.perform(.detach(status(1).key)) }
    #expect(error?.kind == .unavailable && deaths.withLock { $0 } == 0)
  }

  // MARK: A back-end that does not answer

  private var short: BackendClient.Limits {
    var limits = BackendClient.Limits()
    limits.request = .milliseconds(400)
    limits.look = .milliseconds(200)
    return limits
  }

  /// A back-end that can be stopped and continued, as by SIGSTOP and SIGCONT: requests meanwhile are answered late.
  private final class Stoppable: Sendable {
    private let stopped = Mutex(false)
    func set(_ value: Bool) { stopped.withLock { $0 = value } }
    func waitUntilContinued() { while stopped.withLock({ $0 }) { usleep(1000) } }
  }

  @Test func aStoppedBackEndHoldsNobodyUpAndIsBackWhenContinued() throws {
    let process = Stoppable()
    let backend = try ScriptedBackend { _ in
      process.waitUntilContinued()
      return ControlProtocol.Reply.domains([]).encoded()
    }
    let client = BackendClient(path: backend.path, limits: short)
    #expect(try client.domains() == [])
    process.set(true)
    let clock = ContinuousClock()
    let first = clock.measure {
      let error = #expect(throws: BackendError.self) { try client.domains() }
      #expect(error?.kind == .unavailable && error?.operation == "chaos-backend does not answer")
    }
    #expect(first >= .milliseconds(400))
    // One of a thousand looks again, the others are told at once.
    let rest = clock.measure {
      for _ in 0..<1000 { #expect(throws: BackendError.self) { try client.domains() } }
    }
    #expect(rest < .seconds(5), "\(rest)")
    process.set(false)
    let end = clock.now + .seconds(20)
    while (try? client.domains()) == nil {
      guard clock.now < end else {
        Issue.record("the client does not come back")
        return
      }
      usleep(10_000)
    }
  }

  /// The late reply of a request that was given up is nobody else's.
  @Test func aLateReplyIsNotTakenForAnothers() throws {
    let process = Stoppable()
    let backend = try ScriptedBackend { request in
      guard let decoded = try? ControlProtocol.Request(decoding: request) else { return nil }
      if case .detach = decoded {
        process.waitUntilContinued()
        return ControlProtocol.Reply.failed(errno: EBUSY, message: "late").encoded()
      }
      return ControlProtocol.Reply.domains([]).encoded()
    }
    let client = BackendClient(path: backend.path, limits: short)
    process.set(true)
    #expect(throws: BackendError.self) { try client.perform(.detach(status(1).key)) }
    process.set(false)
    usleep(300_000)
    #expect(try client.domains() == [])
    #expect(backend.connections == 2)
  }

  /// Callers that queue behind one that waits in vain are told together with it.
  @Test func waitingCallersFailTogether() throws {
    let process = Stoppable()
    process.set(true)
    let backend = try ScriptedBackend { _ in
      process.waitUntilContinued()
      return nil
    }
    let client = BackendClient(path: backend.path, limits: short)
    let failures = Mutex(0)
    let done = DispatchGroup()
    let time = try ContinuousClock().measure {
      for _ in 0..<20 {
        done.enter()
        try BackgroundThread.start(name: "caller") {
          if (try? client.domains()) == nil { failures.withLock { $0 += 1 } }
          done.leave()
        }
      }
      done.wait()
    }
    process.set(false)
    #expect(failures.withLock { $0 } == 20)
    #expect(time < .seconds(4), "\(time)")
  }

  /// A listener that takes no connection: its queue is full.
  @Test func aFullQueueOfConnectionsIsALimitedWait() throws {
    let folder = TemporaryFolder()
    let path = "\(folder.path)/backend.sock"
    let listener = try ControlSocket.listen(at: path)
    var waiting: [Int32] = []
    while true {
      let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_NONBLOCK.rawValue), 0)
      waiting.append(raw)
      if connectAtOnce(raw, path) < 0 { break }
    }
    defer { for raw in waiting { close(raw) } }
    let error = #expect(throws: BackendError.self) { try BackendClient(path: path, limits: short).domains() }
    #expect(error?.errno == ETIMEDOUT)
    _ = listener.raw
  }

  // MARK: Starting one

  @Test func oneIsStartedWhenNoneListens() throws {
    let started = Mutex(0)
    let folder = TemporaryFolder()
    let none = BackendClient(path: "\(folder.path)/none", limits: quickStart) { () throws(BackendError) in
      started.withLock { $0 += 1 }
    }
    let error = #expect(throws: BackendError.self) { try none.domains() }
    #expect(error?.kind == .unavailable && error?.operation.contains("does not listen") == true)
    // The first may have ended at once, because its predecessor held the lock yet.
    #expect(started.withLock { $0 } == 2)
    // Known not to come up: nobody waits for it again at once.
    let time = ContinuousClock().measure { #expect(throws: BackendError.self) { try none.domains() } }
    #expect(time < .milliseconds(200))
    #expect(started.withLock { $0 } == 2)
  }

  @Test func aStartThatFailsIsSaid() {
    let client = BackendClient(path: "/nonexistent/backend.sock") { () throws(BackendError) in
      throw BackendError("start /nonexistent", errno: ENOENT)
    }
    let error = #expect(throws: BackendError.self) { try client.domains() }
    #expect(error?.operation == "start /nonexistent")
  }

  private var quickStart: BackendClient.Limits {
    var limits = short
    limits.start = .milliseconds(300)
    limits.startAgain = .milliseconds(200)
    limits.look = .seconds(30)
    return limits
  }
}

private func connectAtOnce(_ raw: Int32, _ path: String) -> Int32 {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}
