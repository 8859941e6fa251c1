/// Something that takes text a byte at a time.
protocol TextOutput {
  mutating func put(_ byte: UInt8)
}

extension TextOutput {
  mutating func write(_ text: StaticString) {
    let start = text.utf8Start
    for offset in 0..<text.utf8CodeUnitCount { put(start[offset]) }
  }

  /// Text that somebody else chose: control characters become question marks.
  mutating func write(_ text: Bytes) {
    for offset in 0..<text.count {
      let byte = text.byte(offset)
      put(byte < 0x20 || byte == 0x7f ? UInt8(ascii: "?") : byte)
    }
  }

  mutating func writeDecimal(_ value: UInt64) {
    if value >= 10 { writeDecimal(value / 10) }
    put(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10))
  }

  mutating func writeTwoDigits(_ value: UInt64) {
    put(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / 10 % 10))
    put(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10))
  }

  /// Hexadecimal, at least `digits` of it.
  mutating func writeHexadecimal(_ value: UInt64, digits: Int = 1) {
    if value >= 16 || digits > 1 { writeHexadecimal(value >> 4, digits: digits - 1) }
    let digit = UInt8(truncatingIfNeeded: value & 15)
    put(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
  }

  mutating func write(_ address: MACAddress) {
    for octet in 0..<6 {
      if octet > 0 { put(UInt8(ascii: ":")) }
      writeHexadecimal(address.value >> UInt64(40 - 8 * octet) & 0xff, digits: 2)
    }
  }

  mutating func write(_ address: IPv4Address) {
    for octet in 0..<4 {
      if octet > 0 { put(UInt8(ascii: ".")) }
      writeDecimal(UInt64(address.value >> UInt32(24 - 8 * octet) & 0xff))
    }
  }

  /// RFC 5952: the longest run of zero groups is left out.
  mutating func write(_ address: IPv6Address) {
    var longest = 0..<0
    var run = 0..<0
    for index in 0..<8 {
      run = address.group(index) == 0 ? run.lowerBound..<(index + 1) : (index + 1)..<(index + 1)
      if run.count > longest.count, run.count > 1 { longest = run }
    }
    var index = 0
    while index < 8 {
      if index == longest.lowerBound, !longest.isEmpty {
        write("::")
        index = longest.upperBound
        continue
      }
      if index > 0, index != longest.upperBound { put(UInt8(ascii: ":")) }
      writeHexadecimal(address.group(index))
      index += 1
    }
  }
}

extension IPv6Address {
  fileprivate func group(_ index: Int) -> UInt64 {
    (index < 4 ? high : low) >> UInt64(48 - 16 * (index & 3)) & 0xffff
  }
}

/// Text into a buffer. What does not fit is dropped, and `overflowed` says so.
struct TextWriter: TextOutput {
  private let bytes: Bytes
  private(set) var count = 0
  private(set) var overflowed = false

  init(_ bytes: Bytes) {
    self.bytes = bytes
  }

  mutating func put(_ byte: UInt8) {
    guard count < bytes.count else {
      overflowed = true
      return
    }
    bytes.setByte(count, byte)
    count += 1
  }
}
