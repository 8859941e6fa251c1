import Testing
import Xen

@testable import Backends

@Suite struct ControlMessageTests {
  private typealias Request = ControlProtocol.Request
  private typealias Reply = ControlProtocol.Reply

  private static let handle = DomainHandle(Array(0xa0...0xaf))!
  private static let key = ControlProtocol.DomainKey(domain: DomainID(rawValue: 0x0102), handle: handle)
  private static let status = ControlProtocol.Status(
    key: key, status: 1, acknowledged: 0x0403_0201, vifs: [0, 9, 14],
    brokenVifs: [
      ControlProtocol.BrokenVif(slot: 0, reason: .rings),
      ControlProtocol.BrokenVif(slot: 9, reason: .unmappedFrame),
      ControlProtocol.BrokenVif(slot: 14, reason: .rings),
    ])

  private static let requests: [Request] = [
    .attach(key, vifs: []),
    .attach(
      key,
      vifs: [
        ControlProtocol.Vif(slot: 0, windowFrames: 64, features: 0x1_2000_8000),
        ControlProtocol.Vif(slot: 14, windowFrames: 4096, features: .max),
      ], partial: true),
    .detach(key),
    .rename(key, to: DomainHandle(Array(0x10...0x1f))!),
    .attachVif(key, ControlProtocol.Vif(slot: 14, windowFrames: 64, features: 0x1_2000_8000)),
    .detachVif(key, slot: 14),
    .resetVif(key, slot: 3), .own,
    .setFeatures(key, slot: 3, features: 0x1_2000_8003),
    .console(key, follow: true, input: false),
    .console(key, follow: false, input: true),
    .powerctl(key, bits: 0x8000_0001),
    .list(from: .dom0),
    .subscribe,
  ]

  private static let replies: [Reply] = [
    .done, .failed(errno: 19, message: "domain 7 is not served"), .failed(errno: -1, message: ""),
    .domains([]), .domains([status, status]),
  ]

  @Test(arguments: requests)
  func requestsComeBackAsTheyWereSent(request: ControlProtocol.Request) throws {
    #expect(try Request(decoding: #require(request.encoded())) == request)
  }

  @Test(arguments: replies)
  func repliesComeBackAsTheyWereSent(reply: ControlProtocol.Reply) throws {
    #expect(try Reply(decoding: reply.encoded()) == reply)
  }

  @Test func anEventComesBackAsItWasSent() throws {
    #expect(try ControlProtocol.Event(decodingEvent: Self.status.encodedEvent()) == Self.status)
  }

  @Test func anAttachIsTheseBytes() {
    let expected: [UInt8] =
      [0x02, 0, 0x01, 0, 0x02, 0x01] + Array(0xa0...0xaf) + [
        0x00,  // all of it or nothing
        0x01,  // one vif
        0x02, 0x40, 0, 0, 0, 0x03, 0x80, 0, 0x20, 0x01, 0, 0, 0,
      ]
    let vif = ControlProtocol.Vif(slot: 2, windowFrames: 64, features: 0x1_2000_8003)
    #expect(Request.attach(Self.key, vifs: [vif]).encoded() == expected)
  }

  @Test func anEventIsTheseBytes() {
    #expect(
      Self.status.encodedEvent()
        == [0x02, 0, 0x01, 0x02, 0x02, 0x01] + Array(0xa0...0xaf) + [0x01, 0, 0, 0, 0x01, 0x02, 0x03, 0x04]
        // Vifs 0, 9 and 14: 9 has unmapped frames, none was not started, the rings of 0 and 14 are broken.
        + [0x01, 0x42, 0x00, 0x02, 0x00, 0x00, 0x01, 0x40])
  }

  @Test func aVifIsBrokenForOneReasonAndHasASlot() {
    let sound = Self.status.encodedEvent().dropLast(6)
    for masks: [UInt8] in [[1, 0, 1, 0, 0, 0], [0, 0x80, 0, 0, 0, 0], [0, 2, 0, 0, 0, 2]] {
      #expect(throws: ControlMessageError.self) { try ControlProtocol.Event(decodingEvent: sound + masks) }
    }
  }

  @Test(arguments: requests)
  func everyTruncationAndEveryTailOfARequestIsRefused(request: ControlProtocol.Request) throws {
    let bytes = try #require(request.encoded())
    for length in 0..<bytes.count {
      #expect(throws: ControlMessageError.self) { try Request(decoding: Array(bytes[..<length])) }
    }
    #expect(throws: ControlMessageError.self) { try Request(decoding: bytes + [0]) }
  }

  @Test func everyTruncationOfAReplyIsRefused() {
    for reply in [Reply.done, .domains([]), .domains([Self.status, Self.status])] {
      let bytes = reply.encoded()
      for length in 0..<bytes.count {
        #expect(throws: ControlMessageError.self) { try Reply(decoding: Array(bytes[..<length])) }
      }
      #expect(throws: ControlMessageError.self) { try Reply(decoding: bytes + [0]) }
    }
    // A failure's words end where the message does; its number must be whole.
    let failure = Reply.failed(errno: 19, message: "no").encoded()
    for length in 0..<8 {
      #expect(throws: ControlMessageError.self) { try Reply(decoding: Array(failure[..<length])) }
    }
    let event = Self.status.encodedEvent()
    for length in 0..<event.count {
      #expect(throws: ControlMessageError.self) {
        try ControlProtocol.Event(decodingEvent: Array(event[..<length]))
      }
    }
  }

  @Test func otherVersionsAndTypesAreRefused() {
    #expect(throws: ControlMessageError.self) { try Request(decoding: [1, 0, 7, 0]) }
    #expect(throws: ControlMessageError.self) { try Request(decoding: [3, 0, 7, 0]) }
    #expect(throws: ControlMessageError.self) { try Reply(decoding: [0, 0, 1, 1]) }
    #expect(throws: ControlMessageError.self) { try Reply(decoding: [3, 0, 1, 1]) }
    #expect(throws: ControlMessageError.self) { try Request(decoding: [2, 0, 0, 0]) }
    #expect(throws: ControlMessageError.self) { try Request(decoding: [2, 0, 8, 0]) }
    #expect(throws: ControlMessageError.self) { try Request(decoding: Reply.done.encoded()) }
    #expect(throws: ControlMessageError.self) { try Reply(decoding: [2, 0, 7, 0]) }
    #expect(throws: ControlMessageError.self) { try Reply(decoding: Self.status.encodedEvent()) }
    #expect(throws: ControlMessageError.self) { try ControlProtocol.Event(decodingEvent: Reply.done.encoded()) }
    // A flag is 0 or 1.
    #expect(throws: ControlMessageError.self) {
      try Request(decoding: [2, 0, 4, 0, 7, 0] + Self.handle.octets + [2, 0])
    }
  }

  @Test func theLongestRepliesFitAMessage() {
    let full = Reply.domains([ControlProtocol.Status](repeating: Self.status, count: 1000))
    #expect(full.encoded().count <= ControlProtocol.maxMessage)
    let failure = Reply.failed(errno: 5, message: String(repeating: "x", count: 100_000))
    #expect(failure.encoded().count == 8 + 1024)
  }

  @Test func noBytesTrap() {
    var noise = Noise(seed: 3)
    var sound = Self.requests.compactMap { $0.encoded() }
    for version in ControlProtocol.Version.allCases {
      sound += Self.replies.map { $0.encoded(for: version) } + [Self.status.encodedEvent(for: version)]
    }
    var read = 0
    for round in 0..<50_000 {
      var bytes = sound[round % sound.count]
      for _ in 0..<Int.random(in: 1...3, using: &noise) {
        bytes[Int.random(in: 0..<bytes.count, using: &noise)] = UInt8.random(in: 0...255, using: &noise)
      }
      if round % 5 == 0 { bytes.removeLast(Int.random(in: 0...bytes.count, using: &noise)) }
      if let request = try? Request(decoding: bytes) {
        read += 1
        if request.encoded() != bytes { Issue.record("\(request) is not \(bytes)") }
      }
      if (try? Reply(decoding: bytes)) != nil { read += 1 }
      if (try? ControlProtocol.Event(decodingEvent: bytes)) != nil { read += 1 }
    }
    #expect(read > 1000)
  }
}
