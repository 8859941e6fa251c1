import CNetlink
import Glibc
import NetworkAddresses

/// A NETLINK_ROUTE socket: how this process talks to the kernel about interfaces.
///
/// It speaks to the network namespace of the thread that made it. Everything is synchronous; the kernel
/// works on a request inside the call that sends it, so no call ever waits for an answer. One user at a
/// time (`~Copyable`, `mutating`); give each queue its own, or put one behind a `Mutex`.
public struct RouteSocket: ~Copyable, Sendable {
  /// How many requests were sent so far, those of batches counted one by one.
  public private(set) var messagesSent = 0
  /// How many `send` calls that took.
  public private(set) var packetsSent = 0

  private let descriptor: Descriptor
  private var nextSequence: UInt32 = 1
  /// What the kernel says in one piece. A dump's parts are at most 32 KiB (netlink_recvmsg in
  /// net/netlink/af_netlink.c) and one link's description is a few KiB.
  private var buffer = [UInt8](repeating: 0, count: 64 * 1024)
  /// An exchange broke off, so that answers to it may still wait in the socket.
  private var hasLeftovers = false

  /// A send buffer holds 208 KiB (net.core.wmem_default) and larger messages are refused.
  private static let largestPacket = 128 * 1024
  /// Only refusals and the last acknowledgement come back. Should all of a packet's requests be refused, the
  /// answers (under 1 KiB each, as the kernel counts) fit in the receive buffer that `init` asks for.
  /// Tests raise it to see that answers are not lost in silence.
  var mostRequestsInPacket = 256
  private static let receiveBufferSize: CInt = 208 * 1024
  private static let mostListAttempts = 32

  /// Opens the socket.
  ///
  /// - Parameter isStrict: the kernel refuses what it does not know in requests to list, instead of ignoring
  ///   it (NETLINK_GET_STRICT_CHK).
  /// - Throws: `NetlinkError.call`.
  public init(isStrict: Bool = true) throws(NetlinkError) {
    descriptor = try Self.open(namespace: nil, isStrict: isStrict)
  }

  /// Opens a socket that speaks to another network namespace.
  ///
  /// - Parameter namespace: an open descriptor of it, needed during the call only.
  /// - Throws: `NetlinkError.call`, with EINVAL when the descriptor is no network namespace's.
  public init(namespace: CInt) throws(NetlinkError) {
    descriptor = try Self.open(namespace: namespace, isStrict: true)
  }

  /// Opens a socket of another netlink protocol, whose messages and answers go the same way.
  ///
  /// - Throws: `NetlinkError.call`.
  init(protocol: CInt) throws(NetlinkError) {
    descriptor = try Descriptor.netlinkSocket(`protocol`, receiveBufferSize: Self.receiveBufferSize)
  }

  private static func open(namespace: CInt?, isStrict: Bool) throws(NetlinkError) -> Descriptor {
    let descriptor = try Descriptor.netlinkSocket(
      NETLINK_ROUTE, namespace: namespace, receiveBufferSize: receiveBufferSize)
    if isStrict {
      try descriptor.setNetlinkOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    }
    return descriptor
  }
}

// MARK: - Requests

extension RouteSocket {
  /// Carries out one request.
  ///
  /// - Throws: `NetlinkError.refused` with the kernel's words, or what kept it from answering.
  public mutating func perform(_ request: RouteRequest) throws(NetlinkError) {
    let answers = try exchange([request])
    if let refusal = answers.refusals.first?.refusal { throw .refused(refusal) }
  }

  /// Carries out requests in their order, as many as will fit in each `send`. A refused request does not keep
  /// the later ones from being carried out.
  ///
  /// - Throws: `NetlinkError.partlyRefused` with every request that was refused, or what kept the kernel
  ///   from answering.
  public mutating func perform(_ requests: [RouteRequest]) throws(NetlinkError) {
    var refused: [NetlinkError.RefusedRequest] = []
    var start = 0
    while start < requests.count {
      let packet = requests[start..<endOfPacket(in: requests, from: start)]
      refused += try exchange(packet).refusals.map {
        NetlinkError.RefusedRequest(position: start + $0.position, refusal: $0.refusal)
      }
      start = packet.endIndex
    }
    if !refused.isEmpty { throw .partlyRefused(refused) }
  }

  private func endOfPacket(in requests: [RouteRequest], from start: Int) -> Int {
    var end = start
    var size = 0
    while end < requests.count, end - start < mostRequestsInPacket {
      size += netlinkAligned(requests[end].message.count)
      // A request larger than a packet goes alone: the kernel is the one to refuse it.
      if size > Self.largestPacket, end > start { break }
      end += 1
    }
    return end
  }

  /// The interface of that name, or alternative name; nil when there is none.
  public mutating func link(named name: InterfaceName) throws(NetlinkError) -> Link? {
    try link(.name(name))
  }

  /// The interface of that index; nil when there is none.
  public mutating func link(index: InterfaceIndex) throws(NetlinkError) -> Link? {
    try link(.index(index))
  }

  private mutating func link(_ reference: LinkReference) throws(NetlinkError) -> Link? {
    var link: Link?
    let answers = try exchange([.link(reference)]) { if case .link(let found) = $0 { link = found } }
    guard let refusal = answers.refusals.first?.refusal else { return link }
    if refusal.code == ENODEV { return nil }
    throw .refused(refusal)
  }
}

// MARK: - Listings

/// A listing during which what it lists changed may lack some of it, and is made again.
/// `NetlinkError.changing` is thrown when that happens over and over; otherwise all throw what `perform` does.
extension RouteSocket {
  /// Every interface of the namespace, in the kernel's order.
  public mutating func links() throws(NetlinkError) -> [Link] {
    try links(.allLinks())
  }

  /// Every port of a bridge with its counters, or every interface.
  public mutating func linksWithStatistics(master: InterfaceIndex? = nil) throws(NetlinkError) -> [Link] {
    try links(.allLinks(master: master)).filter { master == nil || $0.master == master }
  }

  private mutating func links(_ request: RouteRequest) throws(NetlinkError) -> [Link] {
    try list(request) { if case .link(let link) = $0 { link } else { nil } }
  }

  /// Every address of every interface of the namespace, or of one; refused (ENODEV) when there is no such interface.
  public mutating func addresses(of device: InterfaceIndex? = nil) throws(NetlinkError) -> [InterfaceAddress] {
    try list(.allAddresses(of: device)) {
      guard case .address(let address) = $0, device == nil || address.index == device else { return nil }
      return address
    }
  }

  /// The interface that has an address and is up; nil when none has it.
  ///
  /// However many interfaces there are it takes one look-up. Addresses of a VRF's interfaces are not found.
  public mutating func holder(of address: IPAddress) throws(NetlinkError) -> InterfaceIndex? {
    guard let route = try route(.route(to: address, asWritten: true)), route.isLocal,
      route.destination?.address == address, route.destination?.prefixLength == address.width
    else { return nil }
    return route.device
  }

  /// Where packets for an address go; nil when nothing leads there.
  public mutating func route(to destination: IPAddress) throws(NetlinkError) -> Route? {
    try route(.route(to: destination))
  }

  private mutating func route(_ request: RouteRequest) throws(NetlinkError) -> Route? {
    var route: Route?
    let answers = try exchange([request]) { if case .route(let found) = $0 { route = found } }
    guard let refusal = answers.refusals.first?.refusal else { return route }
    if [ENETUNREACH, EHOSTUNREACH].contains(refusal.code) { return nil }
    throw .refused(refusal)
  }

  /// The routes of the main table for what has no other, of both families, the preferred ones first.
  public mutating func defaultRoutes() throws(NetlinkError) -> [Route] {
    let routes = try routes(.allRoutes(isIPv6: false)) + routes(.allRoutes(isIPv6: true))
    return routes.filter { $0.destination == nil }.sorted { $0.metric < $1.metric }
  }

  /// A family's routes in all tables, whichever of them the rules of policy routing have looked at.
  public mutating func routesOfAllTables(isIPv6: Bool) throws(NetlinkError) -> [Route] {
    try routes(.allRoutes(isIPv6: isIPv6, inAllTables: true))
  }

  private mutating func routes(_ request: RouteRequest) throws(NetlinkError) -> [Route] {
    do {
      return try list(request) { if case .route(let route) = $0 { route } else { nil } }
    } catch {
      // The kernel makes the table for its first route.
      if error.code == ENOENT { return [] }
      throw error
    }
  }

  /// Forwarding tables: that of a device (a bridge's port: the bridge's entries for it too), those of a bridge and
  /// all its ports, or all there are.
  public mutating func forwardingTable(
    of device: InterfaceIndex? = nil, bridge: InterfaceIndex? = nil
  ) throws(NetlinkError) -> [ForwardingEntry] {
    try list(.allForwarding(device: device, bridge: bridge)) {
      guard case .forwarding(let entry) = $0, device == nil || entry.device == device else { return nil }
      return entry
    }
  }

  mutating func list<Element>(
    _ request: RouteRequest, _ element: (NetlinkReply.Content) -> Element?
  ) throws(NetlinkError) -> [Element] {
    for _ in 0..<Self.mostListAttempts {
      var elements: [Element] = []
      let answers = try exchange([request]) { if let found = element($0) { elements.append(found) } }
      if let refusal = answers.refusals.first?.refusal { throw .refused(refusal) }
      if !answers.isInterrupted { return elements }
    }
    throw .changing(operation: "\(request.operation) \(request.subject)", attempts: Self.mostListAttempts)
  }
}

// MARK: - Exchange

extension RouteSocket {
  /// What came back for one packet of requests. A request that is not among the refusals was carried out.
  private struct Answers {
    var refusals: [NetlinkError.RefusedRequest] = []
    var isInterrupted = false
  }

  /// Sends requests in one packet and reads the answers.
  ///
  /// Only the last request asks for an acknowledgement. The kernel works on them in order and reports every
  /// refusal, asked or not, so that the last acknowledgement stands for all that were not refused; a refusal
  /// that found no room makes the next `recv` fail with ENOBUFS.
  ///
  /// - Parameter take: is handed what was asked for, bit by bit.
  private mutating func exchange(
    _ requests: ArraySlice<RouteRequest>, _ take: (NetlinkReply.Content) -> Void = { _ in }
  ) throws(NetlinkError) -> Answers {
    guard let last = requests.last else { return Answers() }
    if hasLeftovers { discardLeftovers() }
    hasLeftovers = true

    let firstSequence = nextSequence
    try send(requests)
    var answers = Answers()
    var isComplete = false
    while !isComplete {
      for reply in try receive(for: last) {
        // Answers to other requests are what an exchange that broke off left behind.
        let position = Int(reply.sequence &- firstSequence)
        guard position < requests.count else { continue }
        answers.isInterrupted = answers.isInterrupted || reply.isInterrupted
        switch reply.content {
        case .acknowledgement(let code, let message), .done(let code, let message):
          if code != 0 {
            let request = requests[requests.startIndex + position]
            answers.refusals.append(request.refused(at: position, code: code, message: message))
          }
          isComplete = isComplete || position == requests.count - 1
        default:
          take(reply.content)
        }
      }
    }
    hasLeftovers = false
    return answers
  }

  private mutating func send(_ requests: ArraySlice<RouteRequest>) throws(NetlinkError) {
    var packet: [UInt8] = []
    packet.reserveCapacity(requests.reduce(0) { $0 + netlinkAligned($1.message.count) })
    var lastStart = 0
    for request in requests {
      lastStart = packet.count
      packet += request.message
      packet.overwrite(at: lastStart + 8, with: nextSequence)
      nextSequence &+= 1
    }
    packet.requestAcknowledgement(at: lastStart)

    var sent: Int
    repeat {
      sent = Glibc.send(descriptor.rawValue, packet, packet.count, 0)
    } while sent < 0 && errno == EINTR
    guard sent == packet.count else {
      throw requests[requests.startIndex].failed("send", code: errno)
    }
    messagesSent += requests.count
    packetsSent += 1
  }

  /// Reads one datagram. The kernel answered before `send` returned, and writes the next part of a dump
  /// before `recv` returns: there is nothing to wait for.
  private mutating func receive(for request: RouteRequest) throws(NetlinkError) -> [NetlinkReply] {
    while true {
      var sender = cnetlink_kernel()
      let size = receiveDatagram(from: &sender)
      if size < 0 {
        switch errno {
        case EINTR: continue
        case EAGAIN: throw .noAnswer(operation: request.operation, subject: request.subject)
        default: throw request.failed("recv", code: errno)
        }
      }
      // Only the kernel's own word counts.
      guard sender.nl_pid == 0 else { continue }
      do throws(NetlinkFormatError) {
        guard size <= buffer.count else {
          throw NetlinkFormatError.badLength(what: "datagram", length: size, left: buffer.count)
        }
        return try NetlinkReply.parse(buffer.span.bytes.extracting(0..<size))
      } catch {
        throw .malformedAnswer(operation: request.operation, subject: request.subject, error)
      }
    }
  }

  /// The size of the datagram, which may be more than the buffer holds, or -1 and errno.
  private mutating func receiveDatagram(from sender: inout sockaddr_nl) -> Int {
    let descriptor = descriptor.rawValue
    return buffer.withUnsafeMutableBytes { buffer in
      withUnsafeMutableBytes(of: &sender) { sender in
        var senderSize = socklen_t(sender.count)
        return recvfrom(
          descriptor, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT) | CInt(MSG_TRUNC),
          sender.assumingMemoryBound(to: sockaddr.self).baseAddress, &senderSize)
      }
    }
  }

  /// Empties the socket of what a broken-off exchange left, the rest of a dump included. It ends, because the
  /// kernel adds nothing without a request.
  private mutating func discardLeftovers() {
    var sender = cnetlink_kernel()
    while receiveDatagram(from: &sender) >= 0 || errno == EINTR || errno == ENOBUFS {}
  }
}

extension RouteRequest {
  fileprivate func refused(
    at position: Int, code: CInt, message: String?
  ) -> NetlinkError.RefusedRequest {
    NetlinkError.RefusedRequest(
      position: position,
      refusal: NetlinkError.Refusal(
        operation: operation, subject: subject, code: code, message: message))
  }

  fileprivate func failed(_ call: String, code: CInt) -> NetlinkError {
    .call(call, operation: operation, subject: subject, code: code)
  }
}

extension [UInt8] {
  /// Sets NLM_F_ACK in the header of the message at `offset`. A dump may have it too: the kernel
  /// answers that with NLMSG_DONE alone.
  fileprivate mutating func requestAcknowledgement(at offset: Int) {
    guard let flags: UInt16 = span.bytes.integer(at: offset + 6) else { return }
    overwrite(at: offset + 6, with: flags | UInt16(NLM_F_ACK))
  }
}
