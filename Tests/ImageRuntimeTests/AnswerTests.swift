import Testing

@testable import ImageProtocols

@Suite struct AnswerTests {
  @Test(arguments: [
    (Frames.ping, Frames.pingAnswer),
    (Frames.echo, Frames.echoAnswer),
    (Frames.daytime, Frames.daytimeAnswer),
    (Frames.ping6, Frames.ping6Answer),
    (Frames.echo6, Frames.echo6Answer),
    (Frames.solicitation, Frames.advertisement),
    (Frames.probe, Frames.probeAnswer),
  ])
  func answersByteForByte(frame: [UInt8], expected: [UInt8]) {
    #expect(answer(frame) == expected)
    #expect(answer(frame + [1, 2, 3]) == expected, "with padding after the packet")
  }

  @Test func requestForOurAddressIsAnswered() {
    let request = dump(
      """
      ffff ffff ffff  02ca fe00 0001  0806
      0001 0800 0604 0001
      02ca fe00 0001 0a07 0001  0000 0000 0000 0a07 0002
      """)
    let reply = dump(
      """
      02ca fe00 0001  02ca fe00 0005  0806
      0001 0800 0604 0002
      02ca fe00 0005 0a07 0002  02ca fe00 0001 0a07 0001
      """)
    #expect(answer(request) == reply)
    #expect(answer(request.with(28, 0, 0, 0, 0)) != nil, "a probe for the address")
    #expect(answer(request.with(28, 10, 7, 0, 2)) == nil, "somebody claims the address")
    #expect(answer(request.with(41, 3)) == nil, "for somebody else")
    #expect(answer(request.with(21, 2)) == nil, "a reply")
    #expect(answer(request.with(18, 8)) == nil, "other address lengths")
    #expect(answer(request.with(0, 2, 0, 0, 0, 0, 1)) == nil, "not to us")
    #expect(answer(request.with(6, 3)) == nil, "from a group")
  }

  @Test func announcementIsAnARPRequestForOneself() {
    let memory = Memory([], capacity: 42)
    #expect(ARP.announce(guest.ipv4!, at: guest.mac, in: memory.bytes) == 42)
    #expect(
      memory.prefix(42)
        == dump(
          """
          ffff ffff ffff  02ca fe00 0005  0806
          0001 0800 0604 0001
          02ca fe00 0005 0a07 0002  0000 0000 0000 0a07 0002
          """))
    #expect(ARP.announce(guest.ipv4!, at: guest.mac, in: Memory([], capacity: 41).bytes) == nil)
  }

  @Test func guestWithoutAddressesIsSilent() {
    let silent = HostAddresses(mac: guest.mac, mtu: 1500, ipv4: nil, ipv6: nil)
    for frame in [Frames.ping, Frames.echo, Frames.ping6, Frames.solicitation] {
      #expect(answer(frame, as: silent) == nil)
    }
  }

  @Test func wrongIPv4HeadersGetNoAnswer() {
    let ping = Frames.ping
    #expect(answer(ping.with(24, 0)) == nil, "checksum")
    #expect(answer(ping.with(14, 0x55).withHeaderChecksum) == nil, "version")
    #expect(answer(ping.with(14, 0x44).withHeaderChecksum) == nil, "header too short")
    #expect(answer(ping.with(14, 0x4f)) == nil, "header longer than the packet")
    #expect(answer(ping.with(17, 0x24).withHeaderChecksum) == nil, "longer than the frame")
    #expect(answer(ping.with(17, 19).withHeaderChecksum) == nil, "shorter than its header")
    #expect(answer(ping.with(20, 0x20).withHeaderChecksum) == nil, "first fragment")
    #expect(answer(ping.with(21, 1).withHeaderChecksum) == nil, "later fragment")
    #expect(answer(ping.with(33, 3).withHeaderChecksum) == nil, "to somebody else")
    #expect(answer(ping.with(29, 2).withHeaderChecksum) == nil, "from ourselves")
    #expect(answer(ping.with(26, 224).withHeaderChecksum) == nil, "from a group")
    #expect(answer(ping.with(26, 255, 255, 255, 255).withHeaderChecksum) == nil, "from all")
    #expect(answer(ping.with(26, 127).withHeaderChecksum) == nil, "from a loopback")
    #expect(answer(ping.with(0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)) == nil, "broadcast")
    #expect(answer(ping.with(23, 6).withHeaderChecksum) == nil, "another protocol")
  }

  @Test func optionsAreNotSentBack() {
    var frame = Frames.ping
    frame.insert(contentsOf: [1, 1, 1, 0], at: 34)
    frame = frame.with(14, 0x46).with(17, frame[17] + 4).withHeaderChecksum
    #expect(answer(frame) == Frames.pingAnswer)
  }

  @Test func transportChecksumsCountUnlessVouchedFor() {
    let last = Frames.echo.count - 1
    for frame in [Frames.ping, Frames.echo, Frames.ping6, Frames.echo6] {
      #expect(answer(frame.with(frame.count - 1, 0xee)) == nil)
    }
    // A datagram that never was on a wire carries only its pseudo-header's sum.
    let partial = Frames.echo.with(40, 0x12, 0x34)
    #expect(answer(partial, vouched: true) == Frames.echoAnswer)
    // UDP over IPv4 may go without, over IPv6 it may not.
    #expect(answer(Frames.echo.with(40, 0, 0)) == Frames.echoAnswer)
    #expect(answer(Frames.echo6.with(60, 0, 0)) == nil)
    #expect(answer(Frames.echo.with(40, 0, 0).with(last, 0x21)) != nil)
  }

  @Test func wrongDatagramsGetNoAnswer() {
    let echo = Frames.echo.with(40, 0, 0)
    #expect(answer(echo.with(38, 0, 7)) == nil, "shorter than its header")
    #expect(answer(echo.with(38, 0, 14)) == nil, "longer than its packet")
    #expect(answer(echo.with(36, 0, 9)) == nil, "nobody listens")
    for port: UInt8 in [0, 7, 13, 17, 19, 37] {
      #expect(answer(echo.with(34, 0, port)) == nil, "from port \(port), which answers by itself")
    }
    let small = HostAddresses(mac: guest.mac, mtu: 40, ipv4: guest.ipv4, ipv6: nil)
    #expect(answer(Frames.daytime, as: small) == nil, "an answer larger than the MTU")
  }

  @Test func wrongSolicitationsGetNoAnswer() {
    #expect(answer(Frames.lyingProbe) == nil)
    #expect(answer(Frames.farSolicitation) == nil)
    #expect(answer(Frames.endlessOption) == nil)
    #expect(answer(Frames.solicitation.with(77, 3)) == nil, "checksum")
  }

  @Test(arguments: [
    Frames.ping, Frames.echo, Frames.daytime, Frames.ping6, Frames.echo6, Frames.solicitation,
    Frames.probe,
  ])
  func truncatedFramesGetNoAnswer(frame: [UInt8]) {
    for length in 0..<frame.count {
      #expect(answer(Array(frame[..<length])) == nil)
    }
  }

  @Test func noFrameTraps() {
    var noise = Noise(seed: 1)
    let seeds = [
      Frames.ping, Frames.echo, Frames.daytime, Frames.ping6, Frames.echo6, Frames.solicitation,
      Frames.probe,
    ]
    let memory = Memory([], capacity: 200)
    var service = EchoService()
    for round in 0..<100_000 {
      var frame = seeds[round % seeds.count]
      for _ in 0..<Int.random(in: 0...4, using: &noise) {
        frame[Int.random(in: 12..<frame.count, using: &noise)] = UInt8.random(
          in: 0...255, using: &noise)
      }
      // Headers stay believable often enough to get past the first check.
      if round % 2 == 0, frame[12] == 8, frame[14] & 15 >= 5, frame.count >= 74 {
        frame = frame.withHeaderChecksum
      }
      for (offset, byte) in frame.enumerated() { memory.bytes.setByte(offset, byte) }
      let length = Ethernet.answer(
        memory.bytes, length: Int.random(in: 0...200, using: &noise),
        checksumVouched: Bool.random(using: &noise), as: guest, service: &service)
      #expect((length ?? 0) <= 200)
    }
    #expect(memory.isGuardIntact)
    #expect(!service.ports.isEmpty)
  }
}
