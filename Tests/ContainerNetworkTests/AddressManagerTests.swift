import Foundation
import NetworkAddresses
import Testing

@testable import ContainerNetwork

@Suite struct AddressManagerTests {
  /// Runs `body` with a manager that is a shell script.
  private func withScript(
    _ script: String, configuration: String = "{}", _ body: (AddressManager) throws -> Void
  ) throws {
    ignoresBrokenPipes
    let folder = NSTemporaryDirectory() + "chaos-ipam-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    // By another program: whatever this one starts meanwhile would hold the file open, and it could not be run.
    let writer = Process()
    writer.executableURL = URL(fileURLWithPath: "/bin/sh")
    writer.arguments = ["-c", #"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#, "\(folder)/stub", script]
    try writer.run()
    writer.waitUntilExit()
    try body(
      AddressManager(
        type: "stub", path: "/nonexistent::\(folder)", environment: ["CNI_COMMAND": "GC", "CNI_IFNAME": "eth0"],
        configuration: Array(configuration.utf8)))
  }

  @Test("it gets the environment, its own command and the whole configuration; its answer is read")
  func add() throws {
    let script = #"""
      read -r text
      [ "$CNI_COMMAND$CNI_IFNAME$text" = "ADDeth0{}" ] || exit 9
      echo '{"ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"domain":"x"}}'
      """#
    try withScript(script, configuration: "{}\n") { manager in
      let result = try manager.add().get()
      #expect(result.addresses == [.init(address: IPInterface("10.0.0.5/24")!, gateway: IPAddress("10.0.0.1")!)])
      #expect(result.routes.count == 1 && result.dns == ["domain": "x"])
    }
  }

  @Test("its errors are passed on with its name, code and details, on one line")
  func refusal() throws {
    try withScript(#"printf %s '{"code":11,"msg":"pool\nis empty","details":"10.0.0.0/24"}'; exit 1"#) { manager in
      let error = #expect(throws: CNIError.self) { try manager.add().get() }
      #expect(error?.code == .tryAgain)
      #expect(error?.message == "stub: pool\u{fffd}is empty")
      #expect(error?.details == "10.0.0.0/24")
    }
  }

  @Test(
    "what is no answer is an error",
    arguments: [
      ("exit 3", "stub: failed with exit status 3 and no error message"), ("kill -9 $$", "stub: ended by signal 9"),
      ("echo hello", "stub: invalid JSON: unexpected 'h' at byte 0"),
      ("echo []", "stub: expected an object, got an array"),
      ("yes | head -c 2000000", "stub: answered more than 1048576 bytes"),
      (#"echo '{"ips":[{"address":"x"}]}'"#, "stub.ips[0].address: not an address and prefix, as 10.1.0.2/24: 'x'"),
    ])
  func badAnswer(script: String, message: String) throws {
    try withScript(script) { manager in
      let error = #expect(throws: CNIError.self) { try manager.add().get() }
      #expect(error?.code == .delegate)
      #expect(error?.message == message)
    }
  }

  @Test("neither of the two waits for the other for ever", .timeLimit(.minutes(1)))
  func largeStreams() throws {
    let large = String(repeating: "x", count: 1 << 20)
    // One that reads nothing, and one that writes before it reads.
    try withScript("exit 0", configuration: large) { try $0.perform("DEL") }
    try withScript("head -c 500000 /dev/zero; cat > /dev/null", configuration: large) { try $0.perform("DEL") }
    try withScript("[ $(wc -c) = 1048576 ]", configuration: large) { try $0.perform("DEL") }
  }

  @Test("only files of CNI_PATH are run", arguments: ["nosuch", "../bin/sh", "..", "", "tmp"])
  func notFound(type: String) {
    let error = #expect(throws: CNIError.self) {
      try AddressManager(type: type, path: "/nonexistent:/", environment: [:], configuration: [])
    }
    #expect(error?.message.hasPrefix("ipam.type: ") == true)
  }
}
