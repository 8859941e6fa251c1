/// A command line: words between spaces, some of them KEY=VALUE.
struct Words {
  private let text: Bytes

  init(_ text: Bytes) {
    self.text = text
  }

  /// The value of the first word that gives `key` one.
  func value(of key: StaticString) -> Bytes? {
    var start = 0
    while start < text.count {
      var end = start
      while end < text.count, text.byte(end) != UInt8(ascii: " ") { end += 1 }
      let word = text.part(from: start, length: end - start)
      let length = key.utf8CodeUnitCount
      if word.count > length, word.part(from: 0, length: length).spells(key),
        word.byte(length) == UInt8(ascii: "=")
      {
        return word.part(from: length + 1)
      }
      start = end + 1
    }
    return nil
  }
}

extension Bytes {
  func spells(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for offset in 0..<count where byte(offset) != text.utf8Start[offset] { return false }
    return true
  }

  /// The number that decimal digits, and nothing else, spell.
  func decimal(in range: ClosedRange<Int>) -> Int? {
    guard count > 0, count <= 18 else { return nil }
    var value = 0
    for offset in 0..<count {
      let digit = byte(offset)
      guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
      value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return range.contains(value) ? value : nil
  }

  /// The address that four decimal numbers with dots between them spell.
  var dottedIPv4: IPv4Address? {
    var value: UInt32 = 0
    var start = 0
    for octet in 0..<4 {
      var end = start
      while end < count, byte(end) != UInt8(ascii: ".") { end += 1 }
      guard (end == count) == (octet == 3),
        let number = part(from: start, length: end - start).decimal(in: 0...255)
      else { return nil }
      value = value << 8 | UInt32(number)
      start = end + 1
    }
    return IPv4Address(value: value)
  }
}
