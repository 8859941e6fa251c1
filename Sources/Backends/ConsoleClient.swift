import Glibc

/// Somebody looking at a console: a stream socket, with what it could not take yet.
struct ConsoleClient: ~Copyable {
  /// Bytes kept for a slow reader; beyond this the oldest are dropped and the loss is said.
  static let maxPending = 256 << 10

  private let socket: Descriptor
  let acceptsInput: Bool
  /// Ends once everything pending is written.
  private let endsWhenDrained: Bool
  private var pending: [UInt8]
  /// Bytes dropped before `pending` that the reader has not been told of.
  private var lost = 0
  /// What is being told of a loss. Goes out before `pending` and is never dropped itself.
  private var notice: [UInt8] = []

  init(socket: consuming Descriptor, follow: Bool, input: Bool, replay: [UInt8]) {
    _ = fcntl(socket.raw, F_SETFL, fcntl(socket.raw, F_GETFL) | O_NONBLOCK)
    self.socket = socket
    acceptsInput = input
    endsWhenDrained = !follow
    pending = replay
  }

  var raw: Int32 { socket.raw }

  var wantsToWrite: Bool { !pending.isEmpty || !notice.isEmpty }

  mutating func append(_ bytes: [UInt8]) {
    pending += bytes
    let excess = pending.count - Self.maxPending
    if excess > 0 {
      pending.removeFirst(excess)
      lost += excess
    }
  }

  enum Outcome { case open, finished }

  /// Writes what the reader takes.
  mutating func flush() -> Outcome {
    while true {
      if notice.isEmpty && lost > 0 {
        notice = Array("\n[\(lost) bytes of output lost: the reader is too slow]\n".utf8)
        lost = 0
      }
      let next = notice.isEmpty ? pending : notice
      if next.isEmpty { break }
      let written = send(raw, next, next.count, Int32(MSG_NOSIGNAL))
      if written > 0 {
        if notice.isEmpty { pending.removeFirst(written) } else { notice.removeFirst(written) }
      } else if written < 0 && errno == EINTR {
        continue
      } else {
        return written < 0 && errno == EAGAIN ? .open : .finished
      }
    }
    return endsWhenDrained ? .finished : .open
  }

  enum Input {
    case bytes([UInt8])
    case nothing, closed
  }

  /// What was typed, at most `limit` bytes.
  func read(limit: Int) -> Input {
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = recv(raw, &bytes, limit, 0)
    if count > 0 { return .bytes(Array(bytes.prefix(count))) }
    return count < 0 && (errno == EAGAIN || errno == EINTR) ? .nothing : .closed
  }
}
