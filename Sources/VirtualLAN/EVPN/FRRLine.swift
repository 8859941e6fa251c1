/// One line of an FRR configuration and where it stands.
struct FRRLine {
  /// Of its bytes, its end of line included.
  let range: Range<Int>
  /// Counted from 1.
  let number: Int
  /// What it says; empty for a comment or an empty line.
  let words: [String]
  /// The comment's text, blanks around it removed; nil for any other line.
  let comment: String?

  /// Splits a text at its line feeds. A carriage return before one counts as a blank, and so do bytes that are no
  /// text; nothing is lost, as every byte is in one line's range.
  static func lines(of bytes: [UInt8]) -> [FRRLine] {
    var lines: [FRRLine] = []
    var start = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? bytes.count
      lines.append(FRRLine(range: start..<end, number: lines.count + 1, text: bytes[start..<end]))
      start = end
    }
    return lines
  }

  private init(range: Range<Int>, number: Int, text: ArraySlice<UInt8>) {
    self.range = range
    self.number = number
    let words = text.split { $0 <= UInt8(ascii: " ") }.map { String(decoding: $0, as: UTF8.self) }
    // FRR takes both marks for a comment's (lib/command.c: cmd_make_strvec).
    if let first = words.first, first.hasPrefix("!") || first.hasPrefix("#") {
      self.words = []
      comment = words.joined(separator: " ")
    } else {
      self.words = words
      comment = nil
    }
  }
}

/// Where a line of an FRR configuration stands, as far as BGP is concerned.
struct FRRContext {
  /// A `router bgp` section.
  struct Instance {
    /// Nil where the line has no number that FRR would take.
    let asNumber: UInt32?
    /// Not of a VRF or a view.
    let isDefault: Bool
    let line: Int
  }

  private(set) var instance: Instance?
  /// The words after `address-family`.
  private(set) var addressFamily: [String]?

  /// The section that says what is announced and taken of EVPN.
  var isEVPN: Bool { instance?.isDefault == true && addressFamily == ["l2vpn", "evpn"] }

  /// Takes the next line in. Afterwards the context is that in which the line is read; a line that opens a
  /// section is in it already.
  mutating func enter(_ line: FRRLine) {
    guard let first = line.words.first else { return }
    switch first {
    case "router":
      self = FRRContext()
      guard line.words.dropFirst().first == "bgp" else { return }
      let rest = line.words.dropFirst(2)
      let asNumber = rest.first.flatMap(Self.asNumber)
      let details = rest.dropFirst(asNumber == nil ? 0 : 1)
      instance = Instance(
        asNumber: asNumber, isDefault: details.isEmpty || details.first == "as-notation", line: line.number)
    case "address-family":
      if instance != nil { addressFamily = Array(line.words.dropFirst()) }
    case "exit-address-family":
      addressFamily = nil
    case "exit":
      if addressFamily == nil { self = FRRContext() } else { addressFamily = nil }
    case "end", "interface", "vrf", "line", "route-map", "ip", "ipv6":
      self = FRRContext()
    default: break
    }
  }

  /// A number as a whole or, from FRR 8.5 on, as two of 16 bits (RFC 5396).
  private static func asNumber(_ text: String) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return UInt32(text) }
    guard let high = UInt16(parts[0]), let low = UInt16(parts[1]) else { return nil }
    return UInt32(high) << 16 | UInt32(low)
  }
}
