import CNetlink

/// Why bytes are no netlink message.
public enum NetlinkFormatError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Fewer bytes are left than the smallest thing that may stand there.
  case truncated(what: String, needed: Int, left: Int)
  /// A length field that is smaller than its own header or goes past the end.
  case badLength(what: String, length: Int, left: Int)
  /// A field whose value the kernel never sends.
  case badValue(what: String)

  public var description: String {
    switch self {
    case .truncated(let what, let needed, let left):
      "\(what) needs \(needed) bytes, \(left) are left"
    case .badLength(let what, let length, let left):
      "\(what) gives its length as \(length) of \(left) bytes"
    case .badValue(let what): "\(what) has an impossible value"
    }
  }
}

extension RawSpan {
  /// The integer, in the machine's byte order, at any offset, aligned or not; nil when it does not lie
  /// within the span.
  func integer<Value: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Value.Type = Value.self
  ) -> Value? {
    let size = MemoryLayout<Value>.size
    guard offset >= 0, size <= byteCount, offset <= byteCount - size else { return nil }
    // Any bytes make an integer, and the guard holds it within the span.
    return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: Value.self)
  }

  /// What is left after the first `count` bytes; empty when there are not so many.
  @_lifetime(copy self)
  func dropping(_ count: Int) -> RawSpan {
    extracting(Swift.min(Swift.max(count, 0), byteCount)..<byteCount)
  }

  /// A copy of the bytes.
  var copied: [UInt8] {
    (0..<byteCount).compactMap { integer(at: $0) }
  }
}

/// Rounds up to the four bytes that messages and attributes are aligned to (NLMSG_ALIGNTO, NLA_ALIGNTO). The
/// length is one that was read from 32 bits, so there is no overflow.
func netlinkAligned(_ length: Int) -> Int { (length + 3) & ~3 }

/// One message of a datagram: `struct nlmsghdr` (linux/netlink.h) and what it holds.
struct NetlinkMessage: ~Escapable {
  static let headerSize = 16

  /// NLMSG_* or RTM_*.
  let type: UInt16
  /// NLM_F_*.
  let flags: UInt16
  let sequence: UInt32
  let payload: RawSpan

  /// Reads the message at the start of `bytes`.
  @_lifetime(copy bytes)
  init(startOf bytes: RawSpan) throws(NetlinkFormatError) {
    guard let length: UInt32 = bytes.integer(at: 0), let type: UInt16 = bytes.integer(at: 4),
      let flags: UInt16 = bytes.integer(at: 6), let sequence: UInt32 = bytes.integer(at: 8),
      bytes.byteCount >= Self.headerSize
    else {
      throw .truncated(what: "message header", needed: Self.headerSize, left: bytes.byteCount)
    }
    guard length >= Self.headerSize, length <= bytes.byteCount else {
      throw .badLength(what: "message", length: Int(length), left: bytes.byteCount)
    }
    self.type = type
    self.flags = flags
    self.sequence = sequence
    payload = bytes.extracting(Self.headerSize..<Int(length))
  }
}

/// Walks over the messages of one datagram.
struct NetlinkMessages: ~Escapable {
  private var rest: RawSpan

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    rest = bytes
  }

  /// The next message; nil at the end. Every step takes at least a header's length, so the walk ends.
  @_lifetime(copy self)
  mutating func next() throws(NetlinkFormatError) -> NetlinkMessage? {
    guard !rest.isEmpty else { return nil }
    let message = try NetlinkMessage(startOf: rest)
    // The last message may lack its padding.
    rest = rest.dropping(netlinkAligned(NetlinkMessage.headerSize + message.payload.byteCount))
    return message
  }
}
