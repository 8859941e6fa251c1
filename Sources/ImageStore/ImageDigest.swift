import CDigest

/// The SHA-256 of an image's bytes: what an image is known by.
public struct ImageDigest: Hashable, Sendable, CustomStringConvertible {
  /// 32 bytes.
  public let bytes: [UInt8]

  /// - Parameter text: 64 lower-case hexadecimal digits, with or without `sha256:` before them.
  public init?(_ text: String) {
    var digits = text.utf8[...]
    if text.hasPrefix("sha256:") { digits = digits.dropFirst(7) }
    guard digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in digits {
      guard let value = Self.value(ofDigit: digit) else { return nil }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    self.bytes = bytes
  }

  private static func value(ofDigit digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }

  fileprivate init(bytes: [UInt8]) { self.bytes = bytes }

  /// 64 lower-case hexadecimal digits.
  public var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  public var description: String { "sha256:" + hexadecimal }
}

/// SHA-256 of bytes that come in pieces.
struct DigestBuilder {
  private var context = SHA2_CTX()

  init() { SHA256Init(&context) }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    SHA256Update(&context, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  mutating func finish() -> ImageDigest {
    var bytes = [UInt8](repeating: 0, count: 32)
    SHA256Final(&bytes, &context)
    return ImageDigest(bytes: bytes)
  }
}
