import CNetlink

/// NFPROTO_* of linux/netfilter.h: whose packets a table is for.
public struct NetfilterFamily: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt8

  public init(rawValue: UInt8) {
    self.rawValue = rawValue
  }

  /// IPv4 and IPv6.
  public static let inet = NetfilterFamily(rawValue: 1)
  public static let ipv4 = NetfilterFamily(rawValue: 2)
  public static let bridge = NetfilterFamily(rawValue: 7)
  public static let ipv6 = NetfilterFamily(rawValue: 10)

  /// As nft(8) calls it.
  public var description: String {
    switch self {
    case .inet: "inet"
    case .ipv4: "ip"
    case .bridge: "bridge"
    case .ipv6: "ip6"
    default: "family \(rawValue)"
    }
  }
}

/// A chain of nftables.
public struct NetfilterChain: Hashable, Sendable {
  public let family: NetfilterFamily
  public let table: String
  public let name: String
  /// Which packets pass through it (NF_INET_*, NF_BR_*); nil for a chain that only others jump to.
  public let hook: UInt32?
  /// What becomes of packets about which no rule decides: NF_DROP or NF_ACCEPT.
  public let policy: UInt32?

  /// NF_INET_FORWARD (linux/netfilter.h) and NF_BR_FORWARD (linux/netfilter_bridge.h).
  private static let forward: UInt32 = 2
  /// NF_DROP (linux/netfilter.h).
  private static let drop: UInt32 = 0

  var dropsForwarded: Bool {
    hook == Self.forward && policy == Self.drop && [.inet, .ipv4, .ipv6, .bridge].contains(family)
  }
}

/// A rule of nftables, as far as it concerns bridges.
public struct NetfilterRule: Hashable, Sendable {
  /// It asks by which port of a bridge a packet came or goes: iptables' `physdev`.
  public let looksAtBridgePorts: Bool
}

// MARK: - Requests

extension RouteRequest {
  /// Asks for every chain of nftables.
  static var allChains: RouteRequest {
    let message = NetlinkMessageBuilder(netfilter: NFT_MSG_GETCHAIN, family: 0)
    return RouteRequest(operation: "list", subject: "chains of nftables", message: message.bytes)
  }

  /// Asks for the rules of a chain.
  static func allRules(of chain: NetfilterChain) -> RouteRequest {
    var message = NetlinkMessageBuilder(netfilter: NFT_MSG_GETRULE, family: chain.family.rawValue)
    message.append(Int(NFTA_RULE_TABLE.rawValue), text: Array(chain.table.utf8))
    message.append(Int(NFTA_RULE_CHAIN.rawValue), text: Array(chain.name.utf8))
    return RouteRequest(
      operation: "list", subject: "rules of nftables' chain '\(chain.name)'", message: message.bytes)
  }
}

extension NetlinkMessageBuilder {
  /// A request to list that opens with `struct nfgenmsg` (linux/netfilter/nfnetlink.h): family, version, resource.
  fileprivate init(netfilter type: nf_tables_msg_types, family: UInt8) {
    self.init(type: NetfilterMessage.type(type), flags: NLM_F_DUMP)
    append(contentsOf: [family, UInt8(NFNETLINK_V0), 0, 0])
  }
}

enum NetfilterMessage {
  /// Subsystem and message share a number.
  static func type(_ type: nf_tables_msg_types) -> Int {
    Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue)
  }

  /// The size of `struct nfgenmsg`.
  static let headerSize = 4
}

// MARK: - Replies

extension NetfilterChain {
  /// Reads `struct nfgenmsg` and NFTA_CHAIN_* (linux/netfilter/nf_tables.h), whose integers are in network order.
  init(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = NetfilterMessage.headerSize
    guard let family: UInt8 = payload.integer(at: 0), payload.byteCount >= headerSize else {
      throw .truncated(what: "chain", needed: headerSize, left: payload.byteCount)
    }
    var table = ""
    var name = ""
    var hook: UInt32?
    var policy: UInt32?
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      switch UInt32(attribute.type) {
      case NFTA_CHAIN_TABLE.rawValue: table = attribute.printableText
      case NFTA_CHAIN_NAME.rawValue: name = attribute.printableText
      case NFTA_CHAIN_HOOK.rawValue: hook = try Self.number(inHook: attribute.payload)
      case NFTA_CHAIN_POLICY.rawValue: policy = UInt32(bigEndian: try attribute.integer())
      default: break
      }
    }
    self.init(
      family: NetfilterFamily(rawValue: family), table: table, name: name, hook: hook, policy: policy)
  }

  private static func number(inHook hook: RawSpan) throws(NetlinkFormatError) -> UInt32? {
    var attributes = NetlinkAttributes(hook)
    while let attribute = try attributes.next() {
      if UInt32(attribute.type) == NFTA_HOOK_HOOKNUM.rawValue {
        return UInt32(bigEndian: try attribute.integer())
      }
    }
    return nil
  }
}

extension NetfilterRule {
  /// Reads `struct nfgenmsg` and NFTA_RULE_* (linux/netfilter/nf_tables.h). A match of iptables' is an expression called
  /// "match" that holds the match's name (linux/netfilter/nf_tables_compat.h).
  init(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = NetfilterMessage.headerSize
    guard payload.byteCount >= headerSize else {
      throw .truncated(what: "rule", needed: headerSize, left: payload.byteCount)
    }
    var looksAtBridgePorts = false
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    while let attribute = try attributes.next() {
      guard UInt32(attribute.type) == NFTA_RULE_EXPRESSIONS.rawValue else { continue }
      var expressions = NetlinkAttributes(attribute.payload)
      while let expression = try expressions.next() {
        if try Self.match(inExpression: expression.payload) == Array("physdev".utf8) { looksAtBridgePorts = true }
      }
    }
    self.init(looksAtBridgePorts: looksAtBridgePorts)
  }

  /// The name of the match, where the expression is one.
  private static func match(inExpression expression: RawSpan) throws(NetlinkFormatError) -> [UInt8]? {
    var isMatch = false
    var name: [UInt8]?
    var attributes = NetlinkAttributes(expression)
    while let attribute = try attributes.next() {
      switch UInt32(attribute.type) {
      case NFTA_EXPR_NAME.rawValue: isMatch = attribute.text == Array("match".utf8)
      // Other expressions' data have other numbers: the name comes first.
      case NFTA_EXPR_DATA.rawValue where isMatch: name = try Self.name(inMatch: attribute.payload)
      default: break
      }
    }
    return name
  }

  private static func name(inMatch match: RawSpan) throws(NetlinkFormatError) -> [UInt8]? {
    var attributes = NetlinkAttributes(match)
    while let attribute = try attributes.next() {
      if UInt32(attribute.type) == NFTA_MATCH_NAME.rawValue { return attribute.text }
    }
    return nil
  }
}

// MARK: - Socket

/// A NETLINK_NETFILTER socket, to ask about nftables. It speaks to the network namespace of the thread that made it.
struct NetfilterSocket: ~Copyable {
  private var socket: RouteSocket

  /// - Throws: `NetlinkError.call`.
  init() throws(NetlinkError) {
    socket = try RouteSocket(protocol: NETLINK_NETFILTER)
  }

  mutating func chains() throws(NetlinkError) -> [NetfilterChain] {
    try socket.list(.allChains) { if case .chain(let chain) = $0 { chain } else { nil } }
  }

  mutating func rules(of chain: NetfilterChain) throws(NetlinkError) -> [NetfilterRule] {
    try socket.list(.allRules(of: chain)) { if case .rule(let rule) = $0 { rule } else { nil } }
  }
}
