/// Why bytes are not JSON, and where.
public struct JSONError: Error, Sendable, Equatable {
  public enum Problem: Sendable, Equatable {
    /// The text ends inside a value; more bytes could complete it.
    case truncated
    case unexpectedByte(UInt8)
    case trailingByte(UInt8)
    case tooDeep
    case duplicateKey(String)
    case invalidUTF8
    case invalidEscape
    case controlCharacterInString
    case unpairedSurrogate
    case numberOutOfRange
  }

  public let problem: Problem
  /// The offset of the byte that could not be taken; of a truncated text, its length.
  public let offset: Int
}

extension JSONError: CustomStringConvertible {
  public var description: String {
    let what =
      switch problem {
      case .truncated: "truncated"
      case .unexpectedByte(let byte): "unexpected \(Self.name(of: byte))"
      case .trailingByte(let byte): "unexpected \(Self.name(of: byte)) after the value"
      case .tooDeep: "nested deeper than \(JSON.depthLimit) levels"
      case .duplicateKey(let key): "duplicate key \(quoted(key))"
      case .invalidUTF8: "invalid UTF-8"
      case .invalidEscape: "invalid escape in a string"
      case .controlCharacterInString: "control character in a string"
      case .unpairedSurrogate: "unpaired surrogate in a string"
      case .numberOutOfRange: "number out of range"
      }
    return "invalid JSON: \(what) at byte \(offset)"
  }

  private static func name(of byte: UInt8) -> String {
    switch byte {
    case 0x21...0x7e: "'\(Character(UnicodeScalar(byte)))'"
    default: "byte 0x" + hexadecimal(byte)
    }
  }
}

extension JSON {
  /// Arrays and objects may stand this many levels inside one another.
  public static let depthLimit = 64

  /// Reads one value, blanks around it allowed, from UTF-8. Total: any bytes give a value or an error.
  public init(parsing bytes: RawSpan) throws(JSONError) {
    var parser = JSONParser(bytes)
    self = try parser.document()
  }

  public init(parsing bytes: [UInt8]) throws(JSONError) {
    try self.init(parsing: bytes.span.bytes)
  }

  public init(parsing text: String) throws(JSONError) {
    try self.init(parsing: text.utf8.span.bytes)
  }
}

/// A recursive descent over the bytes; recursion is bounded by `JSON.depthLimit`.
private struct JSONParser: ~Escapable {
  private let bytes: RawSpan
  private var offset = 0
  private var depth = 0

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    self.bytes = bytes
  }

  @_lifetime(self: copy self)
  mutating func document() throws(JSONError) -> JSON {
    skipBlanks()
    let value = try value()
    skipBlanks()
    if let byte = peek() { throw error(.trailingByte(byte)) }
    return value
  }

  private func peek() -> UInt8? {
    offset < bytes.byteCount ? bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self) : nil
  }

  private func error(_ problem: JSONError.Problem) -> JSONError {
    JSONError(problem: problem, offset: offset)
  }

  private func unexpected() -> JSONError {
    guard let byte = peek() else { return error(.truncated) }
    return error(.unexpectedByte(byte))
  }

  @_lifetime(self: copy self)
  private mutating func skipBlanks() {
    while let byte = peek(), byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
      offset += 1
    }
  }

  @_lifetime(self: copy self)
  private mutating func value() throws(JSONError) -> JSON {
    guard let byte = peek() else { throw error(.truncated) }
    switch byte {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    case UInt8(ascii: "t"):
      try word("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try word("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try word("null")
      return .null
    default: throw unexpected()
    }
  }

  @_lifetime(self: copy self)
  private mutating func word(_ word: StaticString) throws(JSONError) {
    for position in 0..<word.utf8CodeUnitCount {
      guard peek() == word.utf8Start[position] else { throw unexpected() }
      offset += 1
    }
  }

  @_lifetime(self: copy self)
  private mutating func enter() throws(JSONError) {
    guard depth < JSON.depthLimit else { throw error(.tooDeep) }
    depth += 1
    offset += 1
    skipBlanks()
  }

  /// After an element: true when a comma says that another follows.
  @_lifetime(self: copy self)
  private mutating func another(orEndWith end: UInt8) throws(JSONError) -> Bool {
    skipBlanks()
    switch peek() {
    case UInt8(ascii: ","):
      offset += 1
      skipBlanks()
      return true
    case end:
      offset += 1
      depth -= 1
      return false
    default: throw unexpected()
    }
  }

  @_lifetime(self: copy self)
  private mutating func array() throws(JSONError) -> JSON {
    try enter()
    var elements: [JSON] = []
    if peek() == UInt8(ascii: "]") {
      _ = try another(orEndWith: UInt8(ascii: "]"))
      return .array([])
    }
    repeat {
      elements.append(try value())
    } while try another(orEndWith: UInt8(ascii: "]"))
    return .array(elements)
  }

  @_lifetime(self: copy self)
  private mutating func object() throws(JSONError) -> JSON {
    try enter()
    var members: [JSONObject.Member] = []
    var keys = KeySet()
    if peek() == UInt8(ascii: "}") {
      _ = try another(orEndWith: UInt8(ascii: "}"))
      return .object(JSONObject())
    }
    repeat {
      guard peek() == UInt8(ascii: "\"") else { throw unexpected() }
      let start = offset
      let key = try string()
      guard keys.insert(key, after: members) else {
        throw JSONError(problem: .duplicateKey(key), offset: start)
      }
      skipBlanks()
      guard peek() == UInt8(ascii: ":") else { throw unexpected() }
      offset += 1
      skipBlanks()
      members.append(JSONObject.Member(key: key, value: try value()))
    } while try another(orEndWith: UInt8(ascii: "}"))
    return .object(JSONObject(uniqueMembers: members))
  }

  @_lifetime(self: copy self)
  private mutating func number() throws(JSONError) -> JSON {
    let start = offset
    var isInteger = true
    if peek() == UInt8(ascii: "-") { offset += 1 }
    if peek() == UInt8(ascii: "0") { offset += 1 } else { try digits() }
    if peek() == UInt8(ascii: ".") {
      isInteger = false
      offset += 1
      try digits()
    }
    if let byte = peek(), byte | 0x20 == UInt8(ascii: "e") {
      isInteger = false
      offset += 1
      if let sign = peek(), sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
      try digits()
    }
    let text = string(from: start, to: offset)
    if isInteger, let value = Int64(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else {
      throw JSONError(problem: .numberOutOfRange, offset: start)
    }
    return .double(value)
  }

  @_lifetime(self: copy self)
  private mutating func digits() throws(JSONError) {
    let start = offset
    while let byte = peek(), byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { offset += 1 }
    if offset == start { throw unexpected() }
  }

  @_lifetime(self: copy self)
  private mutating func string() throws(JSONError) -> String {
    offset += 1
    let start = offset
    // Nearly every string has no escape: find its end, then copy it once.
    while let byte = peek(), byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 {
      if byte < 0x80 { offset += 1 } else { try skipMultibyteScalar() }
    }
    if peek() == UInt8(ascii: "\"") {
      offset += 1
      return string(from: start, to: offset - 1)
    }
    return try escapedString(from: start)
  }

  /// The rest of a string whose plain bytes from `start` on have been looked at already.
  @_lifetime(self: copy self)
  private mutating func escapedString(from start: Int) throws(JSONError) -> String {
    var text: [UInt8] = []
    for position in start..<offset {
      text.append(bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self))
    }
    while let byte = peek() {
      switch byte {
      case UInt8(ascii: "\""):
        offset += 1
        return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"):
        text.append(contentsOf: UTF8.encode(try escape()) ?? UTF8.encodedReplacementCharacter)
      case 0..<0x20:
        throw error(.controlCharacterInString)
      case 0..<0x80:
        text.append(byte)
        offset += 1
      default:
        let first = offset
        try skipMultibyteScalar()
        for position in first..<offset {
          text.append(bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self))
        }
      }
    }
    throw error(.truncated)
  }

  @_lifetime(self: copy self)
  private mutating func escape() throws(JSONError) -> UnicodeScalar {
    let start = offset
    offset += 1
    guard let kind = peek() else { throw error(.truncated) }
    offset += 1
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UnicodeScalar(kind)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): break
    default: throw JSONError(problem: .invalidEscape, offset: start)
    }
    let first = try fourHexadecimalDigits()
    if let scalar = UnicodeScalar(first) { return scalar }
    // A scalar beyond 16 bits is written as a high and a low surrogate.
    guard first < 0xdc00 else { throw JSONError(problem: .unpairedSurrogate, offset: start) }
    for expected in [UInt8(ascii: "\\"), UInt8(ascii: "u")] {
      guard let byte = peek() else { throw error(.truncated) }
      guard byte == expected else { throw JSONError(problem: .unpairedSurrogate, offset: start) }
      offset += 1
    }
    let second = try fourHexadecimalDigits()
    guard 0xdc00...0xdfff ~= second,
      let scalar = UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
    else { throw JSONError(problem: .unpairedSurrogate, offset: start) }
    return scalar
  }

  @_lifetime(self: copy self)
  private mutating func fourHexadecimalDigits() throws(JSONError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek() else { throw error(.truncated) }
      guard let digit = hexadecimalDigit(byte) else { throw error(.invalidEscape) }
      value = value << 4 | UInt32(digit)
      offset += 1
    }
    return value
  }

  /// Steps over one scalar of two to four bytes, checked against Unicode's table 3-7 (no overlong forms, no
  /// surrogates, nothing beyond U+10FFFF).
  @_lifetime(self: copy self)
  private mutating func skipMultibyteScalar() throws(JSONError) {
    let lead = bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    let (following, second): (Int, ClosedRange<UInt8>) =
      switch lead {
      case 0xc2...0xdf: (1, 0x80...0xbf)
      case 0xe0: (2, 0xa0...0xbf)
      case 0xed: (2, 0x80...0x9f)
      case 0xe1...0xef: (2, 0x80...0xbf)
      case 0xf0: (3, 0x90...0xbf)
      case 0xf1...0xf3: (3, 0x80...0xbf)
      case 0xf4: (3, 0x80...0x8f)
      default: throw error(.invalidUTF8)
      }
    offset += 1
    for position in 0..<following {
      guard let byte = peek() else { throw error(.truncated) }
      guard position == 0 ? second ~= byte : 0x80...0xbf ~= byte else { throw error(.invalidUTF8) }
      offset += 1
    }
  }

  private func string(from start: Int, to end: Int) -> String {
    bytes.extracting(start..<end).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
  }
}

/// The keys an object has shown so far. Most objects are small enough for the members' list to be walked; a
/// hostile one with thousands of keys must not cost the square of that.
private struct KeySet {
  private static let walkingLimit = 16
  private var hashed: Set<String> = []

  /// False when the key is there already; `members` are those inserted before.
  mutating func insert(_ key: String, after members: [JSONObject.Member]) -> Bool {
    if members.count < Self.walkingLimit {
      return !members.contains { $0.key == key }
    }
    if members.count == Self.walkingLimit {
      for member in members { hashed.insert(member.key) }
    }
    return hashed.insert(key).inserted
  }
}
