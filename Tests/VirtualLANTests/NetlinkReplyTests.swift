import NetworkAddresses
import Testing
import VirtualLAN

/// What the kernel sends, byte by byte (little-endian machines).
@Suite struct NetlinkReplyTests {
  /// RTM_NEWLINK for a tap in a bridge, in a dump.
  static let link: [UInt8] = [
    0x60, 0, 0, 0,  // nlmsghdr: length 96
    0x10, 0, 0x02, 0,  // type RTM_NEWLINK, flags NLM_F_MULTI
    0x07, 0, 0, 0,  // sequence 7
    0x39, 0x30, 0, 0,  // port 12345
    0, 0, 0x01, 0,  // ifinfomsg: family, type ARPHRD_ETHER
    0x05, 0, 0, 0,  // index 5
    0x43, 0x10, 0x01, 0,  // flags: up, broadcast, running, multicast, lower up
    0, 0, 0, 0,  // change
    0x0b, 0, 0x03, 0,  // IFLA_IFNAME, length 11
    0x76, 0x69, 0x66, 0x31, 0x2e, 0x30, 0, 0,  // "vif1.0", its NUL, padding
    0x08, 0, 0x04, 0,  // IFLA_MTU
    0xaa, 0x05, 0, 0,  // 1450
    0x08, 0, 0x0a, 0,  // IFLA_MASTER
    0x04, 0, 0, 0,  // 4
    0x0a, 0, 0x01, 0,  // IFLA_ADDRESS, length 10
    0x02, 0x16, 0x3e, 0x01, 0x02, 0x03, 0, 0,  // padding behind
    0x10, 0, 0x12, 0x80,  // IFLA_LINKINFO, nested, length 16
    0x08, 0, 0x01, 0,  // IFLA_INFO_KIND
    0x74, 0x75, 0x6e, 0,  // "tun"
    0x04, 0, 0x02, 0,  // IFLA_INFO_DATA, empty
    0x08, 0, 0xff, 0x3f,  // an attribute from the future
    1, 2, 3, 4,
  ]

  /// NLMSG_ERROR, capped, with the kernel's words.
  static let refusal: [UInt8] = [
    0x34, 0, 0, 0,  // length 52
    0x02, 0, 0x00, 0x03,  // NLMSG_ERROR, flags NLM_F_CAPPED | NLM_F_ACK_TLVS
    0x08, 0, 0, 0,  // sequence 8
    0x39, 0x30, 0, 0,
    0xea, 0xff, 0xff, 0xff,  // -EINVAL
    0x40, 0, 0, 0, 0x13, 0, 0x05, 0, 0x08, 0, 0, 0, 0, 0, 0, 0,  // the request's header
    0x0e, 0, 0x01, 0,  // NLMSGERR_ATTR_MSG, length 14
    0x6e, 0x6f, 0x0a, 0x73, 0x75, 0x63, 0x68, 0x20, 0x6f, 0, 0, 0,  // "no\nsuch o"
  ]

  /// NLMSG_DONE of an interrupted dump.
  static let done: [UInt8] = [
    0x14, 0, 0, 0, 0x03, 0, 0x12, 0, 0x07, 0, 0, 0, 0x39, 0x30, 0, 0, 0, 0, 0, 0,
  ]

  @Test func aLinkIsRead() throws {
    let replies = try NetlinkReply.parse(Self.link)
    let reply = try #require(replies.first)
    #expect(replies.count == 1 && reply.sequence == 7 && !reply.isInterrupted)
    guard case .link(let link) = reply.content else {
      Issue.record("\(reply) is no link")
      return
    }
    #expect(link.index.rawValue == 5)
    #expect(link.name == InterfaceName("vif1.0"))
    #expect(link.mtu == 1450)
    #expect(link.isUp && link.flags.contains(.running))
    #expect(link.master?.rawValue == 4)
    #expect(link.address == MACAddress("02:16:3e:01:02:03"))
    #expect(link.kind == .tun && !link.isBridge)
  }

  @Test func aRefusalIsRead() throws {
    #expect(
      try NetlinkReply.parse(Self.refusal).map(\.content)
        == [.acknowledgement(code: 22, message: "no?such o")])
  }

  @Test func aRefusalThatRepeatsTheRequestIsRead() throws {
    var bytes = Self.refusal
    bytes[7] = 0x02  // not capped
    bytes[20] = 0x14  // the request was 20 bytes long,
    bytes.insert(contentsOf: [0xff, 0xff, 0xff, 0xff], at: 36)  // and here are its last 4.
    bytes[0] += 4
    #expect(
      try NetlinkReply.parse(bytes).map(\.content)
        == [.acknowledgement(code: 22, message: "no?such o")])
  }

  @Test func aDatagramHoldsSeveralMessages() throws {
    let replies = try NetlinkReply.parse(Self.link + Self.refusal + Self.link + Self.done)
    #expect(replies.count == 4)
    #expect(replies[3].content == .done(code: 0, message: nil))
    #expect(replies.map(\.isInterrupted) == [false, false, false, true])
    #expect(replies[0] == replies[2])
  }

  @Test func otherMessagesAreLeftAlone() throws {
    var bytes = Self.link
    bytes[4] = 0x58  // RTM_NEWNSID
    #expect(try NetlinkReply.parse(bytes).map(\.content) == [.other(type: 0x58)])
    #expect(try NetlinkReply.parse([]).isEmpty)
  }

  @Test func everyTruncationIsRefused() {
    for message in [Self.link, Self.refusal, Self.done] {
      for length in 1..<message.count {
        #expect(throws: NetlinkFormatError.self) {
          try NetlinkReply.parse(Array(message[..<length]))
        }
      }
    }
  }

  @Test(arguments: [
    (0, 0x0f, "message gives its length as 15 of 96 bytes"),
    (0, 0x00, "message gives its length as 0 of 96 bytes"),
    (0, 0x61, "message gives its length as 97 of 96 bytes"),
    (20, 0x00, "interface index has an impossible value"),
    (32, 0x03, "attribute 3 gives its length as 3 of 64 bytes"),
    (32, 0x41, "attribute 3 gives its length as 65 of 64 bytes"),
    (34, 0x7f, "name of interface 5 has an impossible value"),
    (36, 0x20, "name of interface 5 has an impossible value"),
    (44, 0x07, "attribute 4 needs 4 bytes, 3 are left"),
    (76, 0x0d, "attribute 1 gives its length as 13 of 12 bytes"),
    (76, 0x03, "attribute 1 gives its length as 3 of 12 bytes"),
  ])
  func badBytesAreNamed(offset: Int, byte: UInt8, words: String) throws {
    var bytes = Self.link
    bytes[offset] = byte
    let error = try #require(throws: NetlinkFormatError.self) { try NetlinkReply.parse(bytes) }
    #expect(error.description == words)
  }

  @Test func anErrorBelowEveryErrnoIsRefused() {
    var bytes = Self.refusal
    bytes.replaceSubrange(16..<20, with: [0, 0, 0, 0x80])
    #expect(throws: NetlinkFormatError.badValue(what: "error code")) {
      try NetlinkReply.parse(bytes)
    }
  }

  /// The same bytes at every run: what fails once fails always.
  @Test func noBytesTrap() {
    var random = SplitMix(state: 0x6368_616f_73)
    let messages = [Self.link + Self.refusal + Self.done + Self.link] + NetlinkMessages.all
    var read = 0
    var refused = 0
    for _ in 0..<50_000 {
      var bytes = messages.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        mutate(&bytes, using: &random)
      }
      do {
        _ = try NetlinkReply.parse(bytes)
        read += 1
      } catch {
        refused += 1
      }
    }
    // Mutations that never, or always, break the message would show nothing.
    #expect(read > 1000 && refused > 1000)
  }

  private func mutate(_ bytes: inout [UInt8], using random: inout SplitMix) {
    guard !bytes.isEmpty else { return }
    let position = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<5, using: &random) {
    case 0: bytes[position] = UInt8.random(in: .min ... .max, using: &random)
    case 1: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes[position] = [0, 1, 3, 4, 15, 16, 0x7f, 0x80, 0xff].randomElement(using: &random)!
    case 3: bytes.remove(at: position)
    default: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: position)
    }
  }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014).
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
