import Dispatch
import Glibc
import Synchronization
import Testing
import Xen

@testable import Backends

/// A log in a folder of the test's own. While it is held, its file system answers to nobody: that is injected, because a
/// frozen one needs a device to freeze.
private final class TestLog {
  let folder = TemporaryFolder()
  let thread = try! LogThread()
  let log: ConsoleLog
  private let hold = DispatchSemaphore(value: 0)

  init() {
    let file = open("\(folder.path)/log", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    log = ConsoleLog(adopting: Descriptor(adopting: file), thread: thread)
  }

  func freeze() {
    let hold = hold
    log.read { _ in hold.wait() }
  }

  func thaw() { hold.signal() }

  /// What the file holds once everything before is written.
  func contents() -> String {
    let result = Mutex<[UInt8]>([])
    let done = DispatchSemaphore(value: 0)
    log.read { bytes in
      result.withLock { $0 = bytes }
      done.signal()
    }
    done.wait()
    return String(decoding: result.withLock { $0 }, as: UTF8.self)
  }
}

@Suite struct ConsoleLogTests {
  private let start = ContinuousClock.now

  @Test func outputIsWrittenInOrder() {
    let test = TestLog()
    for number in 0..<1000 { test.log.append(Array("\(number)\n".utf8), at: start) }
    #expect(test.contents() == (0..<1000).map { "\($0)\n" }.joined())
  }

  @Test func aGuestCannotLogFasterThanItsLimitAndTheGapIsSaidOnce() {
    let test = TestLog()
    let piece = [UInt8](repeating: 120, count: 1024)
    // It lets the thread write meanwhile, so that only the rate bounds it.
    var now = start
    for _ in 0..<1024 {
      test.log.append(piece, at: now)
      _ = test.contents().utf8.count
    }
    // 256 of 1,024 pieces are within the burst. A second later there is room for more.
    now += .seconds(1)
    test.log.append(Array("later".utf8), at: now)
    let text = test.contents()
    #expect(text.hasSuffix("later"))
    let gaps = text.split(separator: "\n").filter { $0.hasPrefix("[") }.map(String.init)
    let lost = gaps.compactMap { Int($0.dropFirst().prefix { $0 != " " }) }.reduce(0, +)
    #expect(lost == (1024 - ConsoleLog.burst / 1024) * 1024)
  }

  @Test func aLogThatStandsStillHoldsNoWriterUpAndStaysBounded() {
    let test = TestLog()
    test.freeze()
    let time = ContinuousClock().measure {
      for number in 0..<2000 {
        // Slowly enough for the rate: only the room is short.
        test.log.append([UInt8](repeating: 121, count: 1024), at: start + .seconds(number))
      }
    }
    #expect(time < .seconds(5))
    test.thaw()
    let text = test.contents()
    let missing = 2000 * 1024 - ConsoleLog.maxWaiting
    #expect(text.contains("[\(missing) bytes of output not logged]"))
  }

  @Test func theFileIsClosedWhenAllIsWritten() {
    let test = TestLog()
    test.freeze()
    test.log.append(Array("last words".utf8), at: start)
    test.log.close()
    test.thaw()
    let reader = open("\(test.folder.path)/log", O_RDONLY | O_CLOEXEC)
    defer { close(reader) }
    var bytes = [UInt8](repeating: 0, count: 32)
    let end = ContinuousClock.now + .seconds(20)
    while pread(reader, &bytes, 32, 0) < 10 && ContinuousClock.now < end { usleep(1000) }
    #expect(String(decoding: bytes.prefix(10), as: UTF8.self) == "last words")
  }
}

@Suite struct ConsolesTests {
  private let domain = DomainID(rawValue: 7)
  private let loop: EventLoop
  private let consoles: Consoles
  private let test = TestLog()
  private let typed = Typed()

  private final class Typed { var bytes: [UInt8] = [] }

  init() throws {
    loop = try EventLoop()
    let typed = typed
    consoles = try Consoles(loop) { _, bytes in typed.bytes += bytes }
  }

  private func open(follow: Bool = true, input: Bool = false) throws -> Descriptor {
    let ends = Ends.sockets(SOCK_STREAM)
    try consoles.open(
      domain, test.log, socket: Descriptor(adopting: dup(ends.one.raw)), follow: follow, input: input)
    return Descriptor(adopting: dup(ends.other.raw))
  }

  /// Lets the loop turn until a condition holds, for a generous while.
  private func turn(until condition: () -> Bool) {
    let end = ContinuousClock.now + .seconds(20)
    while !condition() && ContinuousClock.now < end { loop.turn(atMost: .milliseconds(20)) }
  }

  @Test func whatWasLoggedComesBeforeWhatCameMeanwhile() throws {
    test.log.append(Array("old ".utf8), at: .now)
    test.freeze()
    let reader = try open()
    test.log.append(Array("new".utf8), at: .now)
    consoles.show(Array("new".utf8), of: domain)
    loop.turn(atMost: .milliseconds(50))
    #expect(readable(reader.raw) == [])
    test.thaw()
    var seen: [UInt8] = []
    turn {
      seen += readable(reader.raw)
      return seen.count >= 7
    }
    #expect(String(decoding: seen, as: UTF8.self) == "old new")
  }

  @Test func aLogThatStandsStillKeepsNobodyFromTheConsole() throws {
    test.freeze()
    defer { test.thaw() }
    let reader = try open(input: true)
    consoles.show(Array("new".utf8), of: domain)
    #expect(send(reader.raw, "typed", 5, 0) == 5)
    turn { typed.bytes.count == 5 }
    #expect(typed.bytes == Array("typed".utf8))
    var seen: [UInt8] = []
    turn {
      seen += readable(reader.raw)
      return seen.count >= 10
    }
    #expect(String(decoding: seen, as: UTF8.self) == "[the log does not answer: earlier output is not shown]\nnew")
  }

  /// A reader that is slow when its guest ends gets all that was kept for it, and then the end.
  @Test func aSlowReaderGetsTheRestOfAConsoleThatEnded() throws {
    let reader = try open()
    let output = (0..<ConsoleClient.maxPending).map { UInt8(truncatingIfNeeded: $0) }
    turn { (try? self.open(follow: false)) != nil }
    consoles.show(output, of: domain)
    consoles.finish(domain)
    var seen: [UInt8] = []
    turn {
      var buffer = [UInt8](repeating: 0, count: 5000)
      let count = recv(reader.raw, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 { seen += buffer.prefix(count) }
      return count == 0
    }
    #expect(seen == output)
    #expect(hangsUp(reader.raw))
  }

  /// One that does not read at all is told in a last line what it misses.
  @Test func aReaderThatStoppedIsToldWhatItMisses() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    var client = ConsoleClient(socket: ends.one, follow: true, input: false)
    client.begin(replay: [])
    for _ in 0..<100 {
      client.append([UInt8](repeating: 120, count: 10_000))
      _ = client.flush()
    }
    client.finish()
    #expect(client.flush() == .open)
    client.cut()
    let text = String(decoding: readable(other), as: UTF8.self)
    let last = text.split(separator: "\n").last ?? ""
    #expect(last.hasPrefix("[") && last.hasSuffix(" bytes of output lost: the reader stopped reading]"))
    let told = text.split(separator: "\n").filter { $0.hasPrefix("[") }
      .compactMap { Int($0.dropFirst().prefix { $0 != " " }) }.reduce(0, +)
    #expect(text.filter { $0 == "x" }.count + told == 1_000_000)
  }
}
