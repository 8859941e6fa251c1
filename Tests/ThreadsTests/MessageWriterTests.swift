import Glibc
import Testing

@testable import Threads

@Suite struct MessageWriterTests {
  @Test func aReaderThatStandsStillHoldsNobodyUp() throws {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    let messages = try MessageWriter(ends[1])
    let line = String(repeating: "x", count: 999)
    for _ in 0..<1000 { messages.write(line) }
    var text = readAll(ends[0])
    messages.write("last")
    text += readAll(ends[0])
    #expect(text.hasSuffix("last\n"))
    let lines = text.split(separator: "\n")
    let kept = lines.count { $0 == line }
    let lost = lines.compactMap { $0.hasPrefix("[") ? Int($0.dropFirst().prefix { $0 != " " }) : nil }.reduce(0, +)
    #expect(kept + lost == 1000 && lost > 0)
    messages.flush()
    close(ends[0])
  }

  /// What comes until nothing does for a while.
  private func readAll(_ descriptor: Int32) -> String {
    var all: [UInt8] = []
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    while poll(&ready, 1, 2000) > 0 {
      var bytes = [UInt8](repeating: 0, count: 65536)
      let count = read(descriptor, &bytes, bytes.count)
      all += bytes.prefix(max(0, count))
    }
    return String(decoding: all, as: UTF8.self)
  }
}
