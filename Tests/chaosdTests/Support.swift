import ChaosAPI
import Dispatch
import Glibc
import NIOCore
import NIOPosix
import Synchronization
import Testing
import Threads

@testable import chaosd

/// Waits for a condition that another thread makes true.
func eventually(_ condition: () -> Bool) async throws -> Bool {
  for _ in 0..<2000 {
    if condition() { return true }
    try await Task.sleep(for: .milliseconds(5))
  }
  return false
}

/// Holds whoever waits until it is opened.
final class Gate: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)

  func wait() {
    semaphore.wait()
    semaphore.signal()
  }

  func open() { semaphore.signal() }
}

/// Routes that show what the edge does: `now`, `block` (until the gate opens), `wait` (for a minute), `store`.
final class TestRouter: Router {
  let gate = Gate()
  let cancelledWaits = Mutex(0)
  let sink = TestSink()

  func bodySink(for request: RequestHead) throws -> (any BodySink)? {
    request.path == ["store"] ? sink : nil
  }

  func reply(to request: RequestHead, body: [UInt8]) throws -> Reply {
    switch request.path.first {
    case "now": return .now(Answer(text: body, contentType: "text/plain"))
    case "block":
      return .answer { [gate] _ in
        gate.wait()
        return Answer(status: .noContent)
      }
    case "wait":
      let milliseconds = try request.query.seconds("milliseconds", default: 60_000)
      return .waiting { [self] in
        do {
          try await Task.sleep(for: .milliseconds(milliseconds))
        } catch {
          cancelledWaits.withLock { $0 += 1 }
          throw error
        }
        return Answer(status: .noContent)
      }
    default: throw APIError(.notFound, "no such resource")
    }
  }
}

final class TestSink: BodySink {
  struct State {
    var bytes: [UInt8] = []
    var isAbandoned = false
    var failure: APIError?
  }

  let state = Mutex(State())
  let gate = Mutex<Gate?>(nil)

  func append(_ bytes: UnsafeRawBufferPointer, _ blocking: borrowing Blocking) throws {
    gate.withLock { $0 }?.wait()
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      state.bytes += bytes
    }
  }

  func finish(_ blocking: borrowing Blocking) throws -> Response { .whole(Answer(status: .created)) }

  func abandon() { state.withLock { $0.isAbandoned = true } }
}

/// A server of its own on a socket of its own.
struct TestServer {
  let path = "/tmp/chaosd-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
  let router = TestRouter()
  let edge: Edge
  let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let channel: any Channel

  /// - Parameter listener: listens at the path already, as one of a service manager's.
  init(_ limits: Limits = Limits(), audit: AuditLog? = nil, listener: ((String) -> Int32)? = nil) async throws {
    let pool = try BlockingPool(
      name: "test", .init(threads: limits.blockingThreads, queued: limits.blockingQueue))
    edge = try Edge(pool: pool, tasks: try TaskThread(name: "test"), limits: limits, audit: audit)
    let server = APIServer(router, edge, group: group) { _ in }
    if let listener {
      channel = try await server.listen(on: listener(path))
    } else {
      channel = try await server.listen(at: path)
    }
  }

  func stop() async throws {
    router.gate.open()
    router.sink.gate.withLock { $0 }?.open()
    try await channel.close()
    unlink(path)
    try await group.shutdownGracefully()
  }

  /// Runs a body against a server.
  static func with(
    _ limits: Limits = Limits(), audit: AuditLog? = nil, _ body: (TestServer) async throws -> Void
  ) async throws {
    let server = try await TestServer(limits, audit: audit)
    let result: Result<Void, any Error>
    do { result = .success(try await body(server)) } catch { result = .failure(error) }
    try await server.stop()
    try result.get()
  }
}

/// Where clients wait, so that the threads that tests run on need not.
private let clients = Result { try BlockingPool(name: "clients", .init(threads: 64, queued: 1000)) }

/// A client that says exactly what it is told to.
final class TestClient: Sendable {
  let socket: Int32

  /// - Parameter socket: one that is there already.
  init(_ path: String, on socket: Int32? = nil) throws {
    self.socket = socket ?? Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    try connect(path)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(self.socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  struct Failure: Error {
    let errno: Int32
  }

  private func connect(_ path: String) throws(Failure) {
    let result = withAddress(path) { Glibc.connect(socket, $0, $1) }
    if result < 0 { throw Failure(errno: errno) }
  }

  deinit { close(socket) }

  func say(_ text: String) { say(Array(text.utf8)) }

  func say(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { return }
      rest = rest.dropFirst(count)
    }
  }

  /// The same of what the server may not take at once.
  func sayLater(_ bytes: [UInt8]) async { await waiting { $0.say(bytes) } }

  /// How much of many bytes the server takes within half a second.
  func offer(_ count: Int) async -> Int {
    await waiting { client in
      var limit = timeval(tv_sec: 0, tv_usec: 500_000)
      setsockopt(client.socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      let piece = [UInt8](repeating: 7, count: 64 << 10)
      var taken = 0
      while taken < count {
        let sent = send(client.socket, piece, min(piece.count, count - taken), Int32(MSG_NOSIGNAL))
        if sent <= 0 { break }
        taken += sent
      }
      limit = timeval(tv_sec: 20, tv_usec: 0)
      setsockopt(client.socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      return taken
    }
  }

  func endInput() { shutdown(socket, Int32(SHUT_WR)) }

  /// What comes until a text is in it, or the end.
  func hear(until wanted: String? = nil) async -> String {
    await waiting { client in
      var heard: [UInt8] = []
      while true {
        if let wanted, String(decoding: heard, as: UTF8.self).contains(wanted) { break }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(client.socket, &buffer, buffer.count, 0)
        if count <= 0 { break }
        heard += buffer.prefix(count)
      }
      return String(decoding: heard, as: UTF8.self)
    }
  }

  /// Whether the server closes before the receiver's time-out.
  var isClosed: Bool {
    get async {
      await waiting { client in
        var byte: UInt8 = 0
        return recv(client.socket, &byte, 1, 0) == 0
      }
    }
  }

  private func waiting<Result: Sendable>(_ body: @escaping @Sendable (TestClient) -> Result) async -> Result {
    do { return try await clients.get().run { _ in body(self) } } catch { fatalError("\(error)") }
  }
}

func request(_ method: String, _ path: String, body: String = "", headers: String = "") -> String {
  "\(method) \(path) HTTP/1.1\r\nhost: c\r\ncontent-length: \(body.utf8.count)\r\n\(headers)\r\n\(body)"
}

/// Calls `body` with a unix socket's address.
func withAddress<Result>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}
