/// A value as an error message shows it: in quotes, on one line, no longer than a line, and with nothing in
/// it that a terminal would act on.
func quoted(_ value: String) -> String {
  var text = "'"
  var length = 0
  for scalar in value.unicodeScalars {
    guard length < 80 else { return text + "...'" }
    length += 1
    switch scalar.value {
    case 0x0a: text += "\\n"
    case 0..<0x20, 0x7f..<0xa0: text += "\\x" + hexadecimal(UInt8(truncatingIfNeeded: scalar.value))
    // Line and paragraph separators, and the marks that turn the direction of what follows.
    case 0x2028...0x202e, 0x2066...0x2069: text += "\u{fffd}"
    default: text.unicodeScalars.append(scalar)
    }
  }
  return text + "'"
}

/// Two small digits.
func hexadecimal(_ byte: UInt8) -> String {
  let digits: StaticString = "0123456789abcdef"
  return String(UnicodeScalar(digits.utf8Start[Int(byte >> 4)]))
    + String(UnicodeScalar(digits.utf8Start[Int(byte & 15)]))
}

func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
  default: nil
  }
}

func isLetterOrDigit(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
    UInt8(ascii: "A")...UInt8(ascii: "Z"):
    true
  default: false
  }
}

func isDigit(_ byte: UInt8) -> Bool {
  byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
}
