#if canImport(Glibc)
  import Glibc
#else
  import CPosix
#endif

/// A client of HTTP/1.1 over one kept connection to a unix socket. Every call blocks its thread; nothing is
/// shared, so it belongs to one thread at a time.
///
/// Errors are `unavailable` (no daemon there, or no sensible answer) or `forbidden` (the socket may not be
/// opened), with a message that names the socket.
public struct HTTPClient: ~Copyable {
  public enum Method: String, Sendable {
    case get = "GET"
    case post = "POST"
    case put = "PUT"
    case patch = "PATCH"
    case delete = "DELETE"
  }

  public enum Body: Sendable {
    case none
    case json([UInt8])
    case bytes([UInt8])
    /// `size` bytes from the descriptor's position on. The descriptor stays the caller's.
    case file(descriptor: Int32, size: Int)
    /// What a descriptor gives until its end, for what does not say how much that is; more than `limit` bytes are
    /// refused. The descriptor stays the caller's.
    case stream(descriptor: Int32, limit: Int)
  }

  public let socketPath: String
  /// -1: not connected.
  private var descriptor: Int32 = -1
  private var parser = HTTPResponseParser()
  private var keepsConnection = true
  /// A head was read, the end of its body not yet.
  private var isInBody = false

  /// Connects at the first request.
  public init(socketPath: String) {
    self.socketPath = socketPath
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// For poll(2), while an answer is streamed.
  public var fileDescriptor: Int32 { descriptor }

  /// Of a body whose length was announced, the bytes that were not read yet; nil where it was not.
  public var bodyRemaining: Int? { parser.bodyRemaining }

  /// Sends a request and reads the head of its answer. What is left unread of an earlier answer is given up
  /// together with its connection.
  public mutating func request(
    _ method: Method, _ target: String, _ body: Body = .none
  ) throws(APIError) -> HTTPResponseHead {
    if !keepsConnection || isInBody { disconnect() }
    if descriptor < 0 { try connect() }
    let isSent: Bool
    do throws(APIError) {
      isSent = try send(method, target, body)
    } catch {
      // Half a request is on its way: nothing else can follow it.
      disconnect()
      throw error
    }
    while true {
      switch try nextEvent() {
      case .head(let head)?:
        // The rest of the request never went out, so no other can follow it.
        keepsConnection = head.keepsConnection && isSent
        isInBody = true
        return head
      case _?: throw failure("unexpected answer")
      case nil:
        if try receive() == 0 { throw failure("it closed the connection without an answer") }
      }
    }
  }

  /// The next bytes of the body, as soon as there are any; nil at its end.
  public mutating func read() throws(APIError) -> [UInt8]? {
    while true {
      guard let bytes = try readOnce() else { return nil }
      if !bytes.isEmpty { return bytes }
    }
  }

  /// As `read()`, but reads the socket at most once, so that it does not block when poll(2) says that there is
  /// something; the result may be empty. All that was received of the body is in the result.
  public mutating func readOnce() throws(APIError) -> [UInt8]? {
    guard isInBody else { return nil }
    guard let bytes = try readReceived() else { return nil }
    guard bytes.isEmpty else { return bytes }
    _ = try receive()
    return try readReceived()
  }

  /// The part of the body that has been received and not been read, without reading the socket; possibly
  /// empty. Nil at the body's end.
  public mutating func readReceived() throws(APIError) -> [UInt8]? {
    var bytes: [UInt8] = []
    while isInBody {
      switch try nextEvent() {
      case .body(let more)?:
        if bytes.isEmpty { bytes = more } else { bytes += more }
      case .end?: isInBody = false
      case .head?: throw failure("unexpected answer")
      case nil: return bytes
      }
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// The rest of the body, which must not be longer than `limit`.
  public mutating func readBody(limit: Int = 64 << 20) throws(APIError) -> [UInt8] {
    var body: [UInt8] = []
    while let bytes = try read() {
      guard body.count + bytes.count <= limit else { throw failure("answer too long") }
      if body.isEmpty { body = bytes } else { body += bytes }
    }
    return body
  }

  private mutating func nextEvent() throws(APIError) -> HTTPResponseParser.Event? {
    do throws(HTTPError) {
      return try parser.next()
    } catch {
      throw failure("not an HTTP answer (\(error))")
    }
  }

  private func failure(_ problem: String) -> APIError {
    APIError(.unavailable, "chaosd at \(socketPath): \(problem)")
  }

  private mutating func disconnect() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    parser = HTTPResponseParser()
    isInBody = false
    keepsConnection = true
  }

  private mutating func connect() throws(APIError) {
    guard 1...longestSocketPath ~= socketPath.utf8.count, !socketPath.utf8.contains(0) else {
      throw APIError(
        .invalidArgument,
        "socket: not a path of 1 to \(longestSocketPath) bytes: \(quoted(socketPath))",
        field: "socket")
    }
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else {
      throw APIError(.internal, "cannot make a socket: \(errorText(errno))")
    }
    guard systemConnect(descriptor, socketPath) != 0 else { return }
    let code = errno
    disconnect()
    switch code {
    case EACCES, EPERM:
      throw APIError(.forbidden, "permission denied on \(socketPath): join group chaos")
    case ENOENT, ECONNREFUSED:
      throw APIError(.unavailable, "cannot reach chaosd at \(socketPath): is it running?")
    default:
      throw APIError(.unavailable, "cannot reach chaosd at \(socketPath): \(errorText(code))")
    }
  }

  /// False when the daemon stopped listening before all was sent. It may have answered all the same: to
  /// refuse an image, say, it need not read all of it.
  private func send(
    _ method: Method, _ target: String, _ body: Body
  ) throws(APIError) -> Bool {
    var text: [UInt8] = []
    text.reserveCapacity(1024)
    text += method.rawValue.utf8
    text += " ".utf8
    text += target.utf8
    text += " HTTP/1.1\r\nHost: chaos\r\n".utf8
    let (type, length): (String, Int?) =
      switch body {
      case .none: ("", 0)
      case .json(let bytes): ("Content-Type: application/json\r\n", bytes.count)
      case .bytes(let bytes): ("Content-Type: application/octet-stream\r\n", bytes.count)
      case .file(_, let size): ("Content-Type: application/octet-stream\r\n", size)
      case .stream: ("Content-Type: application/octet-stream\r\n", nil)
      }
    text += type.utf8
    if let length {
      if method != .get { text += "Content-Length: \(length)\r\n".utf8 }
    } else {
      text += "Transfer-Encoding: chunked\r\n".utf8
    }
    text += "\r\n".utf8
    switch body {
    case .none: return try send(text)
    case .json(let bytes), .bytes(let bytes): return try send(text + bytes)
    case .file(let file, let size):
      guard try send(text) else { return false }
      return try send(file: file, size: size)
    case .stream(let file, let limit):
      guard try send(text) else { return false }
      return try send(chunksOf: file, limit: limit)
    }
  }

  private func send(_ bytes: [UInt8]) throws(APIError) -> Bool {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { [descriptor, sent] buffer in
        systemSend(descriptor, UnsafeRawBufferPointer(rebasing: buffer[sent...]))
      }
      guard count >= 0 else { return try stoppedListening(errno) }
      sent += count
    }
    return true
  }

  private func send(file: Int32, size: Int) throws(APIError) -> Bool {
    var remaining = size
    var piece: [UInt8] = []
    while remaining > 0 {
      piece = try read(file, upTo: min(remaining, Self.pieceSize))
      guard !piece.isEmpty else {
        throw APIError(.invalidArgument, "the file became shorter while it was sent")
      }
      guard try send(piece) else { return false }
      remaining -= piece.count
    }
    return true
  }

  /// In chunks (RFC 9112, section 7.1), the last of which is empty.
  private func send(chunksOf file: Int32, limit: Int) throws(APIError) -> Bool {
    var remaining = limit
    while true {
      let piece = try read(file, upTo: Self.pieceSize)
      guard piece.count <= remaining else { throw .tooLarge(limit: limit) }
      remaining -= piece.count
      let chunk = Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + Array("\r\n".utf8)
      guard try send(chunk) else { return false }
      if piece.isEmpty { return true }
    }
  }

  private static let pieceSize = 1 << 18

  private func read(_ file: Int32, upTo capacity: Int) throws(APIError) -> [UInt8] {
    var code: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      let result = systemRead(file, buffer.baseAddress, capacity)
      if result < 0 { code = errno }
      count = max(0, result)
    }
    guard code == 0 else {
      throw APIError(.invalidArgument, "cannot read the file: \(errorText(code))")
    }
    return bytes
  }

  private func stoppedListening(_ code: Int32) throws(APIError) -> Bool {
    if code == EPIPE || code == ECONNRESET { return false }
    throw failure("cannot send: \(errorText(code))")
  }

  /// One read(2) into the parser; 0 when the peer closed.
  private mutating func receive() throws(APIError) -> Int {
    let capacity = 16_384
    let count = withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 16) { buffer in
      let count = systemRead(descriptor, buffer.baseAddress, capacity)
      if count > 0 { parser.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
      return count
    }
    guard count >= 0 else {
      let code = errno
      throw failure(code == ECONNRESET ? "connection reset" : "cannot read: \(errorText(code))")
    }
    if count == 0 {
      keepsConnection = false
      do throws(HTTPError) {
        try parser.receiveEnd()
      } catch {
        throw failure("it closed the connection in the middle of an answer")
      }
    }
    return count
  }
}
