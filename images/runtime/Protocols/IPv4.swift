/// IPv4 and the ICMP echo over it, RFC 791 and 792. Fragments are dropped.
enum IPv4 {
  private static var header: Int { Ethernet.headerLength }
  static var headerLength: Int { 20 }
  static var payload: Int { header + headerLength }

  private static var versionAndLength: Int { header }
  private static var totalLength: Int { header + 2 }
  private static var identification: Int { header + 4 }
  private static var fragment: Int { header + 6 }
  private static var timeToLive: Int { header + 8 }
  private static var transport: Int { header + 9 }
  private static var headerChecksum: Int { header + 10 }
  private static var source: Int { header + 12 }
  private static var destination: Int { header + 16 }

  private static var dontFragment: UInt16 { 0x4000 }
  private static var moreFragmentsOrOffset: UInt16 { 0x3fff }
  static var icmp: UInt8 { 1 }

  /// A packet for the guest whose header is right, and where in its frame what it carries lies.
  struct Packet {
    let peer: IPv4Address
    let transport: UInt8
    let start: Int
    let length: Int
  }

  /// The packet in a received frame; nil: there is none for this host, or something is wrong with it.
  @inline(__always)
  static func packet(in frame: Bytes, to host: HostAddresses) -> Packet? {
    guard let own = host.ipv4, frame.count >= payload, frame.mac(Ethernet.destination) == host.mac,
      frame.byte(versionAndLength) >> 4 == 4
    else { return nil }
    let receivedHeaderLength = Int(frame.byte(versionAndLength) & 15) * 4
    let receivedTotal = Int(frame.big16(totalLength))
    guard receivedHeaderLength >= headerLength, receivedTotal >= receivedHeaderLength,
      receivedTotal <= frame.count - header,
      Checksum.finish(frame.internetSum(from: header, length: receivedHeaderLength)) == 0,
      frame.big16(fragment) & moreFragmentsOrOffset == 0,
      frame.ipv4(destination) == own
    else { return nil }
    let peer = frame.ipv4(source)
    guard peer.isUnicast, peer != own else { return nil }
    return Packet(
      peer: peer, transport: frame.byte(transport), start: header + receivedHeaderLength,
      length: receivedTotal - receivedHeaderLength)
  }

  static func answer<Service: DatagramService>(
    _ frame: Bytes, in buffer: Bytes, checksumVouched: Bool, as host: HostAddresses,
    service: inout Service
  ) -> Int? {
    guard let own = host.ipv4, let packet = packet(in: frame, to: host) else { return nil }

    // The answer carries no options.
    let length = packet.length
    if packet.start > payload {
      frame.move(from: packet.start, to: payload, length: length)
    }

    let answerLength: Int?
    switch packet.transport {
    case icmp:
      answerLength = ICMP.answerEcho(
        frame.part(from: payload, length: length), request: 8, reply: 0,
        pseudoHeader: checksumVouched ? nil : 0)
    case UDP.protocolNumber:
      answerLength = UDP.answer(
        buffer.part(from: payload, length: host.mtu - headerLength), length: length,
        addresses: frame.internetSum(from: source, length: 8), checksumRequired: false,
        checksumVouched: checksumVouched, service: &service)
    default:
      answerLength = nil
    }
    guard let answerLength else { return nil }

    Ethernet.turnAround(buffer, as: host)
    writeHeader(
      buffer, from: own, to: packet.peer, transport: packet.transport, length: answerLength)
    return payload + answerLength
  }

  /// - Parameter fragmentsAs: the identification under which routers may break the packet up; nil: they must not.
  @inline(__always)
  static func writeHeader(
    _ buffer: Bytes, from own: IPv4Address, to peer: IPv4Address, transport number: UInt8, length: Int,
    fragmentsAs identifier: UInt16? = nil
  ) {
    buffer.setByte(versionAndLength, 0x45)
    buffer.setByte(versionAndLength + 1, 0)
    buffer.setBig16(totalLength, UInt16(truncatingIfNeeded: headerLength + length))
    buffer.setBig16(identification, identifier ?? 0)
    buffer.setBig16(fragment, identifier == nil ? dontFragment : 0)
    buffer.setByte(timeToLive, 64)
    buffer.setByte(transport, number)
    buffer.setBig16(headerChecksum, 0)
    buffer.setIPv4(source, own)
    buffer.setIPv4(destination, peer)
    buffer.setBig16(
      headerChecksum, Checksum.finish(buffer.internetSum(from: header, length: headerLength)))
  }

  /// The packet that an ICMP error quotes, from its header on (RFC 792: the header and 8 bytes, or more).
  /// Nothing in it is to be believed; returns where it was sent and its first bytes after the header.
  static func quoted(
    _ quote: Bytes, from own: IPv4Address, transport number: UInt8
  ) -> (destination: IPv4Address, payload: Bytes)? {
    let length = Int(quote.byte(0) & 15) * 4
    guard quote.byte(0) >> 4 == 4, length >= headerLength, length <= quote.count,
      quote.byte(transport - header) == number, quote.ipv4(source - header) == own
    else { return nil }
    return (quote.ipv4(destination - header), quote.part(from: length))
  }
}
