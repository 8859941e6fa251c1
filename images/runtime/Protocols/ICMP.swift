/// The echo that ICMP and ICMPv6 share.
enum ICMP {
  static var typeAndCode: Int { 0 }
  static var checksum: Int { 2 }
  static var headerLength: Int { 8 }

  /// Turns an echo request into its reply, in place.
  ///
  /// - Parameter pseudoHeader: what the checksum covers besides the message; nil: do not check it.
  static func answerEcho(
    _ message: Bytes, request: UInt8, reply: UInt8, pseudoHeader: UInt64?
  ) -> Int? {
    let old = UInt16(request) << 8
    guard message.count >= headerLength, message.big16(typeAndCode) == old else { return nil }
    if let pseudoHeader {
      let sum = message.internetSum(from: 0, length: message.count) &+ pseudoHeader
      guard Checksum.finish(sum) == 0 else { return nil }
    }
    let new = UInt16(reply) << 8
    message.setBig16(typeAndCode, new)
    message.setBig16(
      checksum, Checksum.adjusted(message.big16(checksum), from: old, to: new))
    return message.count
  }
}
