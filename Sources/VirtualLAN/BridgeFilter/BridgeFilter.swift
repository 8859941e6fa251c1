import CNetlink
import Glibc
import StateFiles

/// Whether the host's packet filter drops what bridges forward.
///
/// A bridge forwards by Ethernet address alone, but two things may step in: chains of the filter's bridge family, and
/// br_netfilter, which shows bridged packets to the IP filters as if the host routed them. A host that runs
/// containers commonly drops all it was not told to route, and then guests on one bridge do not hear each other,
/// without a word from anybody.
///
/// What chains drop by rule is not looked for, nor is what later rules make of a packet.
public enum BridgeFilter {
  /// One line for each obstacle, with what to do about it; none where bridged frames pass. Of the calling thread's
  /// network namespace. Loads no module of the kernel's.
  ///
  /// - Throws: `NetlinkError.call`, `NetlinkError.refused`, `NetlinkError.malformedAnswer`.
  public static func findings() throws(NetlinkError) -> [String] {
    let handedOver = HandedOver(
      ipv4: isSet("/proc/sys/net/bridge/bridge-nf-call-iptables"),
      ipv6: isSet("/proc/sys/net/bridge/bridge-nf-call-ip6tables"))
    return findings(handedOver, dropping: try droppingChains(handedOver))
  }

  /// Which packets br_netfilter hands over.
  struct HandedOver: Hashable {
    var ipv4: Bool
    var ipv6: Bool
  }

  /// A chain that drops every forwarded packet which no rule of its own accepts.
  enum DroppingChain: Hashable {
    /// Of iptables or ip6tables, in either of their two kernels' guises.
    case iptables(isIPv6: Bool)
    case nftables(family: NetfilterFamily, table: String, chain: String)
  }

  static func findings(_ handedOver: HandedOver, dropping chains: [DroppingChain]) -> [String] {
    var findings: [String] = []
    // The same chain may be there in both guises.
    for finding in chains.compactMap({ $0.finding(handedOver) }) where !findings.contains(finding) {
      findings.append(finding)
    }
    return findings
  }

  private static func droppingChains(_ handedOver: HandedOver) throws(NetlinkError) -> [DroppingChain] {
    var chains = try nftablesChains()
    if handedOver.ipv4, try LegacyTable.filter(isIPv6: false)?.dropsBridged == true {
      chains.append(.iptables(isIPv6: false))
    }
    if handedOver.ipv6, try LegacyTable.filter(isIPv6: true)?.dropsBridged == true {
      chains.append(.iptables(isIPv6: true))
    }
    return chains
  }

  private static func nftablesChains() throws(NetlinkError) -> [DroppingChain] {
    guard hasNftables else { return [] }
    do {
      var socket = try NetfilterSocket()
      var chains: [DroppingChain] = []
      for chain in try socket.chains() where chain.dropsForwarded {
        // Whoever looks at bridge ports there was told of this.
        if try socket.rules(of: chain).contains(where: \.looksAtBridgePorts) { continue }
        chains.append(DroppingChain(chain))
      }
      return chains
    } catch {
      // A kernel without netfilter, or without nftables.
      if let code = error.code, [EPROTONOSUPPORT, EINVAL, EOPNOTSUPP].contains(code) { return [] }
      throw error
    }
  }

  /// Asking for tables would load the module. A kernel that lists no modules has it built in, or never.
  private static var hasNftables: Bool {
    access("/proc/modules", F_OK) != 0 || access("/sys/module/nf_tables", F_OK) == 0
  }

  private static func isSet(_ path: String) -> Bool {
    KernelFile.text(path)?.hasPrefix("1") == true
  }
}

extension BridgeFilter.DroppingChain {
  /// The chains that the tools called iptables make in nftables are known by their names.
  init(_ chain: NetfilterChain) {
    let isIptables = chain.table == "filter" && chain.name == "FORWARD"
    self =
      switch chain.family {
      case .ipv4 where isIptables: .iptables(isIPv6: false)
      case .ipv6 where isIptables: .iptables(isIPv6: true)
      default: .nftables(family: chain.family, table: chain.table, chain: chain.name)
      }
  }

  /// Nil when no bridged packet gets there.
  fileprivate func finding(_ handedOver: BridgeFilter.HandedOver) -> String? {
    switch self {
    case .iptables(let isIPv6):
      guard isIPv6 ? handedOver.ipv6 : handedOver.ipv4 else { return nil }
      let tool = isIPv6 ? "ip6tables" : "iptables"
      return "br_netfilter hands LAN frames to \(tool), whose FORWARD policy is DROP: "
        + "sysctl -w net.bridge.bridge-nf-call-\(tool)=0, or accept them "
        + "(\(tool) -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT)"
    case .nftables(.bridge, let table, let chain):
      return "nftables' chain '\(chain)' of table 'bridge \(table)' drops LAN frames: accept them there, "
        + "or give it the policy accept"
    case .nftables(let family, let table, let chain):
      let settings = Self.settings(family, handedOver)
      guard !settings.isEmpty else { return nil }
      return "br_netfilter hands LAN frames to nftables, whose chain '\(chain)' of table '\(family) \(table)' "
        + "drops what it does not accept: sysctl -w \(settings.joined(separator: " ")), or accept them there"
    }
  }

  /// What turns handing over to a family's chains off, where it is on.
  private static func settings(_ family: NetfilterFamily, _ handedOver: BridgeFilter.HandedOver) -> [String] {
    var settings: [String] = []
    if handedOver.ipv4, family == .ipv4 || family == .inet {
      settings.append("net.bridge.bridge-nf-call-iptables=0")
    }
    if handedOver.ipv6, family == .ipv6 || family == .inet {
      settings.append("net.bridge.bridge-nf-call-ip6tables=0")
    }
    return settings
  }
}
