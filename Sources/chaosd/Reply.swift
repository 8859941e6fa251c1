import ChaosAPI
import Glibc
import NIOCore
import NIOHTTP1
import Threads
import Toolstack

/// A request's first line as the routes need it.
struct RequestHead: Sendable {
  let method: HTTPMethod
  /// The path's parts, percent-decoded: `/v1/guests/a` is `["v1", "guests", "a"]`, and `/v1/guests/` is not
  /// `/v1/guests`: a client whose name for a guest is empty does not mean all of them.
  let path: [String]
  let query: Query
  let keepAlive: Bool
  /// Of the body; nil where it is not announced.
  let contentLength: Int?
  /// The client waits with its body until it is told to go on.
  let expectsContinue: Bool

  var changesState: Bool { method != .GET && method != .HEAD }

  init(_ head: HTTPRequestHead) {
    method = head.method
    keepAlive = head.isKeepAlive
    contentLength = head.headers.first(name: "content-length").flatMap { Int($0) }
    expectsContinue = head.headers.first(name: "expect")?.lowercased() == "100-continue"
    let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    path = (parts.first ?? "").split(separator: "/", omittingEmptySubsequences: false).dropFirst().map {
      percentDecoded($0)
    }
    query = Query(parts.count > 1 ? parts[1] : "")
  }
}

/// A request's query parameters; of one given twice the last counts.
struct Query: Sendable {
  private let values: [String: String]

  init(_ text: Substring) {
    var values: [String: String] = [:]
    for pair in text.split(separator: "&") {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      values[percentDecoded(parts[0])] = parts.count > 1 ? percentDecoded(parts[1]) : ""
    }
    self.values = values
  }

  subscript(name: String) -> String? { values[name] }

  func flag(_ name: String) throws(APIError) -> Bool {
    switch self[name] {
    case nil, "false": return false
    case "true": return true
    case let other?: throw .refused(name, "expected 'true' or 'false'", other)
    }
  }

  /// A time limit in whole seconds, up to a day.
  func seconds(_ name: String, default standard: Int) throws(APIError) -> Int {
    guard let text = self[name] else { return standard }
    guard let value = Int(text), (0...86_400).contains(value) else {
      throw .refused(name, "expected 0...86400 seconds", text)
    }
    return value
  }
}

/// Decodes %XX; what is no valid escape stays as it is.
private func percentDecoded(_ text: Substring) -> String {
  guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
  var bytes: [UInt8] = []
  var rest = text.utf8[...]
  while let byte = rest.popFirst() {
    if byte == UInt8(ascii: "%"), rest.count >= 2, let value = UInt8(String(Substring(rest.prefix(2))), radix: 16) {
      bytes.append(value)
      rest = rest.dropFirst(2)
    } else {
      bytes.append(byte)
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// How a request is answered.
enum Reply {
  /// Made on the event loop, at once: what is measured to take less than a switch of threads.
  case now(Answer)
  /// Made on a thread that may block.
  case blocking(@Sendable (borrowing Blocking) throws -> Response)
  /// Made on a thread that waits for nobody's operations: looks at memory, the hypervisor and the host's interfaces.
  case looking(@Sendable (borrowing Blocking) throws -> Answer)
  /// Waits for a guest; cancelled when the client leaves.
  case waiting(@Sendable () async throws -> Answer)

  /// A whole answer, made on a thread that may block.
  static func answer(_ make: @escaping @Sendable (borrowing Blocking) throws -> Answer) -> Reply {
    .blocking { blocking in .whole(try make(blocking)) }
  }
}

/// What goes back to a client.
enum Response: Sendable {
  case whole(Answer)
  case stream(ReplyStream)
}

/// A whole answer.
struct Answer: Sendable {
  var status: HTTPResponseStatus
  var contentType: String?
  var body: [UInt8] = []
  /// What the audit log says of it.
  var code = "ok"

  init(_ value: some JSONConvertible, status: HTTPResponseStatus = .ok) {
    self.status = status
    contentType = "application/json"
    body = value.json.compact
  }

  init(_ error: APIError) {
    status = HTTPResponseStatus(statusCode: error.code.httpStatus)
    contentType = "application/json"
    body = error.body.compact
    code = error.code.rawValue
  }

  init(text: [UInt8], contentType: String) {
    status = .ok
    self.contentType = contentType
    body = text
  }

  init(status: HTTPResponseStatus) { self.status = status }
}

/// An answer that comes in pieces.
struct ReplyStream: Sendable {
  var contentType: String
  /// Of all pieces together, in bytes; nil where nobody knows.
  var length: Int?
  /// In which a client takes a piece; nil: it has all the time.
  var stall: TimeAmount?
  /// Makes the pieces; each call of the closure it is given returns when the piece has left.
  var produce: @Sendable (@Sendable ([UInt8]) async throws -> Void) async throws -> Void
  /// A client that sends no more has seen enough of it.
  var endsWithInput = false
  /// Called when the client leaves.
  var cancel: @Sendable () -> Void
}
