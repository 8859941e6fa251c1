import CNetlink
import Glibc

/// What happened to forwarding tables.
public enum ForwardingChange: Hashable, Sendable {
  /// The entry is there: new, or changed, or mentioned.
  case added(ForwardingEntry)
  case removed(ForwardingEntry)
  /// The kernel had more to say than found room: anything may have happened, and the tables want reading again.
  case lost
}

/// Hears of every change of a forwarding table in the network namespace of the thread that made it, from that moment
/// on (RTNLGRP_NEIGH).
///
/// One thread waits; any may close.
public final class ForwardingMonitor: Sendable {
  private let subscription: NetlinkSubscription

  /// - Throws: `NetlinkError.call`.
  public convenience init() throws(NetlinkError) {
    try self.init(receiveBufferSize: NetlinkSubscription.receiveBufferSize)
  }

  init(receiveBufferSize: CInt) throws(NetlinkError) {
    subscription = try NetlinkSubscription(
      groups: [RTNLGRP_NEIGH], subject: "forwarding tables", receiveBufferSize: receiveBufferSize)
  }

  /// Waits for changes and takes all there are, in their order.
  ///
  /// - Parameter timeout: how long to wait; nil for as long as it takes.
  /// - Returns: none when time was up; nil once the monitor was closed.
  /// - Throws: `NetlinkError.call`, `NetlinkError.malformedAnswer`.
  public func changes(within timeout: Duration? = nil) throws(NetlinkError) -> [ForwardingChange]? {
    try subscription.events(within: timeout)?.compactMap { event in
      guard case .reply(let reply) = event else { return .lost }
      return switch reply.content {
      case .forwarding(let entry): .added(entry)
      case .forwardingRemoved(let entry): .removed(entry)
      default: nil
      }
    }
  }

  /// Ends the wait of the thread in `changes`, and every later one, at once.
  public func close() { subscription.close() }
}
