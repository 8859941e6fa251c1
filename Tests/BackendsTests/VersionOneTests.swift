import Glibc
import Testing
import Xen

@testable import Backends

/// The bytes that chaosd and chaos-backend 0.1.0 exchanged, taken from those programs: a chaosd must go on with a
/// chaos-backend that serves its guests since before it was replaced.
@Suite struct VersionOneTests {
  private typealias Request = ControlProtocol.Request
  private typealias Reply = ControlProtocol.Reply

  private static let key = ControlProtocol.DomainKey(
    domain: DomainID(rawValue: 0x0102), handle: DomainHandle(Array(0xa0...0xaf))!)
  private static let status = ControlProtocol.Status(
    key: key, status: 1, acknowledged: 0x0403_0201, vifs: nil)

  private static let vifs = [
    ControlProtocol.Vif(slot: 0, windowFrames: 64, features: 0x1_2000_8000),
    ControlProtocol.Vif(slot: 14, windowFrames: 4096, features: 0x1_2000_8003),
  ]

  private static let requests: [(Request, String)] = [
    (.list(from: .dom0), "010006000000"),
    (
      .attach(key, vifs: vifs, partial: true),
      "010001000201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf02"
        + "004000000000800020010000000e001000000380002001000000"
    ),
    (
      .attachVif(key, ControlProtocol.Vif(slot: 2, windowFrames: 16, features: 0x1_2000_8000)),
      "010008000201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf02100000000080002001000000"
    ),
    (.detachVif(key, slot: 2), "010009000201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf02"),
    (.setFeatures(key, slot: 3, features: 0x1_2000_8003), "010003000201030380002001000000"),
    (.console(key, follow: true, input: false), "0100040002010100"),
    (.powerctl(key, bits: 0x8000_0001), "01000500020101000080"),
    (.subscribe, "01000700"),
    (.detach(key), "010002000201"),
  ]

  private static let unknownVersion =
    "01000201470000006e6f7420612072657175657374206f662070726f746f636f6c2076657273696f6e2031"
  private static let twoDomains =
    "0100030102000201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0100000001020304"
    + "0201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0100000001020304"

  private static let replies: [(Reply, String)] = [
    (.done, "01000101"),
    (.failed(errno: 71, message: "not a request of protocol version 1"), unknownVersion),
    (
      .failed(errno: 19, message: "domain 258 is not served"),
      "0100020113000000646f6d61696e20323538206973206e6f7420736572766564"
    ),
    (.domains([status, status]), twoDomains),
  ]

  private static let event = "010001020201a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0100000001020304"

  @Test func requestsAreTheBytesOfVersionOne() {
    for (request, expected) in Self.requests {
      #expect(request.encoded(for: .one) == bytes(expected), "\(request)")
    }
  }

  @Test func repliesAndEventsAreUnderstood() throws {
    for (reply, received) in Self.replies {
      #expect(try Reply(decoding: bytes(received)) == reply)
      #expect(reply.encoded(for: .one) == bytes(received))
    }
    #expect(try ControlProtocol.Event(decodingEvent: bytes(Self.event)) == Self.status)
    #expect(Self.status.encodedEvent(for: .one) == bytes(Self.event))
  }

  @Test func whatVersionOneDoesNotHaveIsNotEncoded() {
    #expect(Request.rename(Self.key, to: Self.key.handle).encoded(for: .one) == nil)
    #expect(Request.resetVif(Self.key, slot: 0).encoded(for: .one) == nil)
    #expect(Request.own.encoded(for: .one) == nil)
  }

  /// The client asks in its own version, hears that the back-end is older, and goes on in that one's.
  @Test func aClientGoesOnInTheBackEndsVersion() throws {
    let conversation = Self.requests
    let backend = try ScriptedBackend { request in
      if request.prefix(2) == [2, 0] { return bytes(Self.unknownVersion) }
      return request == bytes(conversation[0].1) ? bytes(Self.twoDomains) : bytes("01000101")
    }
    let client = BackendClient(path: backend.path)
    #expect(try client.domains() == [Self.status, Self.status])
    for (request, _) in conversation.dropFirst() { #expect(try client.perform(request) == .done) }
    let refusal = #expect(throws: BackendError.self) {
      try client.perform(.rename(Self.key, to: Self.key.handle))
    }
    #expect(refusal?.kind == .unsupported)
    // That was said without a word to the back-end, and the connection is as good as before.
    #expect(try client.perform(.detach(Self.key)) == .done)
    let expected = conversation.map { bytes($0.1) } + [bytes(conversation.last!.1)]
    #expect(Array(backend.heard.dropFirst()) == expected)
    #expect(backend.connections == 1)
  }

  @Test func eventsComeInTheBackEndsVersion() throws {
    let backend = try ScriptedBackend { request in
      request.prefix(2) == [2, 0] ? bytes(Self.unknownVersion) : bytes(Self.event)
    }
    let events = try BackendEvents(path: backend.path)
    let event = events.next()
    #expect(event == Self.status)
    #expect(backend.heard.last == bytes("01000700"))
  }

  @Test func aNewerBackEndIsRefusedInOneLine() throws {
    let backend = try ScriptedBackend { _ in bytes("0300020147000000") }
    let client = BackendClient(path: backend.path)
    let refusal = #expect(throws: BackendError.self) { try client.domains() }
    #expect(refusal?.kind == .unavailable && refusal?.errno == EPROTONOSUPPORT)
    #expect(refusal?.operation.contains("version 3") == true && refusal?.operation.contains("install") == true)
    #expect(refusal?.operation.contains("\n") == false)
  }
}

/// The bytes that hexadecimal digits say.
private func bytes(_ digits: String) -> [UInt8] {
  let digits = Array(digits)
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16)! }
}
