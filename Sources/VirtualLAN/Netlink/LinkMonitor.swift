import CNetlink
import Glibc

/// What happened to the host's interfaces, their addresses and the bridges' tables.
public enum LinkChangeNotice: Hashable, Sendable {
  /// The interface is there: new, or changed, or mentioned.
  case link(Link)
  case linkRemoved(Link)
  case address(InterfaceAddress)
  case addressRemoved(InterfaceAddress)
  /// Of a table entry that somebody set: what a bridge learns by itself is not told.
  case forwarding(ForwardingEntry)
  case forwardingRemoved(ForwardingEntry)
  /// The kernel had more to say than found room: anything may have happened.
  case lookAtEverything
}

/// Hears of every change of an interface, an address or a forwarding table in the network namespace of the thread that
/// made it, from that moment on (RTNLGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR, _NEIGH).
///
/// One thread waits; any may close.
public final class LinkMonitor: Sendable {
  private let subscription: NetlinkSubscription

  /// - Throws: `NetlinkError.call`.
  public convenience init() throws(NetlinkError) {
    try self.init(receiveBufferSize: NetlinkSubscription.receiveBufferSize)
  }

  init(receiveBufferSize: CInt) throws(NetlinkError) {
    subscription = try NetlinkSubscription(
      groups: [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NEIGH], subject: "interfaces",
      receiveBufferSize: receiveBufferSize)
  }

  /// Waits for changes and takes all there are, in their order.
  ///
  /// - Parameters:
  ///   - deadline: until when to wait; nil for as long as it takes.
  ///   - gathering: how long more to wait for what comes after the first notice.
  /// - Returns: none when the time came, or all there was is of no interest; nil once the monitor was closed.
  /// - Throws: `NetlinkError.call`, `NetlinkError.malformedAnswer`.
  public func next(
    _ deadline: ContinuousClock.Instant? = nil, gathering: Duration = .zero
  ) throws(NetlinkError) -> [LinkChangeNotice]? {
    let timeout = deadline.map { max(.zero, $0 - .now) }
    return try subscription.events(within: timeout, gathering: gathering)?.compactMap { event in
      guard case .reply(let reply) = event else { return .lookAtEverything }
      return LinkChangeNotice(reply.content)
    }
  }

  /// Ends the wait of the thread in `next`, and every later one, at once.
  public func close() { subscription.close() }
}

extension LinkChangeNotice {
  fileprivate init?(_ content: NetlinkReply.Content) {
    switch content {
    case .link(let link): self = .link(link)
    case .linkRemoved(let link): self = .linkRemoved(link)
    case .address(let address): self = .address(address)
    case .addressRemoved(let address): self = .addressRemoved(address)
    case .forwarding(let entry) where entry.state != .dynamic || entry.isExternallyLearned:
      self = .forwarding(entry)
    case .forwardingRemoved(let entry) where entry.state != .dynamic || entry.isExternallyLearned:
      self = .forwardingRemoved(entry)
    default: return nil
    }
  }
}
