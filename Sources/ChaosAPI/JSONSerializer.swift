extension JSON {
  /// The shortest text, on one line.
  public var compact: [UInt8] {
    var serializer = JSONSerializer(indented: false)
    serializer.append(self, level: 0)
    return serializer.text
  }

  /// Two blanks a level, a newline at the end, for people.
  public var pretty: [UInt8] {
    var serializer = JSONSerializer(indented: true)
    serializer.append(self, level: 0)
    serializer.text.append(UInt8(ascii: "\n"))
    return serializer.text
  }
}

extension JSON: CustomStringConvertible {
  public var description: String { String(decoding: compact, as: UTF8.self) }
}

private struct JSONSerializer {
  var text: [UInt8] = []
  private let indented: Bool

  init(indented: Bool) {
    self.indented = indented
    text.reserveCapacity(512)
  }

  mutating func append(_ value: JSON, level: Int) {
    switch value {
    case .null: append("null")
    case .bool(let value): append(value ? "true" : "false")
    case .integer(let value): append(value.description)
    // JSON has no word for what is not finite.
    case .double(let value): append(value.isFinite ? value.description : "null")
    case .string(let value): append(quoting: value)
    case .array(let elements):
      append(list: elements, between: ("[", "]"), level: level) { element, serializer in
        serializer.append(element, level: level + 1)
      }
    case .object(let object):
      append(list: object.members, between: ("{", "}"), level: level) { member, serializer in
        serializer.append(quoting: member.key)
        serializer.append(serializer.indented ? ": " : ":")
        serializer.append(member.value, level: level + 1)
      }
    }
  }

  private mutating func append(_ string: String) {
    text.append(contentsOf: string.utf8)
  }

  private mutating func append<Element>(
    list: [Element], between marks: (open: String, close: String), level: Int,
    _ appendElement: (Element, inout JSONSerializer) -> Void
  ) {
    append(marks.open)
    for (position, element) in list.enumerated() {
      if position > 0 { append(",") }
      appendNewline(level: level + 1)
      appendElement(element, &self)
    }
    if !list.isEmpty { appendNewline(level: level) }
    append(marks.close)
  }

  private mutating func appendNewline(level: Int) {
    guard indented else { return }
    text.append(UInt8(ascii: "\n"))
    for _ in 0..<2 * level { text.append(UInt8(ascii: " ")) }
  }

  private mutating func append(quoting string: String) {
    text.append(UInt8(ascii: "\""))
    for byte in string.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        text.append(UInt8(ascii: "\\"))
        text.append(byte)
      case UInt8(ascii: "\n"): append("\\n")
      case UInt8(ascii: "\r"): append("\\r")
      case UInt8(ascii: "\t"): append("\\t")
      // DEL too: a terminal that shows the text must not act on it.
      case 0..<0x20, 0x7f: append("\\u00" + hexadecimal(byte))
      default: text.append(byte)
      }
    }
    text.append(UInt8(ascii: "\""))
  }
}
