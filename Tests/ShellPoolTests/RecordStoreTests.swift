import Glibc
import StateFiles
import Testing
import Xen

@testable import ShellPool

@Suite final class RecordStoreTests {
  private let folder: String
  private let store: RecordStore

  init() throws {
    var template = Array("/tmp/chaos-records.XXXXXX".utf8CString)
    folder = String(cString: mkdtemp(&template)!) + "/domains"
    store = try RecordStore(folder: folder)
  }

  deinit {
    chmod(folder, 0o700)
    for name in names() { unlink("\(folder)/\(name)") }
    rmdir(folder)
    rmdir(String(folder.dropLast("/domains".count)))
  }

  private func names() -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  private func put(_ text: String, as name: String) {
    let file = open("\(folder)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    defer { close(file) }
    #expect(write(file, text, text.utf8.count) == text.utf8.count)
  }

  private func status(_ path: String) -> stat {
    var status = stat()
    #expect(stat(path, &status) == 0)
    return status
  }

  @Test func recordsAreReadBack() throws {
    #expect(store.readAll().records == [])
    try store.write(fullRecord)
    var other = bareRecord
    other.handle = .random()
    try store.write(other)
    let found = try RecordStore(folder: folder).readAll()
    let (records, damaged) = (found.records, found.damaged)
    #expect(damaged == [])
    #expect(records.count == 2 && records.contains(fullRecord) && records.contains(other))
    #expect(names() == [sampleHandle.uuid, other.handle.uuid].sorted())
  }

  @Test func onlyRootReadsThem() throws {
    try store.write(fullRecord)
    #expect(status(folder).st_mode & 0o777 == 0o700)
    #expect(status("\(folder)/\(sampleHandle.uuid)").st_mode & 0o777 == 0o600)
  }

  /// Who has the old file open goes on reading the old record whole.
  @Test func aRecordIsReplacedAsAWhole() throws {
    try store.write(fullRecord)
    let path = "\(folder)/\(sampleHandle.uuid)"
    let before = status(path)
    let reader = open(path, O_RDONLY)
    defer { close(reader) }
    try store.write(bareRecord)
    #expect(status(path).st_ino != before.st_ino)
    var bytes = [UInt8](repeating: 0, count: 65536)
    #expect(read(reader, &bytes, bytes.count) == Int(before.st_size))
    #expect(Array(bytes.prefix(Int(before.st_size))) == fullRecord.json.compact)
    #expect(store.readAll().records == [bareRecord])
    #expect(names() == [sampleHandle.uuid])
  }

  @Test func aRecordCutShortByAKillIsSweptAndTheOldOneStays() throws {
    try store.write(fullRecord)
    put("{\"version\":1,\"uuid\":\"a0a1", as: "\(sampleHandle.uuid).new")
    let found = store.readAll()
    let (records, damaged) = (found.records, found.damaged)
    #expect(records == [fullRecord] && damaged == [])
    #expect(names() == [sampleHandle.uuid])
  }

  @Test func damagedRecordsAreReportedAndKept() throws {
    try store.write(fullRecord)
    let other = DomainHandle.random().uuid
    put("", as: "00000000-0000-4000-8000-000000000001")
    put("{\"version\":1", as: "00000000-0000-4000-8000-000000000002")
    put("not a record", as: "notes.txt")
    // A record under another domain's name.
    put(String(decoding: fullRecord.json.compact, as: UTF8.self), as: other)
    let found = store.readAll()
    let (records, damaged) = (found.records, found.damaged)
    #expect(records == [fullRecord])
    let expected = [
      "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "notes.txt", other,
    ]
    #expect(damaged.sorted() == expected.sorted())
    #expect(names().count == 5)
  }

  @Test func aRecordOfALaterChaosdIsNotCalledDamaged() throws {
    let later = String(decoding: fullRecord.json.compact, as: UTF8.self).replacing(
      "\"version\":2", with: "\"version\":3")
    put(later, as: sampleHandle.uuid)
    let found = store.readAll()
    #expect(found.records == [] && found.damaged == [])
    #expect(found.newer.map(\.name) == [sampleHandle.uuid] && found.newer.map(\.version) == [3])
  }

  @Test func whatNobodyIsAnswerableForIsAbandoned() throws {
    store.claim(sampleHandle)
    try store.write(fullRecord)
    #expect(store.abandoned == [])
    store.release(sampleHandle)
    #expect(store.abandoned == [fullRecord])
    // What another chaosd wrote is nobody's until it is taken over.
    let next = try RecordStore(folder: folder)
    _ = next.readAll()
    #expect(next.abandoned == [fullRecord])
    next.claim(sampleHandle)
    #expect(next.abandoned == [])
    next.remove(sampleHandle)
    #expect(next.abandoned == [] && next.all == [])
  }

  @Test func removedRecordsAreGone() throws {
    try store.write(fullRecord)
    store.remove(sampleHandle)
    store.remove(sampleHandle)
    #expect(names() == [])
  }

  @Test func aWriteThatFailsLeavesNothing() throws {
    // A folder in the record's place cannot be replaced by a file.
    let path = "\(folder)/\(sampleHandle.uuid)"
    #expect(mkdir(path, 0o700) == 0)
    #expect(throws: StateFile.Failure.self) { try self.store.write(fullRecord) }
    #expect(names() == [sampleHandle.uuid])
    rmdir(path)
  }

  @Test func aFolderThatCannotBeMadeIsSaid() {
    let error = #expect(throws: StateFile.Failure.self) { try RecordStore(folder: "/proc/none/domains") }
    #expect(error?.description == "create folder /proc/none: No such file or directory")
  }
}
