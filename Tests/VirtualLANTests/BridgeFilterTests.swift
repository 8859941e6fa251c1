import CNetlink
import Foundation
import Glibc
import Testing

@testable import VirtualLAN

@Suite struct BridgeFilterTests {
  private static let handsOver = BridgeFilter.HandedOver(ipv4: true, ipv6: true)
  private static let nothing = BridgeFilter.HandedOver(ipv4: false, ipv6: false)

  @Test func iptablesIsNamedWithItsRemedy() {
    let words =
      "br_netfilter hands LAN frames to iptables, whose FORWARD policy is DROP: "
      + "sysctl -w net.bridge.bridge-nf-call-iptables=0, or accept them "
      + "(iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT)"
    let chain = BridgeFilter.DroppingChain.iptables(isIPv6: false)
    #expect(BridgeFilter.findings(Self.handsOver, dropping: [chain, chain]) == [words])
    #expect(
      BridgeFilter.findings(Self.handsOver, dropping: [.iptables(isIPv6: true)])
        == [words.replacing("iptables", with: "ip6tables")])
    #expect(BridgeFilter.findings(Self.nothing, dropping: [chain]) == [])
    let six = BridgeFilter.HandedOver(ipv4: false, ipv6: true)
    #expect(BridgeFilter.findings(six, dropping: [chain]) == [])
  }

  @Test func nftablesIsNamedWithItsRemedy() {
    let chain = BridgeFilter.DroppingChain.nftables(family: .inet, table: "filter", chain: "forward")
    #expect(
      BridgeFilter.findings(Self.handsOver, dropping: [chain]) == [
        "br_netfilter hands LAN frames to nftables, whose chain 'forward' of table 'inet filter' drops what it does "
          + "not accept: sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, "
          + "or accept them there"
      ])
    #expect(BridgeFilter.findings(Self.nothing, dropping: [chain]) == [])
    // With br_netfilter or without.
    let own = BridgeFilter.DroppingChain.nftables(family: .bridge, table: "guard", chain: "forward")
    #expect(
      BridgeFilter.findings(Self.nothing, dropping: [own]) == [
        "nftables' chain 'forward' of table 'bridge guard' drops LAN frames: accept them there, "
          + "or give it the policy accept"
      ])
  }

  @Test func aHostThatFiltersNothing() async throws {
    try await NetworkNamespace.run {
      let findings = try BridgeFilter.findings()
      #expect(findings == [])
    }
  }

  @Test func chainsOfNftablesAreFound() async throws {
    try await NetworkNamespace.run {
      try set("iptables", "1")
      try set("ip6tables", "0")
      // Not a policy of dropping, not what is forwarded, not handed over.
      try Nftables.add(family: .ipv4, chain: "accepting", policy: 1)
      try Nftables.add(family: .ipv4, chain: "input", hook: 1)
      try Nftables.add(family: .ipv6, chain: "FORWARD")
      #expect(try BridgeFilter.findings() == [])
      try Nftables.add(family: .ipv4, chain: "FORWARD")
      let first = try BridgeFilter.findings()
      #expect(first.count == 1 && first[0].hasPrefix("br_netfilter hands LAN frames to iptables, whose "))
      try Nftables.add(family: .inet, chain: "forward")
      #expect(try BridgeFilter.findings().count == 2)
      try Nftables.add(family: .bridge, chain: "forward")
      #expect(try BridgeFilter.findings().count == 3)
      try set("iptables", "0")
      #expect(
        try BridgeFilter.findings() == [
          "nftables' chain 'forward' of table 'bridge filter' drops LAN frames: accept them there, "
            + "or give it the policy accept"
        ])
    }
  }

  @Test func aRuleAboutBridgePortsSettlesIt() async throws {
    try await NetworkNamespace.run {
      try set("iptables", "1")
      try Nftables.add(family: .ipv4, chain: "FORWARD")
      #expect(try BridgeFilter.findings().count == 1)
      try Nftables.addPhysdevRule(chain: "FORWARD")
      #expect(try BridgeFilter.findings() == [])
    }
  }

  @Test(arguments: [false, true])
  func tablesOfIptablesAreFound(isIPv6: Bool) async throws {
    try await NetworkNamespace.run {
      try set("iptables", "1")
      try set("ip6tables", "1")
      #expect(try LegacyTable.filter(isIPv6: isIPv6) == nil)
      try LegacyBytes.replaceFilter(isIPv6: isIPv6, policy: LegacyBytes.accept)
      #expect(
        try LegacyTable.filter(isIPv6: isIPv6) == LegacyTable(dropsForwarded: false, looksAtBridgePorts: false))
      #expect(try BridgeFilter.findings() == [])
      try LegacyBytes.replaceFilter(isIPv6: isIPv6, policy: LegacyBytes.drop)
      let findings = try BridgeFilter.findings()
      #expect(findings.count == 1 && findings[0].contains(isIPv6 ? "call-ip6tables=0" : "call-iptables=0"))
      try LegacyBytes.replaceFilter(isIPv6: isIPv6, policy: LegacyBytes.drop, hasPhysdev: true)
      #expect(
        try LegacyTable.filter(isIPv6: isIPv6) == LegacyTable(dropsForwarded: true, looksAtBridgePorts: true))
      #expect(try BridgeFilter.findings() == [])
    }
  }

  @Test func tablesOfIptablesAreReadWhole() {
    for isIPv6 in [false, true] {
      let table = LegacyBytes(isIPv6: isIPv6, policy: LegacyBytes.drop, hasPhysdev: true)
      #expect(
        LegacyTable(info: table.info, entries: table.entries, isIPv6: isIPv6)
          == LegacyTable(dropsForwarded: true, looksAtBridgePorts: true))
      #expect(LegacyTable(info: [], entries: table.entries, isIPv6: isIPv6) == nil)
      // Up to the policy of FORWARD all is needed, nothing behind.
      let needed = table.offsets[3]
      for length in 0...table.entries.count {
        let read = LegacyTable(info: table.info, entries: Array(table.entries[..<length]), isIPv6: isIPv6)
        #expect((read != nil) == (length >= needed), "\(length) of \(needed)")
      }
    }
  }

  @Test func noBytesOfATableTrap() {
    let table = LegacyBytes(isIPv6: false, policy: LegacyBytes.drop, hasPhysdev: true)
    var read = 0
    for position in table.entries.indices {
      for byte: UInt8 in [0, 1, 31, 0x7f, 0x80, 0xff] {
        var entries = table.entries
        entries[position] = byte
        if LegacyTable(info: table.info, entries: entries, isIPv6: false) != nil { read += 1 }
      }
    }
    for position in table.info.indices {
      for byte: UInt8 in [0, 1, 0x7f, 0xff] {
        var info = table.info
        info[position] = byte
        if LegacyTable(info: info, entries: table.entries, isIPv6: false) != nil { read += 1 }
      }
    }
    #expect(read > 1000)
  }

}

/// Whether br_netfilter hands packets over.
private func set(_ tool: String, _ value: String) throws {
  try Data(value.utf8).write(to: URL(fileURLWithPath: "/proc/sys/net/bridge/bridge-nf-call-\(tool)"))
}

/// Adds to nftables, as its own tools would.
private enum Nftables {
  /// A chain at a hook, in a table called "filter" that is made where it is not there yet.
  static func add(family: NetfilterFamily, chain: String, hook: UInt32 = 2, policy: UInt32 = 0) throws {
    var table = message(NFT_MSG_NEWTABLE, family)
    table.append(Int(NFTA_TABLE_NAME.rawValue), text: Array("filter".utf8))
    var request = message(NFT_MSG_NEWCHAIN, family)
    request.append(Int(NFTA_CHAIN_TABLE.rawValue), text: Array("filter".utf8))
    request.append(Int(NFTA_CHAIN_NAME.rawValue), text: Array(chain.utf8))
    request.nest(Int(NFTA_CHAIN_HOOK.rawValue)) {
      $0.append(Int(NFTA_HOOK_HOOKNUM.rawValue), integer: hook.bigEndian)
      $0.append(Int(NFTA_HOOK_PRIORITY.rawValue), integer: UInt32(0))
    }
    request.append(Int(NFTA_CHAIN_TYPE.rawValue), text: Array("filter".utf8))
    request.append(Int(NFTA_CHAIN_POLICY.rawValue), integer: policy.bigEndian)
    try send([table, request])
  }

  /// `-m physdev --physdev-is-bridged`, as iptables-nft writes it.
  static func addPhysdevRule(chain: String) throws {
    var rule = message(NFT_MSG_NEWRULE, .ipv4)
    rule.append(Int(NFTA_RULE_TABLE.rawValue), text: Array("filter".utf8))
    rule.append(Int(NFTA_RULE_CHAIN.rawValue), text: Array(chain.utf8))
    rule.nest(Int(NFTA_RULE_EXPRESSIONS.rawValue)) { expressions in
      expressions.nest(Int(NFTA_LIST_ELEM.rawValue)) { expression in
        expression.append(Int(NFTA_EXPR_NAME.rawValue), text: Array("match".utf8))
        expression.nest(Int(NFTA_EXPR_DATA.rawValue)) { match in
          match.append(Int(NFTA_MATCH_NAME.rawValue), text: Array("physdev".utf8))
          match.append(Int(NFTA_MATCH_REV.rawValue), integer: UInt32(0))
          match.append(Int(NFTA_MATCH_INFO.rawValue), LegacyBytes.physdev)
        }
      }
    }
    try send([rule])
  }

  private static func message(_ type: nf_tables_msg_types, _ family: NetfilterFamily) -> NetlinkMessageBuilder {
    var message = NetlinkMessageBuilder(type: NetfilterMessage.type(type), flags: NLM_F_CREATE | NLM_F_ACK)
    message.append(contentsOf: [family.rawValue, 0, 0, 0])
    return message
  }

  /// Sends messages as one transaction; the kernel answers each.
  private static func send(_ messages: [NetlinkMessageBuilder]) throws {
    func border(_ type: CInt) -> [UInt8] {
      var message = NetlinkMessageBuilder(type: Int(type))
      message.append(contentsOf: [0, 0, 0, UInt8(NFNL_SUBSYS_NFTABLES)])
      return message.bytes
    }
    let socket = try Descriptor.netlinkSocket(NETLINK_NETFILTER, receiveBufferSize: 1 << 16)
    let packet = border(NFNL_MSG_BATCH_BEGIN) + messages.flatMap(\.bytes) + border(NFNL_MSG_BATCH_END)
    #expect(Glibc.send(socket.rawValue, packet, packet.count, 0) == packet.count)
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    for _ in messages {
      let size = recv(socket.rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT))
      try #require(size > 0)
      for reply in try NetlinkReply.parse(Array(buffer[..<size])) {
        #expect(reply.content == .acknowledgement(code: 0, message: nil))
      }
    }
  }
}

/// The `filter` table of iptables, written as the kernel reads it (struct ipt_replace and what it holds).
struct LegacyBytes {
  static let accept: Int32 = -2
  static let drop: Int32 = -1

  /// `struct xt_physdev_info` of --physdev-is-bridged.
  static let physdev = [UInt8](repeating: 0, count: 65) + [4, 0, 0, 0, 0, 0, 0]

  let isIPv6: Bool
  private(set) var entries: [UInt8] = []
  /// Where INPUT, FORWARD's rules, FORWARD's policy, OUTPUT and the end's mark are.
  private(set) var offsets: [Int] = []

  var headerSize: Int { isIPv6 ? 168 : 112 }

  init(isIPv6: Bool, policy: Int32, hasPhysdev: Bool = false) {
    self.isIPv6 = isIPv6
    add(verdict: Self.accept)
    if hasPhysdev {
      add(verdict: Self.accept, match: Self.named("physdev", size: 32 + Self.physdev.count) + Self.physdev)
    } else {
      offsets.append(entries.count)
    }
    add(verdict: policy)
    add(verdict: Self.accept)
    let error = Array("ERROR".utf8) + [UInt8](repeating: 0, count: 27)
    add(match: [], target: Self.named("ERROR", size: 64) + error)
  }

  private mutating func add(verdict: Int32, match: [UInt8] = []) {
    let padded = Self.bytes(verdict) + [0, 0, 0, 0]
    add(match: match, target: Self.named("", size: 40) + padded)
  }

  private mutating func add(match: [UInt8], target: [UInt8]) {
    offsets.append(entries.count)
    let targetOffset = headerSize + match.count
    // struct ipt_ip, struct ip6t_ip6.
    let addressesSize = isIPv6 ? 136 : 84
    entries += [UInt8](repeating: 0, count: addressesSize)
    entries +=
      Self.bytes(UInt32(0)) + Self.bytes(UInt16(targetOffset)) + Self.bytes(UInt16(targetOffset + target.count))
    entries += [UInt8](repeating: 0, count: headerSize - addressesSize - 8) + match + target
  }

  /// `struct xt_entry_match`, `struct xt_entry_target`.
  private static func named(_ name: String, size: Int) -> [UInt8] {
    bytes(UInt16(size)) + Array(name.utf8) + [UInt8](repeating: 0, count: 30 - name.utf8.count)
  }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value) { Array($0) }
  }

  /// The five hooks of IPv4 and IPv6, of which this table has INPUT, FORWARD and OUTPUT.
  private var hooks: [UInt8] {
    let starts = [0, offsets[0], offsets[1], offsets[3], 0].flatMap { Self.bytes(UInt32($0)) }
    let policies = [0, offsets[0], offsets[2], offsets[3], 0].flatMap { Self.bytes(UInt32($0)) }
    return starts + policies
  }

  private var count: Int { Set(offsets).count }

  var info: [UInt8] {
    let name = Array("filter".utf8) + [UInt8](repeating: 0, count: 26)
    return name + Self.bytes(UInt32(0b1110)) + hooks + Self.bytes(UInt32(count)) + Self.bytes(UInt32(entries.count))
  }

  /// Puts it into this thread's namespace.
  static func replaceFilter(isIPv6: Bool, policy: Int32, hasPhysdev: Bool = false) throws {
    let table = LegacyBytes(isIPv6: isIPv6, policy: policy, hasPhysdev: hasPhysdev)
    let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
    defer { close(descriptor) }
    let level = CInt(isIPv6 ? IPPROTO_IPV6 : IPPROTO_IP)
    // Asking makes the table.
    var old = table.info
    var size = socklen_t(old.count)
    try #require(getsockopt(descriptor, level, 64, &old, &size) == 0)
    let oldCount = old[76..<80].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }

    var counters = [UInt8](repeating: 0, count: 16 * Int(oldCount))
    let result = counters.withUnsafeMutableBytes { counters in
      let replacement =
        Array(table.info[..<36]) + bytes(UInt32(table.count)) + bytes(UInt32(table.entries.count)) + table.hooks
        + bytes(oldCount) + bytes(UInt64(UInt(bitPattern: counters.baseAddress))) + table.entries
      return setsockopt(descriptor, level, 64, replacement, socklen_t(replacement.count))
    }
    try #require(result == 0, "\(String(cString: strerror(errno)))")
  }
}
