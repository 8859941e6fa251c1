import Glibc

/// A socket that asks a guest's echo service (port 7).
struct UDPEcho: ~Copyable {
  private let descriptor: Int32
  private static let payload = 64

  /// - Parameter limit: how long an answer may take, in milliseconds.
  init(_ address: String, limit: Int) throws(Failure) {
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Failure(doing: "open a UDP socket") }
    var time = timeval(tv_sec: limit / 1000, tv_usec: limit % 1000 * 1000)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    var peer = sockaddr_in()
    peer.sin_family = sa_family_t(AF_INET)
    peer.sin_port = UInt16(7).bigEndian
    inet_pton(AF_INET, address, &peer.sin_addr)
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafePointer(to: &peer) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
    }
    guard code == 0 else { throw Failure(doing: "connect to \(address)") }
  }

  deinit { close(descriptor) }

  func send() {
    let bytes = [UInt8](repeating: 0x55, count: Self.payload)
    _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  /// Whether an answer came in time.
  func receive() -> Bool {
    var bytes = [UInt8](repeating: 0, count: Self.payload)
    return recv(descriptor, &bytes, bytes.count, 0) == Self.payload
  }

  func ask() -> Bool {
    send()
    return receive()
  }

  /// Asks until there is an answer; false when there was none for so many seconds.
  func waitUntilAnswered(seconds: Double) -> Bool {
    let stopwatch = Stopwatch()
    repeat {
      if ask() { return true }
    } while stopwatch.seconds < seconds
    return false
  }

  /// Takes in what is still under way.
  func drain() {
    while receive() {}
  }

  /// Exchanges `count` datagrams with so many in flight; returns how many were lost. When nothing comes back for
  /// a while, all in flight are taken for lost.
  func exchange(_ count: Int, inFlight window: Int) -> Int {
    var sent = 0
    var answered = 0
    var lost = 0
    while answered + lost < count {
      while sent < count && sent - answered - lost < window {
        send()
        sent += 1
      }
      if receive() { answered += 1 } else { lost = sent - answered }
    }
    return lost
  }
}
