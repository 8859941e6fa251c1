import ChaosAPI
import Glibc
import Testing

@testable import Toolstack

@Suite final class EventJournalTests {
  private let path: String

  init() {
    var template = Array("/tmp/chaos-journal.XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&template)!) + "/events.jsonl"
  }

  deinit {
    unlink(path)
    unlink(path + ".1")
    rmdir(String(path.dropLast("/events.jsonl".count)))
  }

  private func note(_ journal: EventJournal, _ kind: Event.Kind, _ name: String, _ reason: GuestEnd? = nil) {
    journal.note(kind, name: name, uuid: "uuid-of-\(name)", reason: reason)
  }

  /// Waits until the file has so many lines.
  private func awaitLines(_ count: Int) {
    for _ in 0..<500 {
      var bytes = [UInt8](repeating: 0, count: 1 << 20)
      let file = open(path, O_RDONLY)
      let length = read(file, &bytes, bytes.count)
      close(file)
      if bytes.prefix(max(0, length)).count(where: { $0 == UInt8(ascii: "\n") }) >= count { return }
      usleep(10_000)
    }
    Issue.record("the journal has not \(count) lines")
  }

  @Test func numbersGoOnAfterARestart() throws {
    let journal = try EventJournal(path: path)
    note(journal, .created, "a")
    note(journal, .ended, "a", .poweroff)
    awaitLines(2)
    let next = try EventJournal(path: path)
    note(next, .created, "b")
    #expect(next.events().map(\.number) == [1, 2, 3])
    #expect(next.events(since: .after(number: 1)).map(\.guest) == ["a", "b"])
    #expect(next.events(since: .after(number: 99)) == [])
    #expect(next.events(of: "a").count == 2 && next.events(of: "uuid-of-b").count == 1)
    #expect(next.ends().map(\.guest) == ["a"] && next.ends().map(\.reason) == [.poweroff])
  }

  @Test func whatCouldNotBeWrittenIsWrittenLater() throws {
    let folder = String(path.dropLast("/events.jsonl".count))
    rmdir(folder)
    let journal = try EventJournal(path: path)
    note(journal, .created, "a")
    // Time enough to fail.
    usleep(200_000)
    #expect(mkdir(folder, 0o700) == 0)
    // One at its beginning, and one at its end.
    awaitLines(2)
    note(journal, .ended, "a", .poweroff)
    awaitLines(4)
    #expect(try EventJournal(path: path).events().map(\.kind) == [.created, .ended])
  }

  @Test func aLineThatWasCutIsLeftOut() throws {
    let file = open(path, O_WRONLY | O_CREAT, 0o600)
    let text =
      "noise\n{\"number\":7,\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"created\",\"guest\":\"a\",\"uuid\":\"u\"}\n{\"numb"
    #expect(write(file, text, text.utf8.count) == text.utf8.count)
    close(file)
    let journal = try EventJournal(path: path)
    #expect(journal.events().map(\.number) == [7])
    note(journal, .created, "b")
    #expect(journal.events().map(\.number) == [7, 8])
  }

  @Test func whoFollowsIsWoken() async throws {
    let journal = try EventJournal(path: path)
    let changes = journal.changes()
    note(journal, .created, "a")
    var seen = 0
    for await _ in changes.stream {
      seen = journal.events().count
      if seen == 1 { changes.stop() }
    }
    #expect(seen == 1)
  }

  @Test func memoryIsBounded() throws {
    let journal = try EventJournal(path: path)
    for _ in 0..<3 * EventJournal.capacity { note(journal, .created, "a") }
    #expect(journal.events().count <= 2 * EventJournal.capacity)
    #expect(journal.events().last?.number == 3 * EventJournal.capacity)
  }
}
