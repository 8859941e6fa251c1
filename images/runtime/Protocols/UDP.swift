/// What a guest does with the datagrams that reach it.
protocol DatagramService {
  /// Answers one datagram in place.
  ///
  /// - Parameters:
  ///   - payload: the datagram's bytes first; the answer may use all of it.
  ///   - length: how many bytes came. They are untrusted.
  ///   - port: the port it was sent to.
  /// - Returns: the answer's length; nil: no answer.
  mutating func answer(_ payload: Bytes, length: Int, port: UInt16) -> Int?
}

/// UDP over either IP, RFC 768.
enum UDP {
  static var protocolNumber: UInt8 { 17 }

  private static var sourcePort: Int { 0 }
  private static var destinationPort: Int { 2 }
  private static var lengthField: Int { 4 }
  private static var checksum: Int { 6 }
  private static var headerLength: Int { 8 }

  /// - Parameters:
  ///   - buffer: the datagram with its header; the answer may use all of it.
  ///   - length: bytes of it that the IP header vouches for.
  ///   - addresses: the sum of both IP addresses; the answer swaps them, so it has the same.
  static func answer<Service: DatagramService>(
    _ buffer: Bytes, length: Int, addresses: UInt64, checksumRequired: Bool, checksumVouched: Bool,
    service: inout Service
  ) -> Int? {
    guard length >= headerLength, length <= buffer.count else { return nil }
    let datagramLength = Int(buffer.big16(lengthField))
    guard datagramLength >= headerLength, datagramLength <= length else { return nil }
    if buffer.big16(checksum) == 0 {
      guard !checksumRequired else { return nil }
    } else if !checksumVouched {
      let sum =
        buffer.internetSum(from: 0, length: datagramLength) &+ addresses
        &+ Checksum.pseudoHeader(protocol: protocolNumber, length: datagramLength)
      guard Checksum.finish(sum) == 0 else { return nil }
    }
    let peerPort = buffer.big16(sourcePort)
    let ownPort = buffer.big16(destinationPort)
    guard !answersByItself(peerPort) else { return nil }

    let payload = buffer.part(from: headerLength)
    guard
      let answer = service.answer(
        payload, length: datagramLength - headerLength, port: ownPort),
      answer >= 0, answer <= payload.count
    else { return nil }

    let answerLength = headerLength + answer
    buffer.setBig16(sourcePort, ownPort)
    buffer.setBig16(destinationPort, peerPort)
    buffer.setBig16(lengthField, UInt16(truncatingIfNeeded: answerLength))
    buffer.setBig16(checksum, 0)
    let sum =
      buffer.internetSum(from: 0, length: answerLength) &+ addresses
      &+ Checksum.pseudoHeader(protocol: protocolNumber, length: answerLength)
    let finished = Checksum.finish(sum)
    buffer.setBig16(checksum, finished == 0 ? 0xffff : finished)
    return answerLength
  }

  /// A forged datagram from one of these ports would set two servers talking to each other for ever: echo,
  /// daytime, quote of the day, character generator, time. Nobody can be reached at port zero.
  private static func answersByItself(_ port: UInt16) -> Bool {
    switch port {
    case 0, 7, 13, 17, 19, 37: true
    default: false
    }
  }
}
