import Glibc
import NIOPosix
import Testing
import Threads

@testable import chaosd

@Suite struct SupervisionTests {
  @Test func environmentOfAServiceIsRead() {
    let manager = ServiceManager(
      [
        "NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "LISTEN_PID": "7",
        "LISTEN_FDS": "0",
      ],
      process: 7)
    #expect(manager.isPresent)
    #expect(manager.watchdog == .seconds(30))
    #expect(manager.listener == nil)
  }

  @Test(arguments: [
    [:], ["NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "x", "LISTEN_PID": "8", "LISTEN_FDS": "1"],
    ["WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8", "LISTEN_FDS": "1"],
    ["NOTIFY_SOCKET": "", "WATCHDOG_USEC": "-5", "LISTEN_PID": "7", "LISTEN_FDS": "-1"],
  ])
  func whatIsForOthersIsNotTaken(_ variables: [String: String]) {
    let manager = ServiceManager(variables, process: 7)
    #expect(!manager.isPresent)
    #expect(manager.watchdog == nil)
    #expect(manager.listener == nil)
    manager.tell("READY=1")
  }

  @Test(arguments: [false, true]) func messageArrives(isAbstract: Bool) throws {
    let name = "\(isAbstract ? "@" : "/tmp/")chaosd-notify-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let receiver = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer {
      close(receiver)
      unlink(name)
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { path in
      path.copyBytes(from: name.utf8)
      if isAbstract { path[0] = 0 }
    }
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(receiver, $0, socklen_t(MemoryLayout<sa_family_t>.size + name.utf8.count))
      }
    }
    try #require(bound == 0)
    ServiceManager(["NOTIFY_SOCKET": name], process: 7).tell("READY=1")
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = recv(receiver, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    #expect(buffer.prefix(max(0, count)) == Array("READY=1".utf8)[...])
  }

  @Test func watchdogSeesWhatHangs() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let pool = try BlockingPool(name: "test", .init(threads: 1, queued: 10))
    let watchdog = Watchdog(
      manager: ServiceManager([:], process: 7), loops: Array(group.makeIterator()), pool: pool, report: { _ in })
    // Twice what is asked below, so that a busy machine does not fail this.
    #expect(watchdog.problem(within: .seconds(10)) == nil)

    let loopGate = Gate()
    group.next().execute { loopGate.wait() }
    #expect(watchdog.problem(within: .milliseconds(100))?.contains("event loop") == true)
    loopGate.open()
    #expect(watchdog.problem(within: .seconds(10)) == nil)

    let poolGate = Gate()
    for _ in 0..<2 { try pool.submit { _ in poolGate.wait() } }
    #expect(
      try await eventually { watchdog.problem(within: .milliseconds(100))?.contains("wait for a thread") == true })
    poolGate.open()
    #expect(try await eventually { watchdog.problem(within: .seconds(10)) == nil })
    try await group.shutdownGracefully()
  }
}
