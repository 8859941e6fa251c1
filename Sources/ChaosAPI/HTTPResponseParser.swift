/// Why bytes are not an answer in HTTP/1.1.
public enum HTTPError: Error, Sendable, Equatable {
  case headTooLong
  case malformedStatusLine
  case unsupportedVersion
  case malformedHeader
  case malformedContentLength
  case unsupportedTransferEncoding
  case malformedChunk
  /// The connection ended inside an answer.
  case truncated
}

extension HTTPError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .headTooLong: "head too long"
    case .malformedStatusLine: "malformed status line"
    case .unsupportedVersion: "not HTTP/1"
    case .malformedHeader: "malformed header"
    case .malformedContentLength: "malformed Content-Length"
    case .unsupportedTransferEncoding: "unknown transfer encoding"
    case .malformedChunk: "malformed chunk"
    case .truncated: "cut off"
    }
  }
}

/// The head of an answer, as far as this client needs it.
public struct HTTPResponseHead: Sendable, Equatable {
  public var status: Int
  /// Without its parameters, in small letters: `application/json`.
  public var contentType: String?
  /// The connection can carry another request after this answer.
  public var keepsConnection: Bool
}

/// Takes answers apart as their bytes arrive, in whatever pieces. Total: any bytes give events or an error,
/// and what it holds back is bounded.
public struct HTTPResponseParser: Sendable {
  public enum Event: Sendable, Equatable {
    case head(HTTPResponseHead)
    case body([UInt8])
    case end
  }

  /// What a head, its trailers after a chunked body likewise, may take.
  public static let headLimit = 16_384
  /// What the line before a chunk may take, extensions included.
  static let chunkLineLimit = 256

  fileprivate enum State: Equatable {
    case head
    case fixed(remaining: Int)
    case chunkLine
    case chunk(remaining: Int)
    case chunkEnd
    case trailers(used: Int)
    case untilClose
    case end
  }

  private var state = State.head
  private var buffer: [UInt8] = []
  /// Of the buffer's bytes, how many have been taken.
  private var taken = 0

  public init() {}

  public mutating func receive(_ bytes: UnsafeRawBufferPointer) {
    if taken > 0 {
      buffer.removeFirst(taken)
      taken = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// Of a body whose length was announced, the bytes that no event has had; nil where it was not, or between answers.
  public var bodyRemaining: Int? {
    if case .fixed(let remaining) = state { return remaining }
    return nil
  }

  /// The next event; nil when more bytes are needed.
  public mutating func next() throws(HTTPError) -> Event? {
    while true {
      switch state {
      case .head:
        guard let fields = try head() else { return nil }
        // 1xx announces an answer and is none.
        if 100..<200 ~= fields.head.status { continue }
        state = try fields.bodyState()
        return .head(fields.head)
      case .fixed(let remaining):
        if remaining == 0 { state = .end } else { return body(upTo: remaining) }
      case .chunk(let remaining):
        if remaining == 0 { state = .chunkEnd } else { return body(upTo: remaining) }
      case .untilClose:
        return body(upTo: .max)
      case .chunkLine:
        guard let line = try line(limit: Self.chunkLineLimit, else: .malformedChunk) else {
          return nil
        }
        let size = try chunkSize(line)
        state = size == 0 ? .trailers(used: 0) : .chunk(remaining: size)
      case .chunkEnd:
        guard let line = try line(limit: 0, else: .malformedChunk) else { return nil }
        guard line.isEmpty else { throw .malformedChunk }
        state = .chunkLine
      case .trailers(let used):
        guard let line = try line(limit: Self.headLimit - used, else: .headTooLong) else {
          return nil
        }
        state = line.isEmpty ? .end : .trailers(used: used + line.count + 2)
      case .end:
        state = .head
        return .end
      }
    }
  }

  /// The peer closed: the end of an answer that ends so, or of one that does not.
  public mutating func receiveEnd() throws(HTTPError) {
    switch state {
    case .untilClose: state = .end
    case .end: break
    case .head where taken == buffer.count: break
    default: throw .truncated
    }
  }

  private mutating func body(upTo limit: Int) -> Event? {
    let count = min(buffer.count - taken, limit)
    guard count > 0 else { return nil }
    let bytes = Array(buffer[taken..<taken + count])
    taken += count
    switch state {
    case .fixed(let remaining): state = .fixed(remaining: remaining - count)
    case .chunk(let remaining): state = .chunk(remaining: remaining - count)
    default: break
    }
    return .body(bytes)
  }

  /// A line without its CRLF; nil when it is not all there yet.
  private mutating func line(
    limit: Int, else error: HTTPError
  ) throws(HTTPError) -> ArraySlice<UInt8>? {
    let rest = buffer[taken...]
    guard let newline = rest.firstIndex(of: UInt8(ascii: "\n")) else {
      // One byte more than the limit may be the carriage return.
      guard rest.count <= limit + 1 else { throw error }
      return nil
    }
    guard newline > taken, buffer[newline - 1] == UInt8(ascii: "\r"), newline - 1 - taken <= limit
    else { throw error }
    let line = buffer[taken..<newline - 1]
    taken = newline + 1
    return line
  }

  /// `SIZE[;extensions]` in hexadecimal.
  private func chunkSize(_ line: ArraySlice<UInt8>) throws(HTTPError) -> Int {
    let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ") }
    // Fifteen digits stay below 2^60.
    guard 1...15 ~= digits.count else { throw .malformedChunk }
    var size = 0
    for byte in digits {
      guard let digit = hexadecimalDigit(byte) else { throw .malformedChunk }
      size = size << 4 | Int(digit)
    }
    return size
  }

  /// The whole head; nil when it is not all there yet.
  private mutating func head() throws(HTTPError) -> HeadFields? {
    guard let end = try endOfHead() else { return nil }
    guard let statusLine = try line(limit: Self.headLimit, else: .malformedStatusLine) else {
      return nil
    }
    var fields = try HeadFields(statusLine: statusLine)
    while taken < end {
      guard let line = try line(limit: Self.headLimit, else: .malformedHeader), !line.isEmpty else {
        break
      }
      try fields.take(line)
    }
    return fields
  }

  /// Where the first empty line ends.
  private func endOfHead() throws(HTTPError) -> Int? {
    var position = taken
    while position + 3 < buffer.count {
      if buffer[position] == UInt8(ascii: "\r"), buffer[position + 1] == UInt8(ascii: "\n"),
        buffer[position + 2] == UInt8(ascii: "\r"), buffer[position + 3] == UInt8(ascii: "\n")
      {
        return position + 4
      }
      position += 1
      guard position - taken <= Self.headLimit else { throw .headTooLong }
    }
    return nil
  }
}

/// What the lines of a head have said so far.
private struct HeadFields {
  var head: HTTPResponseHead
  private var contentLength: Int?
  private var isChunked = false

  /// `HTTP/1.1 200 OK`; the reason may be missing.
  init(statusLine line: ArraySlice<UInt8>) throws(HTTPError) {
    let bytes = Array(line)
    guard bytes.count >= 12, bytes.starts(with: "HTTP/".utf8) else { throw .malformedStatusLine }
    guard bytes.starts(with: "HTTP/1.1 ".utf8) || bytes.starts(with: "HTTP/1.0 ".utf8) else {
      throw .unsupportedVersion
    }
    guard let status = decimal(bytes[9..<12]), 100...599 ~= status,
      bytes.count == 12 || bytes[12] == UInt8(ascii: " ")
    else { throw .malformedStatusLine }
    head = HTTPResponseHead(status: status, keepsConnection: bytes[7] == UInt8(ascii: "1"))
  }

  mutating func take(_ line: ArraySlice<UInt8>) throws(HTTPError) {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex else {
      throw .malformedHeader
    }
    let name = line[..<colon]
    // A blank before the colon or at the line's start (a folded line) is not a name's byte.
    guard name.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { throw .malformedHeader }
    let value = trimmed(line[(colon + 1)...])
    if equal(name, "content-length") {
      guard let length = decimal(value), contentLength == nil || contentLength == length else {
        throw .malformedContentLength
      }
      contentLength = length
    } else if equal(name, "transfer-encoding") {
      guard equal(value, "chunked"), !isChunked else { throw .unsupportedTransferEncoding }
      isChunked = true
    } else if equal(name, "connection") {
      if equal(value, "close") { head.keepsConnection = false }
    } else if equal(name, "content-type") {
      let type = trimmed(value.prefix { $0 != UInt8(ascii: ";") })
      head.contentType = String(decoding: type.map(lowercase), as: UTF8.self)
    }
  }

  /// The state that reads the body this head announces.
  func bodyState() throws(HTTPError) -> HTTPResponseParser.State {
    if head.status == 204 || head.status == 304 { return .end }
    // Two lengths can disagree about where the next answer begins.
    if isChunked, contentLength != nil { throw .malformedContentLength }
    if isChunked { return .chunkLine }
    return contentLength.map { .fixed(remaining: $0) } ?? .untilClose
  }
}

private func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
  var bytes = bytes.drop { $0 == 0x20 || $0 == 0x09 }
  while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
  return bytes
}

private func lowercase(_ byte: UInt8) -> UInt8 {
  byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
}

/// Without regard to case; `word` is in small letters.
private func equal(_ bytes: ArraySlice<UInt8>, _ word: StaticString) -> Bool {
  guard bytes.count == word.utf8CodeUnitCount else { return false }
  for (position, byte) in bytes.enumerated() {
    guard lowercase(byte) == word.utf8Start[position] else { return false }
  }
  return true
}

/// At most 18 digits, which fit 63 bits.
private func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
  guard 1...18 ~= digits.count else { return nil }
  var value = 0
  for byte in digits {
    guard isDigit(byte) else { return nil }
    value = value * 10 + Int(byte - UInt8(ascii: "0"))
  }
  return value
}
