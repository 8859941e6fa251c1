/// The asking half of ICMP echo over IPv4, RFC 792.
enum Echo {
  private static var request: UInt16 { 0x0800 }
  private static var reply: UInt16 { 0x0000 }
  private static var identifierField: Int { 4 }
  private static var sequenceField: Int { 6 }
  private static var nextHopMTU: Int { 6 }

  private static var destinationUnreachable: UInt8 { 3 }
  private static var sourceQuench: UInt8 { 4 }
  private static var timeExceeded: UInt8 { 11 }
  private static var parameterProblem: UInt8 { 12 }
  private static var fragmentationNeeded: UInt8 { 4 }

  /// What a frame has besides the payload.
  static var overhead: Int { IPv4.payload + ICMP.headerLength }

  /// Which echo a request asks for.
  struct Name: Equatable {
    var target: IPv4Address
    var identifier: UInt16
    var sequence: UInt16
  }

  /// What came of a request.
  enum Outcome: Equatable {
    /// `length` is the ICMP message's, in bytes.
    case reply(length: Int)
    /// `mtu` is the largest packet that the next link takes; 0: not told (RFC 1191, section 3).
    case fragmentationNeeded(mtu: UInt16)
    case unreachable(code: UInt8)
    case timeExceeded
    case otherError(type: UInt8, code: UInt8)
  }

  struct Response: Equatable {
    let name: Name
    let sender: IPv4Address
    let outcome: Outcome
  }

  /// Writes a request with `size` bytes of payload, which count up.
  ///
  /// - Returns: the frame's length; nil: it does not fit, or the host has no address.
  static func ask(
    _ name: Name, size: Int, mayFragment: Bool, via mac: MACAddress, as host: HostAddresses,
    in buffer: Bytes
  ) -> Int? {
    guard let own = host.ipv4, size >= 0, size <= buffer.count - overhead, size <= 0xffff - 28 else {
      return nil
    }
    let length = ICMP.headerLength + size
    let message = buffer.part(from: IPv4.payload, length: length)
    message.setBig16(ICMP.typeAndCode, request)
    message.setBig16(ICMP.checksum, 0)
    message.setBig16(identifierField, name.identifier)
    message.setBig16(sequenceField, name.sequence)
    for offset in 0..<size {
      message.setByte(ICMP.headerLength + offset, UInt8(truncatingIfNeeded: offset))
    }
    message.setBig16(ICMP.checksum, Checksum.finish(message.internetSum(from: 0, length: length)))

    buffer.setMAC(Ethernet.destination, mac)
    buffer.setMAC(Ethernet.source, host.mac)
    buffer.setBig16(Ethernet.type, Ethernet.typeIPv4)
    IPv4.writeHeader(
      buffer, from: own, to: name.target, transport: IPv4.icmp, length: length,
      fragmentsAs: mayFragment ? name.sequence : nil)
    return IPv4.payload + length
  }

  /// What a received frame says about a request of this host; nil: nothing. It may be forged: whether there was
  /// such a request is for the caller to know.
  static func response(
    in frame: Bytes, checksumVouched: Bool, to host: HostAddresses
  ) -> Response? {
    guard let own = host.ipv4, frame.big16(Ethernet.type) == Ethernet.typeIPv4,
      let packet = IPv4.packet(in: frame, to: host), packet.transport == IPv4.icmp,
      packet.length >= ICMP.headerLength
    else { return nil }
    let message = frame.part(from: packet.start, length: packet.length)
    let isRight = Checksum.finish(message.internetSum(from: 0, length: message.count)) == 0
    guard checksumVouched || isRight else { return nil }

    if message.big16(ICMP.typeAndCode) == reply {
      return Response(
        name: name(message, target: packet.peer), sender: packet.peer,
        outcome: .reply(length: message.count))
    }
    let type = message.byte(0)
    switch type {
    case destinationUnreachable, sourceQuench, timeExceeded, parameterProblem: break
    default: return nil
    }
    guard
      let (target, quoted) = IPv4.quoted(
        message.part(from: ICMP.headerLength), from: own, transport: IPv4.icmp),
      quoted.count >= ICMP.headerLength, quoted.big16(ICMP.typeAndCode) == request
    else { return nil }
    return Response(
      name: name(quoted, target: target), sender: packet.peer,
      outcome: error(type: type, code: message.byte(1), message))
  }

  private static func name(_ message: Bytes, target: IPv4Address) -> Name {
    Name(
      target: target, identifier: message.big16(identifierField),
      sequence: message.big16(sequenceField))
  }

  private static func error(type: UInt8, code: UInt8, _ message: Bytes) -> Outcome {
    switch type {
    case destinationUnreachable where code == fragmentationNeeded:
      .fragmentationNeeded(mtu: message.big16(nextHopMTU))
    case destinationUnreachable: .unreachable(code: code)
    case timeExceeded: .timeExceeded
    default: .otherError(type: type, code: code)
    }
  }
}
