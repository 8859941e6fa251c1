/// IPv4 and the ICMP echo over it, RFC 791 and 792. Fragments are dropped.
enum IPv4 {
  private static var header: Int { Ethernet.headerLength }
  private static var headerLength: Int { 20 }
  private static var payload: Int { header + headerLength }

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
  private static var icmp: UInt8 { 1 }

  static func answer<Service: DatagramService>(
    _ frame: Bytes, in buffer: Bytes, checksumVouched: Bool, as host: HostAddresses,
    service: inout Service
  ) -> Int? {
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

    // The answer carries no options.
    let length = receivedTotal - receivedHeaderLength
    if receivedHeaderLength > headerLength {
      frame.move(from: header + receivedHeaderLength, to: payload, length: length)
    }

    let answerLength: Int?
    switch frame.byte(transport) {
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
    buffer.setByte(versionAndLength, 0x45)
    buffer.setByte(versionAndLength + 1, 0)
    buffer.setBig16(totalLength, UInt16(truncatingIfNeeded: headerLength + answerLength))
    buffer.setBig16(identification, 0)
    buffer.setBig16(fragment, dontFragment)
    buffer.setByte(timeToLive, 64)
    buffer.setBig16(headerChecksum, 0)
    buffer.setIPv4(source, own)
    buffer.setIPv4(destination, peer)
    buffer.setBig16(
      headerChecksum, Checksum.finish(buffer.internetSum(from: header, length: headerLength)))
    return payload + answerLength
  }
}
