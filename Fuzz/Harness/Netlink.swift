import CNetlink
import Glibc
import NetworkAddresses

@testable import VirtualLAN

extension Target {
  static let netlink = Target(name: "netlink", seeds: datagrams, longest: 1024) { bytes in
    guard let replies = try? NetlinkReply.parse(Array(bytes)) else { return }
    expect(replies.count <= bytes.count / 16, "\(replies.count) messages in \(bytes.count) bytes")
    for reply in replies { check(reply.content) }
  }

  /// A table that is read ends its FORWARD within its bytes. The first byte says whose the table is, the next 84 are
  /// its description.
  static let iptables = Target(name: "iptables", seeds: tables, longest: 1024) { bytes in
    guard bytes.count > LegacyTable.Info.size, let first = bytes.first else { return }
    let info = Array(bytes[1...LegacyTable.Info.size])
    let entries = Array(bytes[(LegacyTable.Info.size + 1)...])
    guard LegacyTable(info: info, entries: entries, isIPv6: first & 1 == 1) != nil else { return }
    let policy = info[LegacyTable.Info.policy...].prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
    expect(policy + 148 <= entries.count, "a policy at \(policy) of \(entries.count) bytes")
  }
}

/// What is read is what such a thing can be.
private func check(_ content: NetlinkReply.Content) {
  switch content {
  case .link(let link), .linkRemoved(let link):
    expect(InterfaceName(bytes: link.name.bytes) == link.name, "\(link)")
  case .address(let address), .addressRemoved(let address):
    expect(IPInterface(address.address.description) == address.address, "\(address) does not come back")
  case .route(let route), .routeRemoved(let route):
    expect(route.destination.map { IPInterface($0.description) == $0 } ?? true, "\(route) does not come back")
  case .forwarding(let entry), .forwardingRemoved(let entry):
    expect((entry.scope == .master) == (entry.master != nil), "\(entry)")
    // What is heard of can be said.
    _ = RouteRequest.addForwarding(entry, mode: .replace)
  case .chain(let chain):
    expect((chain.table + chain.name).utf8.allSatisfy { $0 >= 0x20 }, "\(chain) is more than one line")
  case .acknowledgement(let code, let words), .done(let code, let words):
    expect(code >= 0 && words?.utf8.allSatisfy { $0 >= 0x20 } ?? true, "\(code) \(words ?? "")")
  case .filter, .rule, .other:
    break
  }
}

// MARK: - Seeds

private let datagrams: [[UInt8]] = {
  let mac: [UInt8] = [2, 0x16, 0x3e, 1, 2, 3]
  let tap = link("vif1.0", kind: "tun")
  let vxlan = link("vxlan100", kind: "vxlan") { info in
    info.nest(IFLA_INFO_DATA) { data in
      data.append(IFLA_VXLAN_ID, integer: UInt32(100))
      data.append(IFLA_VXLAN_LOCAL, [10, 0, 0, 1])
      data.append(IFLA_VXLAN_PORT, integer: UInt16(4789).bigEndian)
      data.append(IFLA_VXLAN_LEARNING, [1])
    }
    info.append(IFLA_INFO_SLAVE_KIND, text: Array("bridge".utf8))
    info.nest(IFLA_INFO_SLAVE_DATA) { $0.append(IFLA_BRPORT_LEARNING, [0]) }
  }
  let address = message(RTM_NEWADDR, [2, 24, 0x80, 0, 3, 0, 0, 0]) { message in
    message.append(IFA_ADDRESS, [10, 0, 0, 1])
    message.append(IFA_LOCAL, [10, 0, 0, 1])
    message.append(IFA_FLAGS, integer: UInt32(0x80))
  }
  let route = message(RTM_NEWROUTE, [2, 0, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0]) { message in
    message.append(Int(RTA_OIF.rawValue), integer: UInt32(3))
    message.append(Int(RTA_GATEWAY.rawValue), [10, 0, 0, 254])
    message.append(Int(RTA_PRIORITY.rawValue), integer: UInt32(100))
    message.nest(Int(RTA_METRICS.rawValue)) { $0.append(RTAX_MTU, integer: UInt32(1400)) }
    message.nest(Int(RTA_MULTIPATH.rawValue)) { hops in
      hops.append(contentsOf: [16, 0, 0, 0, 4, 0, 0, 0])
      hops.append(Int(RTA_GATEWAY.rawValue), [10, 1, 0, 254])
    }
  }
  let neighbours = [RTM_NEWNEIGH, RTM_DELNEIGH].map { type in
    message(type, [7, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0x12, 0]) { message in
      message.append(NDA_LLADDR, mac)
      message.append(type == RTM_NEWNEIGH ? NDA_DST : NDA_MASTER, [10, 0, 0, 2])
    }
  }
  let refusal = message(
    2, flags: 0x300, little(Int32(-22)) + [UInt8](repeating: 0, count: 16)
  ) { $0.append(1, text: Array("no such".utf8)) }
  let done = message(3, little(Int32(0)))
  return [tap, vxlan, address, route, refusal, tap + vxlan + done] + neighbours + [chain, rule]
}()

private func message(
  _ type: Int, flags: CInt = 2, _ header: [UInt8], _ attributes: (inout NetlinkMessageBuilder) -> Void = { _ in }
) -> [UInt8] {
  var message = NetlinkMessageBuilder(type: type, flags: flags)
  message.append(contentsOf: header)
  attributes(&message)
  return message.bytes
}

private func link(
  _ name: String, kind: String, _ more: (inout NetlinkMessageBuilder) -> Void = { _ in }
) -> [UInt8] {
  message(RTM_NEWLINK, [0, 0, 1, 0, 5, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0]) { message in
    message.append(IFLA_IFNAME, text: Array(name.utf8))
    message.append(IFLA_MTU, integer: UInt32(1450))
    message.append(IFLA_MASTER, integer: UInt32(4))
    message.append(IFLA_GROUP, integer: UInt32(0x6300_0064))
    message.append(IFLA_ADDRESS, [2, 0x16, 0x3e, 1, 2, 3])
    message.append(IFLA_STATS64, [UInt8](repeating: 0, count: 64))
    message.nest(IFLA_LINKINFO) { info in
      info.append(IFLA_INFO_KIND, text: Array(kind.utf8))
      more(&info)
    }
  }
}

private let chain = message(NetfilterMessage.type(NFT_MSG_NEWCHAIN), [2, 0, 0, 1]) { message in
  message.append(Int(NFTA_CHAIN_TABLE.rawValue), text: Array("filter".utf8))
  message.append(Int(NFTA_CHAIN_NAME.rawValue), text: Array("FORWARD".utf8))
  message.nest(Int(NFTA_CHAIN_HOOK.rawValue)) {
    $0.append(Int(NFTA_HOOK_HOOKNUM.rawValue), integer: UInt32(2).bigEndian)
  }
  message.append(Int(NFTA_CHAIN_POLICY.rawValue), integer: UInt32(0))
}

private let rule = message(NetfilterMessage.type(NFT_MSG_NEWRULE), [2, 0, 0, 1]) { message in
  message.nest(Int(NFTA_RULE_EXPRESSIONS.rawValue)) { expressions in
    expressions.nest(Int(NFTA_LIST_ELEM.rawValue)) { expression in
      expression.append(Int(NFTA_EXPR_NAME.rawValue), text: Array("match".utf8))
      expression.nest(Int(NFTA_EXPR_DATA.rawValue)) {
        $0.append(Int(NFTA_MATCH_NAME.rawValue), text: Array("physdev".utf8))
      }
    }
  }
}

/// One rule with a match in FORWARD, and its policy.
private let tables: [[UInt8]] = [false, true].map { isIPv6 in
  let addresses = [UInt8](repeating: 0, count: (isIPv6 ? 136 : 84) + 4)
  let counters = [UInt8](repeating: 0, count: isIPv6 ? 24 : 20)
  let match = little(UInt16(32)) + Array("physdev".utf8) + [UInt8](repeating: 0, count: 23)
  let target = little(UInt16(40)) + [UInt8](repeating: 0, count: 30) + little(Int32(-1)) + [0, 0, 0, 0]
  func entry(_ match: [UInt8]) -> [UInt8] {
    let start = addresses.count + 4 + counters.count + match.count
    return addresses + little(UInt16(start)) + little(UInt16(start + target.count)) + counters + match + target
  }
  var info = [UInt8](repeating: 0, count: LegacyTable.Info.size)
  info.overwrite(at: LegacyTable.Info.policy, with: UInt32(entry(match).count))
  return [isIPv6 ? 1 : 0] + info + entry(match) + entry([])
}
