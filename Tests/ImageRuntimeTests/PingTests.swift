import CDevicePage
import Testing

@testable import ImageProtocols

private let peer = IPv4Address(value: 0x0a07_0001)
private let peerMAC = MACAddress(value: 0x02ca_fe00_0001)
private let route = Route(host: guest, nextHop: peer)
private let second: UInt64 = 1_000_000_000
private let millisecond: UInt64 = 1_000_000

private func words(_ text: String) -> Words { Words(Memory(Array(text.utf8)).bytes) }

private func settings(_ text: String) throws -> PingSettings? {
  try PingSettings(words(text), largestSize: 1994)
}

private func pinger(_ text: String) throws -> Pinger {
  Pinger(try #require(try settings(text)))
}

private func text(_ write: (inout TextWriter) -> Void) -> String {
  let memory = Memory([], capacity: 120)
  var writer = TextWriter(memory.bytes)
  write(&writer)
  return String(decoding: memory.prefix(writer.count), as: UTF8.self)
}

extension Pinger {
  /// The frame of a step, as it goes out.
  fileprivate mutating func frame(_ step: Step, at now: UInt64) -> [UInt8]? {
    let memory = Memory([], capacity: 2036)
    let length = write(step, at: now, in: memory.bytes)
    #expect(memory.isGuardIntact)
    return length.map(memory.prefix)
  }

  /// The frame of the next request.
  fileprivate mutating func request(at now: UInt64) throws -> [UInt8] {
    let request = frame(.ask, at: now)
    return try #require(request)
  }

  /// The news in a frame that has some.
  fileprivate mutating func news(in frame: [UInt8], at now: UInt64) throws -> Event {
    let event = hear(frame, at: now)
    return try #require(event)
  }

  fileprivate mutating func hear(_ frame: [UInt8], at now: UInt64) -> Event? {
    observe(Memory(frame).bytes, checksumVouched: false, as: guest, at: now)
  }
}

/// The reply of the guest's peer: the request turned around by the code that answers.
private func reply(to request: [UInt8]) -> [UInt8]? {
  answer(request, as: HostAddresses(mac: peerMAC, mtu: 1500, ipv4: peer, ipv6: nil))
}

private let arpReply = dump(
  """
  02ca fe00 0005  02ca fe00 0001  0806
  0001 0800 0604 0002
  02ca fe00 0001 0a07 0001  02ca fe00 0005 0a07 0002
  """)

/// What a station at 10.7.0.1 says went wrong with a packet of the guest's.
private func error(type: UInt8, code: UInt8, rest: UInt32 = 0, quoting request: [UInt8], quoted: Int = 28)
  -> [UInt8]
{
  let quote = request[14...].prefix(quoted)
  let length = 28 + quote.count
  let head = dump(
    """
    02ca fe00 0005  02ca fe00 0001  0800
    4500 0000 0000 4000 4001 0000 0a07 0001 0a07 0002
    0000 0000 0000 0000
    """)
  let memory = Memory(head + quote)
  memory.bytes.setBig16(16, UInt16(length))
  memory.bytes.setBig32(38, rest)
  memory.bytes.setByte(34, type)
  memory.bytes.setByte(35, code)
  memory.bytes.setBig16(36, Checksum.finish(memory.bytes.internetSum(from: 34, length: length - 20)))
  return memory.prefix(14 + length).withHeaderChecksum
}

@Suite struct PingSettingsTests {
  @Test func commandLineSaysWhatToPing() throws {
    let plain = try #require(try settings("ping=10.7.0.1"))
    #expect(plain.target == peer)
    #expect(plain.count == 0 && plain.size == 56 && plain.interval == 200 * millisecond)
    #expect(!plain.mayFragment)
    let full = try #require(
      try settings("quiet  df=no ping=10.7.0.1 count=5 size=1994 interval=1 ping=10.7.0.9"))
    #expect(full.target == peer, "the first counts")
    #expect(full.count == 5 && full.size == 1994 && full.interval == millisecond)
    #expect(full.mayFragment)
    #expect(try settings("") == nil)
    #expect(try settings("shipping=10.7.0.1 ping count=1") == nil)
  }

  @Test(arguments: [
    ("ping=", "ping=: not an IPv4 address of a host"),
    ("ping=10.7.0", "ping=10.7.0: not an IPv4 address of a host"),
    ("ping=10.7.0.1.", "ping=10.7.0.1.: not an IPv4 address of a host"),
    ("ping=10.7.0.256", "ping=10.7.0.256: not an IPv4 address of a host"),
    ("ping=10..0.1", "ping=10..0.1: not an IPv4 address of a host"),
    ("ping=224.0.0.1", "ping=224.0.0.1: not an IPv4 address of a host"),
    ("ping=10.7.0.1 size=1995", "size=1995: not a number from 0 to 1994"),
    ("ping=10.7.0.1 count=-1", "count=-1: not a number from 0 to 1000000000"),
    (
      "ping=10.7.0.1 count=99999999999999999999999",
      "count=99999999999999999999999: not a number from 0 to 1000000000"
    ),
    ("ping=10.7.0.1 interval=0", "interval=0: not a number from 1 to 3600000"),
    ("ping=10.7.0.1 df=maybe", "df=maybe: not yes or no"),
  ])
  func wrongValueIsNamed(line: String, complaint: String) throws {
    let defect = try #require(throws: PingSettings.Defect.self) { try settings(line) }
    #expect(text { $0.write(defect, in: words(line)) } == complaint)
  }
}

@Suite struct PingerTests {
  @Test func requestIsWrittenByteForByte() throws {
    let memory = Memory([], capacity: 51)
    let name = Echo.Name(target: peer, identifier: 5, sequence: 7)
    #expect(
      Echo.ask(name, size: 9, mayFragment: false, via: peerMAC, as: guest, in: memory.bytes) == 51)
    #expect(
      memory.prefix(51)
        == dump(
          """
          02ca fe00 0001  02ca fe00 0005  0800
          4500 0025 0000 4000 4001 26c8 0a07 0002 0a07 0001
          0800 e3e3 0005 0007
          0001 0203 0405 0607 08
          """))
    #expect(
      Echo.ask(name, size: 10, mayFragment: false, via: peerMAC, as: guest, in: memory.bytes) == nil)
    #expect(
      Echo.ask(name, size: -1, mayFragment: false, via: peerMAC, as: guest, in: memory.bytes) == nil)
    #expect(memory.isGuardIntact)
    _ = Echo.ask(name, size: 9, mayFragment: true, via: peerMAC, as: guest, in: memory.bytes)
    #expect(memory.bytes.big16(20) == 0, "may be broken up")
    #expect(memory.bytes.big16(18) == 7, "and put together again")
  }

  @Test func resolvesAsksAndCounts() throws {
    var pinger = try pinger("ping=10.7.0.1 count=2")
    #expect(pinger.step(at: second, via: route) == .resolve)
    #expect(
      pinger.frame(.resolve, at: second)
        == dump(
          """
          ffff ffff ffff  02ca fe00 0005  0806
          0001 0800 0604 0001
          02ca fe00 0005 0a07 0002  0000 0000 0000 0a07 0001
          """))
    #expect(pinger.step(at: second, via: route) == .wait(until: 2 * second))
    #expect(pinger.hear(arpReply, at: second) == nil)
    #expect(pinger.step(at: second, via: route) == .ask)
    let request = try pinger.request(at: second)
    #expect(request.count == 98)
    #expect(pinger.step(at: second, via: route) == .wait(until: second + 200 * millisecond))

    let answer = try #require(reply(to: request))
    let event = try pinger.news(in: answer, at: second + 1_234_567)
    #expect(text { $0.write(event) } == "64 bytes from 10.7.0.1: seq=1 time=1.2 ms")
    #expect(pinger.hear(answer, at: 2 * second) == nil, "the same again")

    #expect(pinger.step(at: 2 * second, via: route) == .ask)
    let last = try pinger.request(at: 2 * second)
    #expect(pinger.step(at: 2 * second, via: route) == .wait(until: 3 * second), "for the last reply")
    let turned = try #require(reply(to: last))
    _ = try pinger.news(in: turned, at: 2 * second)
    #expect(pinger.step(at: 2 * second, via: route) == .summarize)
    #expect(pinger.step(at: 9 * second, via: route) == .wait(until: nil))
    #expect(text { $0.write(pinger.summary) } == "2 sent, 2 received, 0 errors")
  }

  @Test func lostReplyIsWaitedForInVain() throws {
    var pinger = try asking("ping=10.7.0.1 count=1")
    #expect(pinger.step(at: 2 * second - 1, via: route) == .wait(until: 2 * second))
    #expect(pinger.step(at: 2 * second, via: route) == .summarize)
    #expect(pinger.summary == Pinger.Summary(sent: 1, received: 0, errors: 0))
  }

  @Test func unansweredARPIsAnError() throws {
    var pinger = try pinger("ping=10.7.0.1 count=2")
    for attempt in 1...2 as ClosedRange<UInt64> {
      #expect(pinger.step(at: attempt * second, via: route) == .resolve)
      #expect(pinger.frame(.resolve, at: attempt * second) != nil)
      #expect(pinger.step(at: (attempt + 1) * second, via: route) == .unresolved(peer))
    }
    #expect(pinger.step(at: 3 * second, via: route) == .summarize)
    #expect(pinger.summary == Pinger.Summary(sent: 2, received: 0, errors: 2))
    #expect(text { $0.write(Pinger.Event.unresolved(peer)) } == "10.7.0.1 does not answer ARP")
  }

  @Test func summaryComesEvery25Requests() throws {
    var pinger = try asking("ping=10.7.0.1 interval=1")
    for number in 1..<25 as Range<UInt64> {
      let now = second + number * millisecond
      #expect(pinger.step(at: now, via: route) == .ask)
      #expect(pinger.frame(.ask, at: now) != nil)
    }
    #expect(pinger.step(at: 2 * second, via: route) == .summarize)
    #expect(pinger.step(at: 2 * second, via: route) == .ask)
  }

  @Test func sequenceNumbersGoRound() throws {
    var pinger = try asking("ping=10.7.0.1 interval=1")
    for number in 1..<70_000 as Range<UInt64> {
      let now = second + number * millisecond
      if pinger.step(at: now, via: route) == .summarize { _ = pinger.step(at: now, via: route) }
      let request = try pinger.request(at: now)
      guard number % 1000 == 0 || (65_530...65_540).contains(number) else { continue }
      let turned = try #require(reply(to: request))
      _ = try pinger.news(in: turned, at: now)
    }
    #expect(pinger.summary.sent == 70_000)
  }

  @Test func silentNextHopIsLookedForAnew() throws {
    var pinger = try asking("ping=10.7.0.1 interval=1")
    for number in 1...10 as ClosedRange<UInt64> {
      _ = pinger.frame(.ask, at: second + number * millisecond)
    }
    #expect(pinger.step(at: 5 * second, via: route) == .ask)
    #expect(pinger.step(at: 6 * second, via: route) == .resolve)
  }

  @Test func otherRouteIsResolvedAnew() throws {
    var pinger = try asking("ping=10.7.0.1")
    let gateway = Route(host: guest, nextHop: IPv4Address(value: 0x0a07_00fe))
    #expect(pinger.step(at: 2 * second, via: gateway) == .resolve)
  }

  @Test(
    arguments: [
      (3, 4, 0x0000_05aa, "from 10.7.0.1: frag needed and DF set (mtu = 1450)"),
      (3, 1, 0, "from 10.7.0.1: unreachable (code 1)"),
      (11, 0, 0, "from 10.7.0.1: time exceeded"),
      (12, 0, 0x1400_0000, "from 10.7.0.1: ICMP type 12 code 0"),
    ] as [(UInt8, UInt8, UInt32, String)])
  func errorsAreTold(type: UInt8, code: UInt8, rest: UInt32, line: String) throws {
    var pinger = try pinger("ping=10.7.0.1")
    let request = try resolve(&pinger)
    let frame = error(type: type, code: code, rest: rest, quoting: request)
    let event = try pinger.news(in: frame, at: second)
    #expect(text { $0.write(event) } == line)
    #expect(pinger.hear(frame, at: second) == nil, "an error of a request that is done with")
    #expect(pinger.summary == Pinger.Summary(sent: 1, received: 0, errors: 1))
  }

  @Test func errorsOfOtherPacketsAreNot() throws {
    var pinger = try pinger("ping=10.7.0.1")
    let request = try resolve(&pinger)
    let refused = { (frame: [UInt8]) in pinger.hear(frame, at: second) == nil }
    #expect(refused(error(type: 3, code: 1, quoting: request, quoted: 27)), "cut short")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(14, 0x4f))), "options beyond its end")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(14, 0x65))), "not IPv4")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(23, 17))), "UDP")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(29, 9))), "from somebody else")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(33, 9))), "to somebody else")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(34, 0))), "a reply")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(38, 9))), "of another pinger")
    #expect(refused(error(type: 3, code: 1, quoting: request.with(41, 9))), "never sent")
    #expect(refused(error(type: 5, code: 1, quoting: request)), "a redirect")
    #expect(refused(error(type: 3, code: 1, quoting: request).with(36, 0, 0)), "checksum")
    #expect(!refused(error(type: 3, code: 1, quoting: request)))
  }

  @Test func otherRepliesAreNot() throws {
    var pinger = try pinger("ping=10.7.0.1")
    let request = try resolve(&pinger)
    let answer = try #require(reply(to: request))
    #expect(pinger.hear(request, at: second) == nil, "our own")
    #expect(pinger.hear(answer.with(29, 9).withHeaderChecksum, at: second) == nil, "from somebody else")
    #expect(pinger.hear(answer.with(60, 0xff), at: second) == nil, "checksum")
    #expect(pinger.hear(answer.with(24, 0), at: second) == nil, "header checksum")
    let short = try #require(
      reply(to: try resolvedRequest("ping=10.7.0.1 size=55")))
    #expect(pinger.hear(short, at: second) == nil, "another size")
    let elsewhere = HostAddresses(
      mac: MACAddress(value: 0x02ca_fe00_0006), mtu: 1500, ipv4: guest.ipv4, ipv6: nil)
    #expect(
      pinger.observe(Memory(answer).bytes, checksumVouched: false, as: elsewhere, at: second) == nil,
      "by another vif")
    #expect(pinger.hear(answer, at: second) != nil)
  }

  @Test func onlyTheNextHopIsLearned() throws {
    let wrong: [([UInt8], String)] = [
      (arpReply.with(31, 9), "somebody else's"),
      (arpReply.with(0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "a reply to all"),
      (arpReply.with(41, 9), "for somebody else"),
      (arpReply.with(22, 3), "a group's"),
      (arpReply.with(22, 0, 0, 0, 0, 0, 0), "nobody's"),
      (arpReply.with(21, 3), "another operation"),
      (Array(arpReply.dropLast()), "cut short"),
    ]
    for (frame, what) in wrong {
      var pinger = try pinger("ping=10.7.0.1")
      _ = pinger.step(at: second, via: route)
      _ = pinger.hear(frame, at: second)
      #expect(pinger.step(at: second, via: route) == .resolve, "\(what)")
    }
    var pinger = try pinger("ping=10.7.0.1")
    _ = pinger.step(at: second, via: route)
    let announcement = Memory([], capacity: 42)
    _ = ARP.announce(peer, at: peerMAC, in: announcement.bytes)
    _ = pinger.hear(announcement.prefix(42), at: second)
    #expect(pinger.step(at: second, via: route) == .ask, "an announcement is news too")
  }

  @Test func noFrameTraps() throws {
    var noise = Noise(seed: 3)
    var pinger = try pinger("ping=10.7.0.1")
    let request = try resolve(&pinger)
    let answer = try #require(reply(to: request))
    let seeds = [answer, error(type: 3, code: 4, rest: 1450, quoting: request), arpReply, request]
    var events = 0
    for round in 0..<50_000 {
      var frame = seeds[round % seeds.count]
      for _ in 0..<Int.random(in: 0...3, using: &noise) {
        frame[Int.random(in: 12..<frame.count, using: &noise)] = UInt8.random(in: 0...255, using: &noise)
      }
      if round % 2 == 0, frame[12] == 8, frame[14] & 15 >= 5, frame.count >= 74 {
        frame = frame.withHeaderChecksum
      }
      let memory = Memory(Array(frame.prefix(Int.random(in: 0...200, using: &noise))))
      // Each round starts from a request that is outstanding.
      var copy = pinger
      let event = copy.observe(
        memory.bytes, checksumVouched: Bool.random(using: &noise), as: guest, at: second)
      if let event {
        events += 1
        _ = text { $0.write(event) }
      }
      #expect(memory.isGuardIntact)
    }
    #expect(events > 0)
  }

  /// Brings a pinger to its first request, at one second; returns that.
  private func resolve(_ pinger: inout Pinger) throws -> [UInt8] {
    _ = pinger.step(at: second, via: route)
    _ = pinger.hear(arpReply, at: second)
    return try pinger.request(at: second)
  }

  private func asking(_ line: String) throws -> Pinger {
    var pinger = try pinger(line)
    _ = try resolve(&pinger)
    return pinger
  }

  private func resolvedRequest(_ line: String) throws -> [UInt8] {
    var pinger = try pinger(line)
    return try resolve(&pinger)
  }
}
