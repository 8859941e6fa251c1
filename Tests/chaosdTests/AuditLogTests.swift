import ChaosAPI
import Glibc
import Testing

@testable import chaosd

@Suite struct AuditLogTests {
  private let path = "/tmp/chaosd-audit-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"

  private var content: String {
    guard let file = fopen(path, "re") else { return "" }
    defer { fclose(file) }
    var text = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&text, 1, text.count, file)
    return String(decoding: text.prefix(count), as: UTF8.self)
  }

  @Test func aCallThatChangesSomethingLeavesALine() async throws {
    defer { unlink(path) }
    let audit = try AuditLog(path: path) { _ in }
    try await TestServer.with(Limits(), audit: audit) { server in
      let client = try TestClient(server.path)
      client.say(request("GET", "/now"))
      _ = await client.hear(until: "\r\n\r\n")
      client.say(request("POST", "/nowhere?a=b", body: "secret"))
      _ = await client.hear(until: "}}")
      #expect(try await eventually { !content.isEmpty })
      let line = try JSON(parsing: Array(content.utf8.dropLast()))
      #expect(line["uid"] == .number(Int(getuid())))
      #expect(line["pid"] == .number(Int(getpid())))
      #expect(line["method"] == "POST")
      #expect(line["path"] == "/nowhere?a=b")
      #expect(line["status"] == .number(404))
      #expect(line["result"] == "not_found")
      #expect(!content.contains("secret"))
      #expect(content.filter { $0 == "\n" }.count == 1)
    }
  }

  @Test func aLineIsALineWhateverThePath() {
    let record = AuditRecord(
      peer: PeerCredentials(pid: 1, uid: 2), method: "POST", path: "/a\n{\"uid\":0}\u{1b}[2J", status: 200,
      code: "ok",
      microseconds: 5)
    #expect(record.line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
    #expect(record.line.allSatisfy { $0 >= 0x20 || $0 == UInt8(ascii: "\n") })
  }

  @Test func fileIsRotated() {
    var file = AuditFile(path: path)
    defer {
      unlink(path)
      unlink("\(path).1")
    }
    #expect(file.append(Array("first\n".utf8), rotatingAt: 10) == (true, nil))
    #expect(file.append(Array("second\n".utf8), rotatingAt: 10) == (true, nil))
    #expect(content == "second\n")
    #expect(access("\(path).1", F_OK) == 0)
  }

  @Test func failureIsSaidOnce() {
    var file = AuditFile(path: "/dev/full")
    #expect(file.append([1], rotatingAt: 10).report?.contains("No space left") == true)
    #expect(file.append([1], rotatingAt: 10) == (false, nil))
  }
}
