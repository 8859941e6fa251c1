/// What the kernel sends, byte by byte (little-endian machines), cut down to what is read and a bit that is not.
enum NetlinkMessages {
  /// RTM_NEWLINK for a VXLAN device in a bridge.
  static let vxlanLink: [UInt8] = [
    0xe0, 0, 0, 0,  // nlmsghdr: length 224
    0x10, 0, 0x02, 0,  // type RTM_NEWLINK, flags NLM_F_MULTI
    0x09, 0, 0, 0,  // sequence 9
    0x39, 0x30, 0, 0,  // port 12345
    0, 0, 0x01, 0,  // ifinfomsg: family, type ARPHRD_ETHER
    0x07, 0, 0, 0,  // index 7
    0x02, 0x10, 0, 0,  // flags: broadcast, multicast
    0, 0, 0, 0,  // change
    0x0d, 0, 0x03, 0,  // IFLA_IFNAME, length 13
    0x76, 0x78, 0x6c, 0x61, 0x6e, 0x31, 0x30, 0x30, 0, 0, 0, 0,  // "vxlan100", its NUL, padding
    0x08, 0, 0x1b, 0,  // IFLA_GROUP
    0x64, 0, 0, 0x63,  // 0x63000064
    0x08, 0, 0x05, 0,  // IFLA_LINK
    0x02, 0, 0, 0,  // 2
    0x5c, 0, 0x12, 0x80,  // IFLA_LINKINFO, nested, length 92
    0x0a, 0, 0x01, 0,  // IFLA_INFO_KIND, length 10
    0x76, 0x78, 0x6c, 0x61, 0x6e, 0, 0, 0,  // "vxlan", its NUL, padding
    0x24, 0, 0x02, 0x80,  // IFLA_INFO_DATA, nested, length 36
    0x08, 0, 0x01, 0,  // IFLA_VXLAN_ID
    0x64, 0, 0, 0,  // 100
    0x08, 0, 0x04, 0,  // IFLA_VXLAN_LOCAL
    10, 0, 0, 1,
    0x06, 0, 0x0f, 0,  // IFLA_VXLAN_PORT, length 6, in network order
    0x21, 0x18, 0, 0,  // 8472
    0x05, 0, 0x07, 0,  // IFLA_VXLAN_LEARNING, length 5
    0x01, 0, 0, 0,  // yes
    0x0b, 0, 0x04, 0,  // IFLA_INFO_SLAVE_KIND, length 11
    0x62, 0x72, 0x69, 0x64, 0x67, 0x65, 0, 0,  // "bridge", its NUL, padding
    0x1c, 0, 0x05, 0x80,  // IFLA_INFO_SLAVE_DATA, nested, length 28
    0x05, 0, 0x08, 0,  // IFLA_BRPORT_LEARNING, length 5
    0, 0, 0, 0,  // no
    0x05, 0, 0x09, 0,  // IFLA_BRPORT_UNICAST_FLOOD, length 5
    0x01, 0, 0, 0,  // yes
    0x05, 0, 0x21, 0,  // IFLA_BRPORT_ISOLATED, length 5
    0x01, 0, 0, 0,  // yes
    0x44, 0, 0x17, 0,  // IFLA_STATS64, length 68
    1, 0, 0, 0, 0, 0, 0, 0,  // packets received
    2, 0, 0, 0, 0, 0, 0, 0,  // and sent
    3, 0, 0, 0, 0, 0, 0, 0x80,  // bytes
    4, 0, 0, 0, 0, 0, 0, 0,
    5, 0, 0, 0, 0, 0, 0, 0,  // errors
    6, 0, 0, 0, 0, 0, 0, 0,
    7, 0, 0, 0, 0, 0, 0, 0,  // dropped
    8, 0, 0, 0, 0, 0, 0, 0,
  ]

  /// RTM_NEWADDR for an IPv4 address of a link with two ends.
  static let address: [UInt8] = [
    0x30, 0, 0, 0,  // nlmsghdr: length 48
    0x14, 0, 0x02, 0,  // type RTM_NEWADDR
    0x09, 0, 0, 0, 0x39, 0x30, 0, 0,
    0x02, 0x18, 0x80, 0,  // ifaddrmsg: AF_INET, 24 bits, permanent, scope universe
    0x03, 0, 0, 0,  // index 3
    0x08, 0, 0x01, 0,  // IFA_ADDRESS: the other end's
    10, 0, 0, 2,
    0x08, 0, 0x02, 0,  // IFA_LOCAL
    10, 0, 0, 1,
    0x08, 0, 0x08, 0,  // IFA_FLAGS
    0x81, 0, 0, 0,  // permanent, secondary
  ]

  /// RTM_NEWROUTE: the default, by way of two gateways.
  static let route: [UInt8] = [
    0x5c, 0, 0, 0,  // nlmsghdr: length 92
    0x18, 0, 0x02, 0,  // type RTM_NEWROUTE
    0x09, 0, 0, 0, 0x39, 0x30, 0, 0,
    0x02, 0, 0, 0, 0xfe, 0x10, 0, 0x01,  // rtmsg: AF_INET, 0 bits, main table, by DHCP, universe, unicast
    0, 0, 0, 0,
    0x08, 0, 0x06, 0,  // RTA_PRIORITY
    100, 0, 0, 0,
    0x08, 0, 0x07, 0,  // RTA_PREFSRC
    10, 0, 0, 1,
    0x0c, 0, 0x08, 0x80,  // RTA_METRICS, nested, length 12
    0x08, 0, 0x02, 0,  // RTAX_MTU
    0x78, 0x05, 0, 0,  // 1400
    0x24, 0, 0x09, 0,  // RTA_MULTIPATH, length 36
    0x10, 0, 0, 0, 0x03, 0, 0, 0,  // rtnexthop: length 16, interface 3
    0x08, 0, 0x05, 0, 10, 0, 0, 254,  // RTA_GATEWAY
    0x10, 0, 0, 0, 0x04, 0, 0, 0,  // rtnexthop: length 16, interface 4
    0x08, 0, 0x05, 0, 10, 1, 0, 254,  // RTA_GATEWAY
  ]

  /// RTM_NEWNEIGH for an entry of a VXLAN device that a routing daemon set.
  static let forwarding: [UInt8] = [
    0x3c, 0, 0, 0,  // nlmsghdr: length 60
    0x1c, 0, 0, 0,  // type RTM_NEWNEIGH
    0, 0, 0, 0, 0, 0, 0, 0,  // nobody's: a notification
    0x07, 0, 0, 0,  // ndmsg: AF_BRIDGE
    0x07, 0, 0, 0,  // index 7
    0x02, 0, 0x12, 0,  // NUD_REACHABLE, NTF_SELF | NTF_EXT_LEARNED
    0x0a, 0, 0x02, 0,  // NDA_LLADDR, length 10
    0x02, 0, 0, 0, 0, 0x01, 0, 0,
    0x14, 0, 0x01, 0,  // NDA_DST, length 20
    0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02,
  ]

  /// RTM_DELNEIGH for an entry of a bridge.
  static let forwardingRemoved: [UInt8] = [
    0x30, 0, 0, 0,  // nlmsghdr: length 48
    0x1d, 0, 0, 0,  // type RTM_DELNEIGH
    0, 0, 0, 0, 0, 0, 0, 0,
    0x07, 0, 0, 0,  // ndmsg: AF_BRIDGE
    0x07, 0, 0, 0,  // index 7
    0x40, 0, 0x40, 0,  // NUD_NOARP, NTF_STICKY
    0x0a, 0, 0x02, 0,  // NDA_LLADDR, length 10
    0x02, 0, 0, 0, 0, 0x01, 0, 0,
    0x08, 0, 0x09, 0,  // NDA_MASTER
    0x05, 0, 0, 0,  // 5
  ]

  /// NFT_MSG_NEWCHAIN: FORWARD of iptables-nft.
  static let chain: [UInt8] = [
    0x54, 0, 0, 0,  // nlmsghdr: length 84
    0x03, 0x0a, 0x02, 0,  // type: subsystem nftables, NFT_MSG_NEWCHAIN
    0x09, 0, 0, 0, 0x39, 0x30, 0, 0,
    0x02, 0, 0, 0x07,  // nfgenmsg: NFPROTO_IPV4, version, generation
    0x0b, 0, 0x01, 0,  // NFTA_CHAIN_TABLE, length 11
    0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0, 0,  // "filter", its NUL, padding
    0x0c, 0, 0x03, 0,  // NFTA_CHAIN_NAME
    0x46, 0x4f, 0x52, 0x57, 0x41, 0x52, 0x44, 0,  // "FORWARD", its NUL
    0x14, 0, 0x04, 0x80,  // NFTA_CHAIN_HOOK, nested, length 20
    0x08, 0, 0x01, 0,  // NFTA_HOOK_HOOKNUM, in network order
    0, 0, 0, 0x02,  // NF_INET_FORWARD
    0x08, 0, 0x02, 0,  // NFTA_HOOK_PRIORITY
    0, 0, 0, 0,
    0x08, 0, 0x05, 0,  // NFTA_CHAIN_POLICY, in network order
    0, 0, 0, 0,  // NF_DROP
    0x0b, 0, 0x07, 0,  // NFTA_CHAIN_TYPE, length 11
    0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0, 0,  // "filter", its NUL, padding
  ]

  /// NFT_MSG_NEWRULE: a counter and a match of iptables'.
  static let rule: [UInt8] = [
    0x58, 0, 0, 0,  // nlmsghdr: length 88
    0x06, 0x0a, 0x02, 0,  // type: subsystem nftables, NFT_MSG_NEWRULE
    0x09, 0, 0, 0, 0x39, 0x30, 0, 0,
    0x02, 0, 0, 0x07,  // nfgenmsg: NFPROTO_IPV4, version, generation
    0x44, 0, 0x04, 0x80,  // NFTA_RULE_EXPRESSIONS, nested, length 68
    0x18, 0, 0x01, 0x80,  // NFTA_LIST_ELEM, nested, length 24
    0x0c, 0, 0x01, 0,  // NFTA_EXPR_NAME
    0x63, 0x6f, 0x75, 0x6e, 0x74, 0x65, 0x72, 0,  // "counter", its NUL
    0x08, 0, 0x02, 0x80,  // NFTA_EXPR_DATA, nested
    0x04, 0, 0x01, 0,  // an empty attribute
    0x28, 0, 0x01, 0x80,  // NFTA_LIST_ELEM, nested, length 40
    0x0a, 0, 0x01, 0,  // NFTA_EXPR_NAME, length 10
    0x6d, 0x61, 0x74, 0x63, 0x68, 0, 0, 0,  // "match", its NUL, padding
    0x18, 0, 0x02, 0x80,  // NFTA_EXPR_DATA, nested, length 24
    0x0c, 0, 0x01, 0,  // NFTA_MATCH_NAME
    0x70, 0x68, 0x79, 0x73, 0x64, 0x65, 0x76, 0,  // "physdev", its NUL
    0x08, 0, 0x02, 0,  // NFTA_MATCH_REV
    0, 0, 0, 0,
  ]

  static let all = [vxlanLink, address, route, forwarding, forwardingRemoved, chain, rule]
}
