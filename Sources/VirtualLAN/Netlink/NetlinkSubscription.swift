import CNetlink
import Glibc

/// A socket that hears what the kernel announces to groups, in the network namespace of the thread that made it, from
/// that moment on.
///
/// One thread waits; any may close.
final class NetlinkSubscription: Sendable {
  /// A message, or that some were lost.
  enum Event {
    case reply(NetlinkReply)
    /// The kernel had more to say than found room (ENOBUFS).
    case lost
  }

  /// For errors: what is watched.
  private let subject: String
  private let socket: Descriptor
  private let closing: Descriptor

  /// Room for the burst of a routing daemon that takes back all it set, or of a thousand interfaces that go: some ten
  /// thousand messages. The kernel takes it up only while it is needed.
  static let receiveBufferSize: CInt = 8 << 20
  /// One notification is far smaller.
  private static let largestDatagram = 32 * 1024
  /// So that one answer stays bounded while changes come faster than they are read.
  private static let mostDatagrams = 4096

  /// - Parameter groups: RTNLGRP_*, each below 32.
  init(
    groups: [rtnetlink_groups], subject: String, receiveBufferSize: CInt = NetlinkSubscription.receiveBufferSize
  ) throws(NetlinkError) {
    self.subject = subject
    let bits = groups.reduce(UInt32(0)) { $0 | 1 << (UInt32($1.rawValue) - 1) }
    socket = try Descriptor.netlinkSocket(NETLINK_ROUTE, groups: bits, receiveBufferSize: receiveBufferSize)
    // Beyond the limit for everybody (net.core.rmem_max); with what there is by then where that is not allowed.
    _ = socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferSize)
    let event = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
    guard event >= 0 else {
      throw .call("eventfd", operation: "watch", subject: subject, code: errno)
    }
    closing = Descriptor(owning: event)
  }

  /// Waits for messages and takes all there are, in their order.
  ///
  /// - Parameters:
  ///   - timeout: how long to wait; nil for as long as it takes.
  ///   - gathering: how long more to wait for what comes after the first: one change is told of in several messages.
  /// - Returns: none when time was up; nil once the subscription was closed.
  /// - Throws: `NetlinkError.call`, `NetlinkError.malformedAnswer`.
  func events(within timeout: Duration?, gathering: Duration = .zero) throws(NetlinkError) -> [Event]? {
    var ready = [
      pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: closing.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    if poll(&ready, 2, timeout.map(Self.milliseconds) ?? -1) < 0 {
      // A signal: as if time were up.
      guard errno == EINTR else { throw failed("poll", code: errno) }
      return []
    }
    if ready[1].revents != 0 { return nil }
    if ready[0].revents == 0 { return [] }
    if gathering > .zero { usleep(UInt32(clamping: Int(gathering / .microseconds(1)))) }
    return try takeAll()
  }

  /// Ends the wait of the thread in `events`, and every later one, at once. The descriptors stay open until nobody
  /// holds the subscription any more.
  func close() {
    var one: UInt64 = 1
    _ = write(closing.rawValue, &one, 8)
  }

  private func takeAll() throws(NetlinkError) -> [Event] {
    var events: [Event] = []
    var buffer = [UInt8](repeating: 0, count: Self.largestDatagram)
    for _ in 0..<Self.mostDatagrams {
      let size = recv(
        socket.rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT) | CInt(MSG_TRUNC))
      if size < 0 {
        switch errno {
        case EAGAIN: return events
        case EINTR: continue
        case ENOBUFS: events.append(.lost)
        default: throw failed("recv", code: errno)
        }
        continue
      }
      events += try self.events(in: buffer, size: size)
    }
    return events
  }

  private func events(in buffer: [UInt8], size: Int) throws(NetlinkError) -> [Event] {
    do throws(NetlinkFormatError) {
      guard size <= buffer.count else {
        throw NetlinkFormatError.badLength(what: "datagram", length: size, left: buffer.count)
      }
      return try NetlinkReply.parse(buffer.span.bytes.extracting(0..<size)).map { .reply($0) }
    } catch {
      throw .malformedAnswer(operation: "watch", subject: subject, error)
    }
  }

  private static func milliseconds(_ duration: Duration) -> CInt {
    let (seconds, attoseconds) = duration.components
    // A wait of three weeks is as good as one of a year, and no sum of these overflows.
    return CInt(max(0, max(-1, min(seconds, 2_000_000)) * 1000 + attoseconds / 1_000_000_000_000_000))
  }

  private func failed(_ call: String, code: CInt) -> NetlinkError {
    .call(call, operation: "watch", subject: subject, code: code)
  }
}
