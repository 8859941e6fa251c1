import CNetlink
import Glibc
import Synchronization

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
  private let socket: Descriptor
  private let closing: Descriptor

  /// Room for the burst of a routing daemon that takes back all it set: some ten thousand entries. The kernel takes it
  /// up only while it is needed.
  private static let receiveBufferSize: CInt = 8 << 20
  /// One notification is far smaller.
  private static let largestDatagram = 32 * 1024
  /// So that one answer stays bounded while changes come faster than they are read.
  private static let mostDatagrams = 4096

  /// - Throws: `NetlinkError.call`.
  public convenience init() throws(NetlinkError) {
    try self.init(receiveBufferSize: Self.receiveBufferSize)
  }

  init(receiveBufferSize: CInt) throws(NetlinkError) {
    let group = UInt32(1) << (UInt32(RTNLGRP_NEIGH.rawValue) - 1)
    socket = try Descriptor.netlinkSocket(
      NETLINK_ROUTE, groups: group, receiveBufferSize: receiveBufferSize)
    // Beyond the limit for everybody (net.core.rmem_max); with what there is by then where that is not allowed.
    _ = socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferSize)
    let event = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
    guard event >= 0 else { throw Self.failed("eventfd", code: errno) }
    closing = Descriptor(owning: event)
  }

  /// Waits for changes and takes all there are, in their order.
  ///
  /// - Parameter timeout: how long to wait; nil for as long as it takes.
  /// - Returns: none when time was up; nil once the monitor was closed.
  /// - Throws: `NetlinkError.call`, `NetlinkError.malformedAnswer`.
  public func changes(within timeout: Duration? = nil) throws(NetlinkError) -> [ForwardingChange]? {
    var ready = [
      pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: closing.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    if poll(&ready, 2, timeout.map(Self.milliseconds) ?? -1) < 0 {
      // A signal: as if time were up.
      guard errno == EINTR else { throw Self.failed("poll", code: errno) }
      return []
    }
    if ready[1].revents != 0 { return nil }
    return ready[0].revents == 0 ? [] : try takeAll()
  }

  /// Ends the wait of the thread in `changes`, and every later one, at once. The descriptors stay open until nobody
  /// holds the monitor any more.
  public func close() {
    var one: UInt64 = 1
    _ = write(closing.rawValue, &one, 8)
  }

  private func takeAll() throws(NetlinkError) -> [ForwardingChange] {
    var changes: [ForwardingChange] = []
    var buffer = [UInt8](repeating: 0, count: Self.largestDatagram)
    for _ in 0..<Self.mostDatagrams {
      let size = recv(
        socket.rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT) | CInt(MSG_TRUNC))
      if size < 0 {
        switch errno {
        case EAGAIN: return changes
        case EINTR: continue
        case ENOBUFS: changes.append(.lost)
        default: throw Self.failed("recv", code: errno)
        }
        continue
      }
      changes += try Self.changes(in: buffer, size: size)
    }
    return changes
  }

  private static func changes(in buffer: [UInt8], size: Int) throws(NetlinkError) -> [ForwardingChange] {
    do throws(NetlinkFormatError) {
      guard size <= buffer.count else {
        throw NetlinkFormatError.badLength(what: "datagram", length: size, left: buffer.count)
      }
      return try NetlinkReply.parse(buffer.span.bytes.extracting(0..<size)).compactMap { reply in
        switch reply.content {
        case .forwarding(let entry): .added(entry)
        case .forwardingRemoved(let entry): .removed(entry)
        default: nil
        }
      }
    } catch {
      throw .malformedAnswer(operation: "watch", subject: "forwarding tables", error)
    }
  }

  private static func milliseconds(_ duration: Duration) -> CInt {
    let (seconds, attoseconds) = duration.components
    // A wait of three weeks is as good as one of a year, and no sum of these overflows.
    return CInt(max(0, max(-1, min(seconds, 2_000_000)) * 1000 + attoseconds / 1_000_000_000_000_000))
  }

  private static func failed(_ call: String, code: CInt) -> NetlinkError {
    .call(call, operation: "watch", subject: "forwarding tables", code: code)
  }
}
