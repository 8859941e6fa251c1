import CNetlink

/// One attribute: `struct nlattr` (linux/netlink.h) and what it holds.
struct NetlinkAttribute: ~Escapable {
  static let headerSize = 4

  /// Without the two flag bits (NLA_F_NESTED, NLA_F_NET_BYTEORDER) on top.
  let type: UInt16
  let payload: RawSpan

  /// Reads the attribute at the start of `bytes`.
  @_lifetime(copy bytes)
  init(startOf bytes: RawSpan) throws(NetlinkFormatError) {
    guard let length: UInt16 = bytes.integer(at: 0), let type: UInt16 = bytes.integer(at: 2) else {
      throw .truncated(what: "attribute header", needed: Self.headerSize, left: bytes.byteCount)
    }
    guard length >= Self.headerSize, length <= bytes.byteCount else {
      throw .badLength(what: "attribute \(type)", length: Int(length), left: bytes.byteCount)
    }
    self.type = type & 0x3fff
    payload = bytes.extracting(Self.headerSize..<Int(length))
  }

  /// The payload up to its first NUL; the kernel ends most strings with one.
  var text: [UInt8] {
    Array(payload.copied.prefix { $0 != 0 })
  }

  /// The payload as an integer in the machine's byte order.
  func integer<Value: FixedWidthInteger & BitwiseCopyable>(
    as type: Value.Type = Value.self
  ) throws(NetlinkFormatError) -> Value {
    guard let value: Value = payload.integer(at: 0) else {
      throw .truncated(
        what: "attribute \(self.type)", needed: MemoryLayout<Value>.size, left: payload.byteCount)
    }
    return value
  }
}

extension NetlinkAttribute {
  /// The text, held to one printable line.
  var printableText: String {
    let printable = text.map { $0 < 0x20 || $0 == 0x7f ? UInt8(ascii: "?") : $0 }
    return String(decoding: printable, as: UTF8.self)
  }

  /// A payload of one byte that is zero for false.
  func flag() throws(NetlinkFormatError) -> Bool {
    try integer(as: UInt8.self) != 0
  }
}

/// Walks over a row of attributes.
struct NetlinkAttributes: ~Escapable {
  private var rest: RawSpan

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    rest = bytes
  }

  /// The next attribute; nil at the end. Every step takes at least a header's length, so the walk ends.
  @_lifetime(copy self)
  mutating func next() throws(NetlinkFormatError) -> NetlinkAttribute? {
    guard !rest.isEmpty else { return nil }
    let attribute = try NetlinkAttribute(startOf: rest)
    // The last attribute may lack its padding.
    rest = rest.dropping(netlinkAligned(NetlinkAttribute.headerSize + attribute.payload.byteCount))
    return attribute
  }
}
