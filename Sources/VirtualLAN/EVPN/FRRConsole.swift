import CNetlink
import Glibc

/// A session with one of FRR's daemons at its control socket (`/run/frr/bgpd.vty`), which is where FRR's own shell
/// sends its commands.
///
/// The protocol (lib/vty.c: `vtysh_read`, vtysh/vtysh.c: `vtysh_client_run`): a command ends with a NUL; the answer
/// is text, three NULs and one byte of status.
struct FRRConsole: ~Copyable {
  private let descriptor: Descriptor
  private let daemon: String
  private let limit: Duration

  /// A daemon's answer to one command.
  struct Answer {
    /// CMD_SUCCESS and the like of lib/command.h.
    let status: UInt8
    let text: String

    /// CMD_WARNING, too, says that a command was understood, and mostly that it changed nothing.
    var isSuccess: Bool { status <= 1 }

    /// The first line that says something, for a message.
    var line: String {
      let line = text.split { $0.isNewline }.first { $0.contains { !$0.isWhitespace } }
      return line.map { String($0.prefix(200)) } ?? "status \(status)"
    }
  }

  /// Why there was no answer.
  enum Failure: Error, Hashable, CustomStringConvertible {
    /// Nobody listens.
    case notRunning(daemon: String)
    case ended(daemon: String)
    case silent(daemon: String)
    case tooLong(daemon: String)
    case system(daemon: String, call: String, code: CInt)

    var description: String {
      switch self {
      case .notRunning(let daemon): "\(daemon) is not running"
      case .ended(let daemon): "\(daemon) ended during the session"
      case .silent(let daemon): "\(daemon) does not answer"
      case .tooLong(let daemon): "\(daemon): answer longer than \(FRRConsole.longestAnswer >> 20) MiB"
      case .system(let daemon, let call, let code): "\(daemon): \(call): \(String(cString: strerror(code)))"
      }
    }
  }

  private static let longestAnswer = 256 << 20

  /// - Parameters:
  ///   - folder: where the daemons' sockets are.
  ///   - limit: how long each answer may take.
  init(_ daemon: String, folder: String, limit: Duration) throws(Failure) {
    descriptor = try Self.connect(to: daemon, path: Array("\(folder)/\(daemon).vty".utf8), limit: limit)
    self.daemon = daemon
    self.limit = limit
  }

  private static func connect(
    to daemon: String, path: [UInt8], limit: Duration
  ) throws(Failure) -> Descriptor {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw .system(daemon: daemon, call: "connect", code: ENAMETOOLONG)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    let socket = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw .system(daemon: daemon, call: "socket", code: errno) }
    let descriptor = Descriptor(owning: socket)
    // For connect(2) too, which waits while the daemon takes no more callers.
    let milliseconds = Int(limit.wholeMilliseconds)
    var patience = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let result = withUnsafeBytes(of: &address) { bytes in
      Glibc.connect(socket, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t(bytes.count))
    }
    if result == 0 { return descriptor }
    switch errno {
    case ENOENT, ECONNREFUSED: throw .notRunning(daemon: daemon)
    case EAGAIN: throw .silent(daemon: daemon)
    default: throw .system(daemon: daemon, call: "connect", code: errno)
    }
  }

  /// Has one command carried out.
  mutating func run(_ command: String) throws(Failure) -> Answer {
    try send(Array(command.utf8.filter { $0 != 0 && $0 != UInt8(ascii: "\n") }) + [0])
    let end = ContinuousClock.now + limit
    var bytes: [UInt8] = []
    var searched = 0
    while true {
      let piece = try receive(until: end)
      bytes += piece
      // The text has no NUL: the first one begins the end.
      if let text = bytes[searched...].firstIndex(of: 0) {
        searched = text
        if bytes.count >= text + 4 {
          return Answer(status: bytes[text + 3], text: String(decoding: bytes[..<text], as: UTF8.self))
        }
      } else {
        searched = bytes.count
      }
      guard bytes.count <= Self.longestAnswer else { throw .tooLong(daemon: daemon) }
    }
  }

  private func send(_ bytes: [UInt8]) throws(Failure) {
    var start = 0
    while start < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor.rawValue, $0.baseAddress! + start, $0.count - start, CInt(MSG_NOSIGNAL))
      }
      if count < 0 {
        switch errno {
        case EINTR: continue
        case EAGAIN: throw .silent(daemon: daemon)
        case EPIPE, ECONNRESET: throw .ended(daemon: daemon)
        default: throw .system(daemon: daemon, call: "send", code: errno)
        }
      }
      start += count
    }
  }

  private func receive(until end: ContinuousClock.Instant) throws(Failure) -> [UInt8] {
    while true {
      var ready = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      let count = poll(&ready, 1, (end - .now).wholeMilliseconds)
      if count == 0 { throw .silent(daemon: daemon) }
      if count < 0 {
        if errno == EINTR { continue }
        throw .system(daemon: daemon, call: "poll", code: errno)
      }
      var code: CInt = 0
      let piece = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
        let length = recv(descriptor.rawValue, buffer.baseAddress, buffer.count, 0)
        code = length < 0 ? errno : 0
        count = max(0, length)
      }
      switch code {
      case EINTR: continue
      case ECONNRESET: throw .ended(daemon: daemon)
      case 0:
        if piece.isEmpty { throw .ended(daemon: daemon) }
        return piece
      default: throw .system(daemon: daemon, call: "recv", code: code)
      }
    }
  }
}

extension Duration {
  /// As poll(2) takes it: rounded up, so that a wait is over when it ends; never negative, at most a day.
  var wholeMilliseconds: CInt {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let part = Int64(1_000_000_000_000_000)
    return CInt(min(seconds, 86400) * 1000 + (attoseconds + part - 1) / part)
  }
}
