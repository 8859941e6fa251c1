import CNetlink
import Glibc
import NetworkAddresses

/// Connections that are begun to learn whether anybody listens at a port, and not used.
struct PortProbes: ~Copyable {
  private let port: UInt16
  private var sockets: [IPAddress: (socket: CInt, begun: ContinuousClock.Instant)] = [:]
  private var answers: [IPAddress: HeldRoutes.Answer] = [:]

  /// A host that has not answered by then answers nothing.
  private static let limit = Duration.seconds(1)

  init(port: UInt16) { self.port = port }

  deinit {
    for probe in sockets.values { close(probe.socket) }
  }

  var isBusy: Bool { !sockets.isEmpty }

  /// Begins to connect, unless that is under way.
  mutating func begin(_ address: IPAddress) {
    guard sockets[address] == nil else { return }
    let family = address.isIPv6 ? AF_INET6 : AF_INET
    let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let socket = Glibc.socket(family, kind, 0)
    guard socket >= 0 else { return }
    if Self.connect(socket, to: address, port: port) == 0 {
      finish(address, socket, code: 0)
    } else if errno == EINPROGRESS {
      sockets[address] = (socket, .now)
    } else {
      finish(address, socket, code: errno)
    }
  }

  /// Waits for answers, no longer than `wait`, and takes those there are.
  mutating func collect(within wait: Duration) -> [IPAddress: HeldRoutes.Answer] {
    if answers.isEmpty && !sockets.isEmpty { pollSockets(wait) } else { pollSockets(.zero) }
    defer { answers = [:] }
    return answers
  }

  private mutating func pollSockets(_ wait: Duration) {
    let addresses = Array(sockets.keys)
    var ready = addresses.map { pollfd(fd: sockets[$0]?.socket ?? -1, events: Int16(POLLOUT), revents: 0) }
    guard !ready.isEmpty, poll(&ready, nfds_t(ready.count), wait.wholeMilliseconds) >= 0 else { return }
    let now = ContinuousClock.now
    for (address, state) in zip(addresses, ready) {
      guard let probe = sockets[address] else { continue }
      if state.revents != 0 {
        finish(address, probe.socket, code: Self.error(of: probe.socket))
      } else if now - probe.begun >= Self.limit {
        finish(address, probe.socket, code: ETIMEDOUT)
      }
    }
  }

  private mutating func finish(_ address: IPAddress, _ socket: CInt, code: CInt) {
    // A reset instead of an orderly end: the daemon has no connection to look after.
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    close(socket)
    sockets[address] = nil
    answers[address] =
      switch code {
      case 0: .accepts
      case ECONNREFUSED, ECONNRESET: .refuses
      default: .nothing
      }
  }

  private static func error(of socket: CInt) -> CInt {
    var code: CInt = 0
    var size = socklen_t(MemoryLayout<CInt>.size)
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size) == 0 ? code : errno
  }

  private static func connect(_ socket: CInt, to address: IPAddress, port: UInt16) -> CInt {
    func connect(_ bytes: UnsafeRawBufferPointer) -> CInt {
      Glibc.connect(socket, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t(bytes.count))
    }
    switch address {
    case .v4(let address):
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = port.bigEndian
      target.sin_addr.s_addr = address.rawValue.bigEndian
      return withUnsafeBytes(of: &target, connect)
    case .v6(let address):
      var target = sockaddr_in6()
      target.sin6_family = sa_family_t(AF_INET6)
      target.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &target.sin6_addr) { $0.copyBytes(from: address.octets) }
      return withUnsafeBytes(of: &target, connect)
    }
  }
}
