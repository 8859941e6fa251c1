import CNetlink

/// Writes one netlink message. What it writes is of this room's own making and small: an attribute beyond
/// the 64 KiB that its length field can say would be a mistake in this room, and traps.
struct NetlinkMessageBuilder {
  /// The message so far, its length field up to date.
  private(set) var bytes: [UInt8] = []

  /// Opens a request. Acknowledgements and the sequence number are the socket's business.
  init(type: Int, flags: CInt = 0) {
    bytes.reserveCapacity(128)
    append(UInt32(NetlinkMessage.headerSize))
    append(UInt16(type))
    append(UInt16(NLM_F_REQUEST | flags))
    append(UInt32(0))
    append(UInt32(0))
  }

  /// Appends a field of a fixed header, in the machine's byte order.
  mutating func append(_ value: some FixedWidthInteger & BitwiseCopyable) {
    append(contentsOf: withUnsafeBytes(of: value) { Array($0) })
  }

  mutating func append(contentsOf raw: [UInt8]) {
    bytes += raw
    bytes.overwrite(at: 0, with: UInt32(bytes.count))
  }

  mutating func append(_ type: Int, _ payload: [UInt8]) {
    nest(type, flag: 0) { $0.append(contentsOf: payload) }
  }

  mutating func append(_ type: Int, integer: some FixedWidthInteger & BitwiseCopyable) {
    nest(type, flag: 0) { $0.append(integer) }
  }

  /// A string, with the NUL that the kernel expects behind it.
  mutating func append(_ type: Int, text: [UInt8]) {
    append(type, text + [0])
  }

  /// Appends an attribute that holds what `write` appends, and pads it.
  mutating func nest(
    _ type: Int, flag: UInt16 = UInt16(NLA_F_NESTED), _ write: (inout NetlinkMessageBuilder) -> Void
  ) {
    let start = bytes.count
    append(UInt16(NetlinkAttribute.headerSize))
    append(UInt16(type) | flag)
    write(&self)
    let length = bytes.count - start
    bytes.overwrite(at: start, with: UInt16(length))
    append(contentsOf: [UInt8](repeating: 0, count: netlinkAligned(length) - length))
  }
}

extension [UInt8] {
  /// Writes an integer in the machine's byte order over the bytes at `offset`, which are there.
  mutating func overwrite(at offset: Int, with value: some FixedWidthInteger & BitwiseCopyable) {
    Swift.withUnsafeBytes(of: value) { raw in
      for (position, byte) in raw.enumerated() {
        self[offset + position] = byte
      }
    }
  }
}
