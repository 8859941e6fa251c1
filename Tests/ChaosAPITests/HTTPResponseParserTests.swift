import Testing

@testable import ChaosAPI

/// The events of all bytes, fed in the pieces given, bodies joined.
private func events(_ pieces: [[UInt8]], closed: Bool = false) throws(HTTPError)
  -> [HTTPResponseParser.Event]
{
  var parser = HTTPResponseParser()
  var events: [HTTPResponseParser.Event] = []
  func drain() throws(HTTPError) {
    while let event = try parser.next() {
      if case .body(let more) = event, case .body(let bytes)? = events.last {
        events[events.count - 1] = .body(bytes + more)
      } else {
        events.append(event)
      }
    }
  }
  for piece in pieces {
    piece.withUnsafeBytes { parser.receive($0) }
    try drain()
  }
  if closed {
    try parser.receiveEnd()
    try drain()
  }
  return events
}

private func head(_ status: Int, _ type: String? = nil, keeps: Bool = true)
  -> HTTPResponseParser.Event
{
  .head(HTTPResponseHead(status: status, contentType: type, keepsConnection: keeps))
}

private func body(_ text: String) -> HTTPResponseParser.Event { .body(Array(text.utf8)) }

@Suite("HTTP answers")
struct HTTPResponseParserTests {
  static let answers: [(String, [HTTPResponseParser.Event])] = [
    (
      "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\ncontent-length:  5 \r\n\r\nhello",
      [head(200, "application/json"), body("hello"), .end]
    ),
    ("HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", [head(204), .end]),
    (
      "HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
      [head(200, keeps: false), .end]
    ),
    (
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n01\r\n \r\nD \r\nworld\r\n0\r\n\r\n!\r\n0\r\nA: b\r\n\r\n",
      [head(200), body("hello world\r\n0\r\n\r\n!"), .end]
    ),
    (
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
      [head(404), body("{}"), .end]
    ),
    (
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 201 C\r\nContent-Length: 1\r\n\r\nb",
      [head(200), body("a"), .end, head(201), body("b"), .end]
    ),
  ]

  @Test("are the same events however they are cut", arguments: answers)
  func splits(text: String, expected: [HTTPResponseParser.Event]) throws {
    let bytes = Array(text.utf8)
    #expect(try events([bytes]) == expected)
    #expect(try events(bytes.map { [$0] }) == expected)
    for first in 0...bytes.count {
      #expect(try events([Array(bytes[..<first]), Array(bytes[first...])]) == expected)
    }
  }

  @Test("cut off anywhere are said to be", arguments: answers)
  func truncation(text: String, expected: [HTTPResponseParser.Event]) throws {
    let bytes = Array(text.utf8)
    // Where a second message begins, the end is no truncation.
    let second = text.ranges(of: "HTTP/1.1").dropFirst().first.map {
      text.utf8.distance(from: text.startIndex, to: $0.lowerBound)
    }
    for length in 1..<bytes.count where length != second {
      #expect(throws: HTTPError.truncated) {
        try events([Array(bytes[..<length])], closed: true)
      }
    }
  }

  @Test("without a length end with the connection")
  func untilClose() throws {
    let text = Array("HTTP/1.0 200 OK\r\n\r\nhello".utf8)
    #expect(try events([text]) == [head(200, keeps: false), body("hello")])
    #expect(try events([text], closed: true) == [head(200, keeps: false), body("hello"), .end])
    #expect(try events([], closed: true) == [])
  }

  @Test(
    "that are none are refused",
    arguments: [
      ("HTTP/2 200 OK\r\n\r\n", HTTPError.unsupportedVersion),
      ("ICY 200 OKAY\r\n\r\n", .malformedStatusLine),
      ("HTTP/1.1 2000 OK\r\n\r\n", .malformedStatusLine),
      ("HTTP/1.1 +20 OK\r\n\r\n", .malformedStatusLine),
      ("HTTP/1.1 999 OK\r\n\r\n", .malformedStatusLine),
      ("\r\n\r\n", .malformedStatusLine),
      ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", .malformedContentLength),
      ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", .malformedContentLength),
      ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", .malformedContentLength),
      ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", .malformedContentLength),
      (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", .malformedContentLength
      ),
      (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        .malformedContentLength
      ),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", .unsupportedTransferEncoding),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", .unsupportedTransferEncoding),
      ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", .malformedHeader),
      ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", .malformedHeader),
      ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", .malformedHeader),
      ("HTTP/1.1 200 OK\r\nnone\r\n\r\n", .malformedHeader),
      ("HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n", .malformedHeader),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", .malformedChunk),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", .malformedChunk),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", .malformedChunk),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx", .malformedChunk),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", .malformedChunk),
      (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", .malformedChunk
      ),
    ] as [(String, HTTPError)])
  func refused(text: String, error: HTTPError) {
    #expect(throws: error) { try events([Array(text.utf8)]) }
  }

  @Test("that never end their head, a chunk's line or the trailers are given up")
  func limits() {
    let start = "HTTP/1.1 200 OK\r\n"
    let chunked = start + "Transfer-Encoding: chunked\r\n\r\n"
    let endless = Array(repeating: UInt8(ascii: "a"), count: 1 << 16)
    let lines = Array(String(repeating: "A: b\r\n", count: 1 << 14).utf8)
    #expect(throws: HTTPError.headTooLong) { try events([endless]) }
    #expect(throws: HTTPError.headTooLong) { try events([Array(start.utf8) + lines]) }
    #expect(throws: HTTPError.malformedChunk) {
      try events([Array((chunked + "1;").utf8) + endless])
    }
    #expect(throws: HTTPError.headTooLong) { try events([Array((chunked + "0\r\n").utf8) + lines]) }
    #expect(throws: HTTPError.headTooLong) {
      try events([Array((chunked + "0\r\n").utf8) + endless])
    }
  }

  @Test("with every byte changed give events or an error")
  func totality() {
    for (text, _) in Self.answers {
      let bytes = Array(text.utf8)
      for position in bytes.indices {
        for byte: UInt8 in [
          0, 0x0a, 0x0d, 0x20, 0x2d, 0x30, 0x39, 0x3a, 0x41, 0x66, 0x7f, 0x80, 0xff,
        ] {
          var changed = bytes
          changed[position] = byte
          _ = try? events([changed], closed: true)
        }
      }
    }
  }
}
