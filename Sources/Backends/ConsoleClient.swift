import Glibc

/// Somebody looking at a console: a stream socket, with what it could not take yet.
struct ConsoleClient: ~Copyable {
  /// Bytes kept for a slow reader; beyond this the oldest are dropped and the loss is said.
  static let maxPending = 256 << 10

  private let socket: Descriptor
  let acceptsInput: Bool
  /// Ends once everything pending is written.
  private var endsWhenDrained: Bool
  /// Whether what was logged before has come, which goes out before `pending`.
  private(set) var hasBegun = false
  /// Whether nobody reads any more. What was typed before that still counts.
  private var isDeaf = false
  private var pending: [UInt8] = []
  /// Bytes dropped before `pending` that the reader has not been told of.
  private var lost = 0
  /// What is being told of a loss. Goes out before `pending` and is never dropped itself.
  private var notice: [UInt8] = []
  /// The loss that `notice` tells of.
  private var noticed = 0

  init(socket: consuming Descriptor, follow: Bool, input: Bool) {
    _ = fcntl(socket.raw, F_SETFL, fcntl(socket.raw, F_GETFL) | O_NONBLOCK)
    self.socket = socket
    acceptsInput = input
    endsWhenDrained = !follow
  }

  var raw: Int32 { socket.raw }

  var wantsToWrite: Bool { hasBegun && (!pending.isEmpty || !notice.isEmpty || lost > 0) }

  /// Shows what was logged until the client was made; nil when the log does not say. Output since then waits for it.
  mutating func begin(replay: [UInt8]?) {
    guard !hasBegun else { return }
    hasBegun = true
    if let replay {
      pending = replay + pending
    } else {
      notice = Array("[the log does not answer: earlier output is not shown]\n".utf8)
    }
  }

  /// Nothing more will come: ends once everything pending is written.
  mutating func finish() { endsWhenDrained = true }

  /// Gives up on a reader that does not read: says in a last line what it misses, as far as there is room.
  mutating func cut() {
    // A unix socket keeps what was sent for a reader that comes back. It is full, so it gets more room (net/core/sock.c
    // doubles this, up to net.core.wmem_max).
    var room: Int32 = 1 << 20
    setsockopt(raw, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    let line = Array(
      "\n[\(noticed + lost + pending.count) bytes of output lost: the reader stopped reading]\n".utf8)
    _ = send(raw, line, line.count, Int32(MSG_NOSIGNAL))
  }

  mutating func append(_ bytes: [UInt8]) {
    if isDeaf { return }
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
    while hasBegun {
      if notice.isEmpty && lost > 0 {
        notice = Array("\n[\(lost) bytes of output lost: the reader is too slow]\n".utf8)
        noticed = lost
        lost = 0
      }
      let next = notice.isEmpty ? pending : notice
      if next.isEmpty { break }
      let written = send(raw, next, next.count, Int32(MSG_NOSIGNAL))
      if written > 0 {
        if notice.isEmpty { pending.removeFirst(written) } else { notice.removeFirst(written) }
        if notice.isEmpty { noticed = 0 }
      } else if written < 0 && errno == EINTR {
        continue
      } else {
        if written < 0 && errno == EAGAIN { return .open }
        goDeaf()
      }
    }
    return endsWhenDrained && hasBegun ? .finished : .open
  }

  /// The other end is closed. One that typed and left is served until all it typed was read.
  private mutating func goDeaf() {
    isDeaf = true
    endsWhenDrained = endsWhenDrained || !acceptsInput
    (pending, notice, lost, noticed) = ([], [], 0, 0)
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
