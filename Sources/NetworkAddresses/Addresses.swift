#if canImport(Glibc)
  import Glibc
#else
  import CPosix
#endif

/// An IPv4 address, ordered as a number.
public struct IPv4Address: Hashable, Sendable {
  /// The address as a number in the machine's order, first octet most significant.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Nil unless there are exactly four octets.
  public init?(octets: some Collection<UInt8>) {
    guard octets.count == 4 else { return nil }
    rawValue = octets.reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// The four octets in the order they go on the wire.
  public var octets: [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: rawValue >> (24 - 8 * $0)) }
  }

  /// 224.0.0.0/4 (RFC 1112): no interface may have it.
  public var isMulticast: Bool { rawValue >> 28 == 0xe }

  /// The address `count` places further on (or back); nil when that leaves the 32 bits.
  public func advanced(by count: Int) -> IPv4Address? {
    rawValue.moved(by: count).map(IPv4Address.init(rawValue:))
  }
}

extension IPv4Address: Comparable {
  public static func < (left: IPv4Address, right: IPv4Address) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension IPv4Address: LosslessStringConvertible {
  /// Reads four decimal numbers joined by dots; nil for anything else. Leading zeroes are refused, because
  /// half the world reads them as octal.
  public init?(_ description: String) {
    let parts = description.utf8.split(
      separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard let octet = decimalNumber(part, atMost: 255) else { return nil }
      value = value << 8 | UInt32(octet)
    }
    rawValue = value
  }

  public var description: String {
    octets.map(String.init).joined(separator: ".")
  }
}

/// An IPv6 address, ordered as a number. It has no zone: a link-local address says nothing of its interface.
public struct IPv6Address: Hashable, Sendable {
  /// The address as a number in the machine's order, first octet most significant.
  public let rawValue: UInt128

  public init(rawValue: UInt128) {
    self.rawValue = rawValue
  }

  /// Nil unless there are exactly sixteen octets.
  public init?(octets: some Collection<UInt8>) {
    guard octets.count == 16 else { return nil }
    rawValue = octets.reduce(0) { $0 << 8 | UInt128($1) }
  }

  /// The sixteen octets in the order they go on the wire.
  public var octets: [UInt8] {
    (0..<16).map { UInt8(truncatingIfNeeded: rawValue >> (120 - 8 * $0)) }
  }

  /// ff00::/8 (RFC 4291): no interface may have it.
  public var isMulticast: Bool { rawValue >> 120 == 0xff }

  /// fe80::/10 (RFC 4291): good on one link only.
  public var isLinkLocal: Bool { rawValue >> 118 == 0xfe80 >> 6 }

  /// The address `count` places further on (or back); nil when that leaves the 128 bits.
  public func advanced(by count: Int) -> IPv6Address? {
    rawValue.moved(by: count).map(IPv6Address.init(rawValue:))
  }
}

extension IPv6Address: Comparable {
  public static func < (left: IPv6Address, right: IPv6Address) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension IPv6Address: LosslessStringConvertible {
  /// Reads the forms of RFC 4291 section 2.2; nil for anything else, zones (`%eth0`) and brackets included.
  public init?(_ description: String) {
    // A NUL inside would end the C string early, and what follows it would pass unread.
    guard !description.utf8.contains(0) else { return nil }
    var bytes = in6_addr()
    guard inet_pton(AF_INET6, description, &bytes) == 1 else { return nil }
    self.init(octets: withUnsafeBytes(of: bytes) { Array($0) })
  }

  /// The canonical form of RFC 5952.
  public var description: String {
    // INET6_ADDRSTRLEN (46, netinet/in.h) has room for the longest form and its NUL, so the call cannot fail.
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
      octets.withUnsafeBytes { bytes in
        _ = inet_ntop(AF_INET6, bytes.baseAddress, text.baseAddress, socklen_t(text.count))
      }
      return String(cString: text.baseAddress!)
    }
  }
}

/// Reads a decimal number without sign, blanks or leading zeroes.
func decimalNumber(_ text: some Collection<UInt8>, atMost limit: Int) -> Int? {
  guard let first = text.first, text.count == 1 || first != UInt8(ascii: "0") else { return nil }
  var value = 0
  for byte in text {
    guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
    // Checked at every digit, so that no length of text can overflow.
    value = value * 10 + Int(byte - UInt8(ascii: "0"))
    guard value <= limit else { return nil }
  }
  return value
}
