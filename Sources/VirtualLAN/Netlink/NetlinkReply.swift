import CNetlink
import Glibc
import NetworkAddresses

/// One message from the kernel, read. Reading is total: any bytes give either replies or a
/// `NetlinkFormatError`, never a trap.
public struct NetlinkReply: Hashable, Sendable {
  public enum Content: Hashable, Sendable {
    /// RTM_NEWLINK.
    case link(Link)
    /// RTM_DELLINK: the interface is gone.
    case linkRemoved(Link)
    /// RTM_NEWADDR.
    case address(InterfaceAddress)
    /// RTM_DELADDR.
    case addressRemoved(InterfaceAddress)
    /// RTM_NEWROUTE.
    case route(Route)
    /// RTM_DELROUTE.
    case routeRemoved(Route)
    /// RTM_NEWTFILTER.
    case filter(TrafficFilter)
    /// RTM_NEWNEIGH about a forwarding table: the entry is there.
    case forwarding(ForwardingEntry)
    /// RTM_DELNEIGH about a forwarding table: the entry is gone.
    case forwardingRemoved(ForwardingEntry)
    /// NFT_MSG_NEWCHAIN.
    case chain(NetfilterChain)
    /// NFT_MSG_NEWRULE.
    case rule(NetfilterRule)
    /// NLMSG_ERROR: the request is done with. The code is an errno, zero for success.
    case acknowledgement(code: CInt, message: String?)
    /// NLMSG_DONE: the dump is complete. The code is an errno, zero for success.
    case done(code: CInt, message: String?)
    /// A message that this room does not read.
    case other(type: UInt16)
  }

  /// Of the request that this answers.
  public let sequence: UInt32
  /// What is being listed changed since the listing began (NLM_F_DUMP_INTR): parts may be missing.
  public let isInterrupted: Bool
  public let content: Content

  /// Reads one datagram from a NETLINK_ROUTE or NETLINK_NETFILTER socket. The entry for fuzzing, too.
  public static func parse(_ datagram: [UInt8]) throws(NetlinkFormatError) -> [NetlinkReply] {
    try parse(datagram.span.bytes)
  }

  static func parse(_ datagram: RawSpan) throws(NetlinkFormatError) -> [NetlinkReply] {
    var replies: [NetlinkReply] = []
    var messages = NetlinkMessages(datagram)
    while let message = try messages.next() {
      replies.append(try NetlinkReply(message))
    }
    return replies
  }

  private init(_ message: borrowing NetlinkMessage) throws(NetlinkFormatError) {
    sequence = message.sequence
    isInterrupted = message.flags & UInt16(NLM_F_DUMP_INTR) != 0
    content = try Self.content(of: message) ?? .other(type: message.type)
  }

  /// Nil for what this room does not read.
  private static func content(of message: borrowing NetlinkMessage) throws(NetlinkFormatError) -> Content? {
    let payload = message.payload
    return switch Int(message.type) {
    // The same about a port's part in its bridge, of which the interface's own messages tell, too.
    case RTM_NEWLINK where payload.integer(at: 0) == UInt8(AF_BRIDGE): nil
    case RTM_DELLINK where payload.integer(at: 0) == UInt8(AF_BRIDGE): nil
    case RTM_NEWLINK: .link(try Link(payload: payload))
    case RTM_DELLINK: .linkRemoved(try Link(payload: payload))
    case RTM_NEWADDR: try InterfaceAddress(payload: payload).map(Content.address)
    case RTM_DELADDR: try InterfaceAddress(payload: payload).map(Content.addressRemoved)
    case RTM_NEWROUTE: try Route(payload: payload).map(Content.route)
    case RTM_DELROUTE: try Route(payload: payload).map(Content.routeRemoved)
    case RTM_NEWTFILTER: try TrafficFilter(payload: payload).map(Content.filter)
    case RTM_NEWNEIGH: try ForwardingEntry(payload: payload).map(Content.forwarding)
    case RTM_DELNEIGH: try ForwardingEntry(payload: payload).map(Content.forwardingRemoved)
    case NetfilterMessage.type(NFT_MSG_NEWCHAIN): .chain(try NetfilterChain(payload: payload))
    case NetfilterMessage.type(NFT_MSG_NEWRULE): .rule(try NetfilterRule(payload: payload))
    case Int(NLMSG_ERROR): try acknowledgement(message)
    case Int(NLMSG_DONE): try done(message)
    default: nil
    }
  }

  /// `struct nlmsgerr`: the error, the request's header, the request's payload unless the kernel capped it,
  /// and attributes where the flags say so.
  private static func acknowledgement(
    _ message: borrowing NetlinkMessage
  ) throws(NetlinkFormatError) -> Content {
    let payload = message.payload
    let headerEnd = 4 + NetlinkMessage.headerSize
    guard let length: UInt32 = payload.integer(at: 4), payload.byteCount >= headerEnd else {
      throw .truncated(what: "acknowledgement", needed: headerEnd, left: payload.byteCount)
    }
    let isCapped = message.flags & UInt16(NLM_F_CAPPED) != 0
    let end = isCapped ? headerEnd : 4 + netlinkAligned(Int(length))
    return .acknowledgement(
      code: try code(in: payload),
      message: try words(in: payload.dropping(end), flags: message.flags))
  }

  /// The error, and attributes where the flags say so.
  private static func done(_ message: borrowing NetlinkMessage) throws(NetlinkFormatError)
    -> Content
  {
    let payload = message.payload
    return .done(
      code: try code(in: payload), message: try words(in: payload.dropping(4), flags: message.flags)
    )
  }

  /// The kernel sends errors as negated errno.
  private static func code(in payload: RawSpan) throws(NetlinkFormatError) -> CInt {
    guard let error: Int32 = payload.integer(at: 0) else {
      throw .truncated(what: "error code", needed: 4, left: payload.byteCount)
    }
    guard error <= 0, error != .min else { throw .badValue(what: "error code") }
    return -error
  }

  /// The kernel's words in the attributes of an extended acknowledgement, held to one printable line.
  private static func words(in attributes: RawSpan, flags: UInt16) throws(NetlinkFormatError)
    -> String?
  {
    guard flags & UInt16(NLM_F_ACK_TLVS) != 0 else { return nil }
    var words: String?
    var attributes = NetlinkAttributes(attributes)
    while let attribute = try attributes.next() {
      guard Int(attribute.type) == Int(NLMSGERR_ATTR_MSG.rawValue) else { continue }
      words = attribute.printableText
    }
    return words
  }
}
