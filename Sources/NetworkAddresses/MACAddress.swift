/// A 48-bit Ethernet address (EUI-48, IEEE 802).
///
/// Ordered as a number, first octet most significant, so that a range of addresses can be handed out by
/// counting. The text form is six pairs of hexadecimal digits joined by colons; capitals are read, small
/// letters are written.
public struct MACAddress: Hashable, Sendable {
  /// The address as a number below 2^48, first octet most significant.
  public let rawValue: UInt64

  /// The largest raw value there is: `ff:ff:ff:ff:ff:ff`.
  private static let largest: UInt64 = 0xffff_ffff_ffff

  /// The all-zeroes address, which no interface may have; an FDB uses it for "every unknown destination".
  public static let zero = MACAddress(unchecked: 0)

  /// The address every station listens to.
  public static let broadcast = MACAddress(unchecked: largest)

  private init(unchecked rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// Nil when the number does not fit in 48 bits.
  public init?(rawValue: UInt64) {
    guard rawValue <= Self.largest else { return nil }
    self.rawValue = rawValue
  }

  /// Nil unless there are exactly six octets.
  public init?(octets: some Collection<UInt8>) {
    guard octets.count == 6 else { return nil }
    rawValue = octets.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The six octets in the order they go on the wire.
  public var octets: [UInt8] {
    (0..<6).map { UInt8(truncatingIfNeeded: rawValue >> (40 - 8 * $0)) }
  }

  /// The address names a group of stations (the I/G bit), broadcast among them: no interface may own it.
  public var isMulticast: Bool { rawValue & 0x0100_0000_0000 != 0 }

  /// The address is locally administered (the U/L bit), not from a vendor's block.
  public var isLocal: Bool { rawValue & 0x0200_0000_0000 != 0 }

  public var isZero: Bool { rawValue == 0 }

  /// The address can belong to a station: neither a group's nor zero.
  public var isUnicast: Bool { !isMulticast && !isZero }

  /// The address `count` places further on (or back); nil when that leaves the 48 bits.
  public func advanced(by count: Int) -> MACAddress? {
    guard let moved = rawValue.moved(by: count) else { return nil }
    return MACAddress(rawValue: moved)
  }
}

extension MACAddress: Comparable {
  public static func < (left: MACAddress, right: MACAddress) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension MACAddress: LosslessStringConvertible {
  /// Reads `aa:bb:cc:dd:ee:ff`; nil for anything else, other separators and missing zeroes included.
  public init?(_ description: String) {
    let text = Array(description.utf8)
    guard text.count == 17 else { return nil }
    var value: UInt64 = 0
    for (position, byte) in text.enumerated() {
      if position % 3 == 2 {
        guard byte == UInt8(ascii: ":") else { return nil }
      } else {
        guard let digit = hexadecimalDigit(byte) else { return nil }
        value = value << 4 | digit
      }
    }
    rawValue = value
  }

  public var description: String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(17)
    for octet in octets {
      if !text.isEmpty { text.append(UInt8(ascii: ":")) }
      text.append(digits[Int(octet >> 4)])
      text.append(digits[Int(octet & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt64? {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
  case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
  case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
  default: nil
  }
}
