import Glibc
import Testing

@testable import Backends

@Suite struct LogFileTests {
  private let folder = TemporaryFolder()

  private func openLog() -> LogFile {
    LogFile(adopting: Descriptor(adopting: open("\(folder.path)/log", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)))
  }

  private var fileSize: Int {
    var status = stat()
    stat("\(folder.path)/log", &status)
    return Int(status.st_size)
  }

  /// Numbered lines of 16 bytes.
  private func lines(_ numbers: Range<Int>) -> [UInt8] {
    numbers.flatMap { number -> [UInt8] in
      let digits = String(number)
      return Array((String(repeating: "0", count: 15 - digits.count) + digits + "\n").utf8)
    }
  }

  @Test func outputIsKeptAcrossARestart() {
    var log = openLog()
    _ = log.append(Array("one\n".utf8))
    _ = log.append([])
    _ = log.append(Array("two\n".utf8))
    #expect(log.contents() == Array("one\ntwo\n".utf8))
    var next = openLog()
    _ = next.append(Array("three\n".utf8))
    #expect(next.contents() == Array("one\ntwo\nthree\n".utf8))
  }

  @Test func aFullLogKeepsItsNewestHalf() {
    var log = openLog()
    let capacity = LogFile.capacity
    let whole = capacity / 16
    for start in stride(from: 0, to: whole, by: 64) { _ = log.append(lines(start..<start + 64)) }
    #expect(fileSize == capacity)
    #expect(log.contents() == lines(0..<whole))
    _ = log.append(lines(whole..<whole + 1))
    #expect(log.contents() == lines(whole / 2..<whole + 1))
    #expect(fileSize == capacity / 2 + 16)
  }

  @Test func theLogIsBounded() {
    var log = openLog()
    for start in stride(from: 0, to: 100_000, by: 100) {
      _ = log.append(lines(start..<start + 100))
      #expect(fileSize <= LogFile.capacity)
    }
    let kept = log.contents()
    #expect(kept.count >= LogFile.capacity / 2)
    #expect(kept == lines(100_000 - kept.count / 16..<100_000))
  }

  /// A log that another version let grow larger, or one append of more than half the room.
  @Test func oddSizesAreHeldToo() {
    let old = Descriptor(adopting: open("\(folder.path)/log", O_RDWR | O_CREAT, 0o600))
    #expect(ftruncate(old.raw, off_t(3 * LogFile.capacity)) == 0)
    var log = openLog()
    _ = log.append(Array("new".utf8))
    #expect(fileSize == LogFile.capacity / 2 + 3)
    #expect(log.contents().suffix(3) == Array("new".utf8)[...])
  }

  @Test func aLogThatCannotBeWrittenLosesOutputOnly() {
    let file = open("\(folder.path)/log", O_RDONLY | O_CREAT | O_CLOEXEC, 0o600)
    var log = LogFile(adopting: Descriptor(adopting: file))
    _ = log.append(Array("lost".utf8))
    #expect(log.contents() == [])
  }
}

@Suite struct ConsoleClientTests {
  /// What a reader got: its bytes without the notices, and the sum of what the notices say was lost.
  private func account(_ bytes: [UInt8]) -> (received: Int, lost: Int) {
    let text = String(decoding: bytes, as: UTF8.self)
    var (received, lost) = (0, 0)
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("["), line.hasSuffix(" bytes of output lost: the reader is too slow]") {
        lost += Int(line.dropFirst().prefix { $0 != " " })!
      } else {
        received += line.utf8.count
      }
    }
    return (received, lost)
  }

  @Test func theReplayComesFirst() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    var client = ConsoleClient(socket: ends.one, follow: true, input: false)
    client.append(Array("new".utf8))
    #expect(client.flush() == .open)
    #expect(readable(other) == [])
    client.begin(replay: Array("old ".utf8))
    let hasOutput = client.wantsToWrite
    #expect(hasOutput)
    #expect(client.flush() == .open)
    let hasMore = client.wantsToWrite
    #expect(!hasMore)
    #expect(readable(other) == Array("old new".utf8))
  }

  @Test func withoutFollowItEndsWhenDrained() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    var client = ConsoleClient(socket: ends.one, follow: false, input: false)
    #expect(client.flush() == .open)
    client.begin(replay: [UInt8](repeating: 120, count: 128 << 10))
    var total = 0
    var outcome = client.flush()
    for _ in 0..<1000 where outcome == .open {
      total += readable(other).count
      outcome = client.flush()
    }
    #expect(outcome == .finished)
    #expect(total + readable(other).count == 128 << 10)
  }

  @Test func aReaderThatIsGoneEndsIt() {
    let ends = Ends.sockets(SOCK_STREAM)
    var client = ConsoleClient(socket: ends.one, follow: true, input: false)
    client.begin(replay: [])
    close(ends.other.release())
    client.append([120])
    #expect(client.flush() == .finished)
  }

  /// Who types and leaves need not wait for the console's output.
  @Test func whatWasTypedBeforeLeavingIsRead() {
    let ends = Ends.sockets(SOCK_STREAM)
    var client = ConsoleClient(socket: ends.one, follow: true, input: true)
    #expect(send(ends.other.raw, "typed", 5, 0) == 5)
    close(ends.other.release())
    client.begin(replay: [120])
    #expect(client.flush() == .open)
    let wantsToWrite = client.wantsToWrite
    #expect(!wantsToWrite)
    #expect(client.read(limit: 16) == .bytes(Array("typed".utf8)))
    #expect(client.read(limit: 16) == .closed)
  }

  @Test func typedBytesAreReadUpToTheLimit() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    let client = ConsoleClient(socket: ends.one, follow: true, input: true)
    #expect(client.read(limit: 16) == .nothing)
    #expect(send(other, "typed", 5, 0) == 5)
    #expect(client.read(limit: 3) == .bytes(Array("typ".utf8)))
    #expect(client.read(limit: 3) == .bytes(Array("ed".utf8)))
    #expect(client.read(limit: 3) == .nothing)
  }

  @Test func whatASlowReaderMissesIsSaid() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    var client = ConsoleClient(socket: ends.one, follow: true, input: false)
    client.begin(replay: [])
    client.append([UInt8](repeating: 120, count: ConsoleClient.maxPending + 1000))
    var bytes: [UInt8] = []
    while client.wantsToWrite {
      #expect(client.flush() == .open)
      bytes += readable(other)
    }
    #expect(bytes.starts(with: Array("\n[1000 bytes of output lost: the reader is too slow]\nxxx".utf8)))
    #expect(account(bytes) == (received: ConsoleClient.maxPending, lost: 1000))
  }

  /// Losses that come while an earlier one is still being told count as well, each byte once.
  @Test func everyByteIsReceivedOrSaidToBeLost() {
    let ends = Ends.sockets(SOCK_STREAM)
    let other = ends.other.raw
    var client = ConsoleClient(socket: ends.one, follow: true, input: false)
    client.begin(replay: [])
    var bytes: [UInt8] = []
    var written = 0
    for round in 0..<300 {
      let output = [UInt8](repeating: 120, count: 10_000)
      client.append(output)
      written += output.count
      _ = client.flush()
      if round % 100 == 99 {
        var buffer = [UInt8](repeating: 0, count: 50_000)
        bytes += buffer.prefix(max(0, recv(other, &buffer, buffer.count, 0)))
      }
    }
    while client.wantsToWrite {
      bytes += readable(other)
      _ = client.flush()
    }
    bytes += readable(other)
    let account = account(bytes)
    #expect(account.lost > 0)
    #expect(account.received + account.lost == written)
  }
}

extension ConsoleClient.Input: Equatable {
  public static func == (a: Self, b: Self) -> Bool {
    switch (a, b) {
    case (.bytes(let a), .bytes(let b)): a == b
    case (.nothing, .nothing), (.closed, .closed): true
    default: false
    }
  }
}
