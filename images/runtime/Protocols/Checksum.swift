/// The Internet checksum, RFC 1071.
enum Checksum {
  /// The checksum field, in host order, that makes a sum come out right. A sum that includes a correct
  /// checksum field finishes as zero.
  static func finish(_ sum: UInt64) -> UInt16 {
    var folded = (sum & 0xffff_ffff) &+ (sum >> 32)
    folded = (folded & 0xffff) &+ (folded >> 16 & 0xffff) &+ (folded >> 32)
    folded = (folded & 0xffff) &+ (folded >> 16)
    folded = (folded & 0xffff) &+ (folded >> 16)
    return ~UInt16(truncatingIfNeeded: folded).bigEndian
  }

  /// A checksum after one 16-bit word it covers went from `old` to `new` (RFC 1624).
  static func adjusted(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
    var sum = UInt32(~checksum) &+ UInt32(~old) &+ UInt32(new)
    sum = (sum & 0xffff) &+ (sum >> 16)
    sum = (sum & 0xffff) &+ (sum >> 16)
    return ~UInt16(truncatingIfNeeded: sum)
  }

  /// What a transport's pseudo-header adds to its sum: the protocol and the length.
  static func pseudoHeader(protocol number: UInt8, length: Int) -> UInt64 {
    UInt64(UInt16(number).bigEndian) &+ UInt64(UInt32(truncatingIfNeeded: length).bigEndian)
  }
}
