import Glibc

/// One socket that asks the echo services of many guests, so that asking costs the host little beside what is measured.
struct UDPSweep: ~Copyable {
  private let descriptor: Int32
  /// How long answers are waited for before those that are missing are asked again, in milliseconds. The question waits
  /// at a tap that nobody serves; asking 600 of them five times a second took half of an emulated CPU.
  private static let patience: Int32 = 1000

  init() throws(Failure) {
    let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    descriptor = socket(AF_INET, kind, 0)
    guard descriptor >= 0 else { throw Failure(doing: "open a UDP socket") }
  }

  deinit { close(descriptor) }

  /// Asks until all have answered; returns those that did not within so many seconds.
  func untilAnswered(_ addresses: [String], seconds: Double) -> Set<String> {
    let stopwatch = Stopwatch()
    var silent = Set(addresses)
    while !silent.isEmpty && stopwatch.seconds < seconds {
      for address in silent { ask(address) }
      takeAnswers(&silent)
    }
    return silent
  }

  private func ask(_ address: String) {
    var peer = sockaddr_in()
    peer.sin_family = sa_family_t(AF_INET)
    peer.sin_port = UInt16(7).bigEndian
    inet_pton(AF_INET, address, &peer.sin_addr)
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    var byte: UInt8 = 0x55
    withUnsafePointer(to: &peer) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        // What cannot be sent now is asked again.
        _ = sendto(descriptor, &byte, 1, Int32(MSG_NOSIGNAL), $0, size)
      }
    }
  }

  private func takeAnswers(_ silent: inout Set<String>) {
    var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    let stopwatch = Stopwatch()
    while !silent.isEmpty {
      let left = Self.patience - Int32(stopwatch.milliseconds)
      guard left > 0, poll(&wait, 1, left) > 0 else { return }
      while let address = nextAnswer() { silent.remove(address) }
    }
  }

  private func nextAnswer() -> String? {
    var peer = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    var byte: UInt8 = 0
    let count = withUnsafeMutablePointer(to: &peer) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &byte, 1, 0, $0, &size) }
    }
    guard count == 1 else { return nil }
    var text = [CChar](repeating: 0, count: Int(INET_ADDRSTRLEN))
    inet_ntop(AF_INET, &peer.sin_addr, &text, socklen_t(text.count))
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
