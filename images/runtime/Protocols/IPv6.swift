/// IPv6 without extension headers, its ICMP echo and the answering half of neighbour discovery (RFC 4861).
enum IPv6 {
  static var header: Int { Ethernet.headerLength }
  static var headerLength: Int { 40 }
  static var payload: Int { header + headerLength }

  private static var payloadLength: Int { header + 4 }
  private static var nextHeader: Int { header + 6 }
  private static var hopLimit: Int { header + 7 }
  private static var source: Int { header + 8 }
  private static var destination: Int { header + 24 }
  private static var icmp: UInt8 { 58 }

  static func answer<Service: DatagramService>(
    _ frame: Bytes, in buffer: Bytes, checksumVouched: Bool, as host: HostAddresses,
    service: inout Service
  ) -> Int? {
    guard let own = host.ipv6, frame.count >= payload, frame.byte(header) >> 4 == 6 else {
      return nil
    }
    let length = Int(frame.big16(payloadLength))
    guard length <= frame.count - payload else { return nil }
    let peer = frame.ipv6(source)
    let target = frame.ipv6(destination)
    let addresses = frame.internetSum(from: source, length: 32)
    guard !peer.isMulticast, peer != own else { return nil }

    if frame.byte(nextHeader) == icmp {
      let message = frame.part(from: payload, length: length)
      let pseudoHeader = addresses &+ Checksum.pseudoHeader(protocol: icmp, length: length)
      if message.byte(ICMP.typeAndCode) == NeighbourDiscovery.solicitation {
        guard frame.byte(hopLimit) == 255, target == own || target == own.solicitedNode,
          Checksum.finish(message.internetSum(from: 0, length: length) &+ pseudoHeader) == 0,
          NeighbourDiscovery.asks(message, for: own, from: peer, to: target)
        else { return nil }
        // Somebody without an address yet can only be told by telling everybody.
        let everybody = peer == .unspecified
        return NeighbourDiscovery.advertise(
          own, as: host, to: everybody ? nil : (peer, frame.mac(Ethernet.source)), in: buffer)
      }
      guard target == own, peer.isUnicast, frame.mac(Ethernet.destination) == host.mac,
        let answerLength = ICMP.answerEcho(
          message, request: 128, reply: 129, pseudoHeader: checksumVouched ? nil : pseudoHeader)
      else { return nil }
      Ethernet.turnAround(buffer, as: host)
      writeHeader(buffer, from: own, to: peer, transport: icmp, length: answerLength, hops: 64)
      return payload + answerLength
    }

    guard frame.byte(nextHeader) == UDP.protocolNumber, target == own, peer.isUnicast,
      frame.mac(Ethernet.destination) == host.mac,
      let answerLength = UDP.answer(
        buffer.part(from: payload, length: host.mtu - headerLength), length: length,
        addresses: addresses, checksumRequired: true, checksumVouched: checksumVouched,
        service: &service)
    else { return nil }
    Ethernet.turnAround(buffer, as: host)
    writeHeader(
      buffer, from: own, to: peer, transport: UDP.protocolNumber, length: answerLength, hops: 64)
    return payload + answerLength
  }

  fileprivate static func writeHeader(
    _ buffer: Bytes, from own: IPv6Address, to peer: IPv6Address, transport: UInt8, length: Int,
    hops: UInt8
  ) {
    buffer.setBig32(header, 0x6000_0000)
    buffer.setBig16(payloadLength, UInt16(truncatingIfNeeded: length))
    buffer.setByte(nextHeader, transport)
    buffer.setByte(hopLimit, hops)
    buffer.setIPv6(source, own)
    buffer.setIPv6(destination, peer)
  }

  fileprivate static func checksum(_ buffer: Bytes, length: Int) -> UInt16 {
    Checksum.finish(
      buffer.internetSum(from: payload, length: length)
        &+ buffer.internetSum(from: source, length: 32)
        &+ Checksum.pseudoHeader(protocol: icmp, length: length))
  }
}

/// Neighbour solicitations and advertisements.
enum NeighbourDiscovery {
  static var solicitation: UInt8 { 135 }
  private static var advertisement: UInt8 { 136 }

  private static var flags: Int { 4 }
  private static var target: Int { 8 }
  private static var options: Int { 24 }
  private static var solicited: UInt32 { 0x4000_0000 }
  private static var override: UInt32 { 0x2000_0000 }
  /// The option's type, and its length in units of 8 bytes.
  private static var targetLinkLayerAddress: UInt16 { 0x0201 }
  private static var advertisementLength: Int { 32 }

  /// Whether a message is a valid solicitation of `own`. Its checksum was right.
  static func asks(
    _ message: Bytes, for own: IPv6Address, from peer: IPv6Address, to destination: IPv6Address
  ) -> Bool {
    guard message.count >= options, message.byte(1) == 0, message.ipv6(target) == own else {
      return false
    }
    var position = options
    while position < message.count {
      let length = Int(message.byte(position + 1)) * 8
      guard length > 0, length <= message.count - position else { return false }
      // A source link-layer address together with no source address is a lie.
      if peer == .unspecified, message.byte(position) == 1 { return false }
      position += length
    }
    return peer != .unspecified || destination == own.solicitedNode
  }

  /// Writes the advertisement of `address`, solicited by `peer` or, where nil, to all nodes.
  static func advertise(
    _ address: IPv6Address, as host: HostAddresses, to peer: (IPv6Address, MACAddress)?,
    in buffer: Bytes
  ) -> Int? {
    guard buffer.count >= IPv6.payload + advertisementLength else { return nil }
    buffer.setMAC(Ethernet.destination, peer?.1 ?? MACAddress(multicast: .allNodes))
    buffer.setMAC(Ethernet.source, host.mac)
    buffer.setBig16(Ethernet.type, Ethernet.typeIPv6)
    IPv6.writeHeader(
      buffer, from: address, to: peer?.0 ?? .allNodes, transport: 58, length: advertisementLength,
      hops: 255)
    let message = buffer.part(from: IPv6.payload, length: advertisementLength)
    message.setBig32(0, UInt32(advertisement) << 24)
    message.setBig32(flags, peer == nil ? override : override | solicited)
    message.setIPv6(target, address)
    message.setBig16(options, targetLinkLayerAddress)
    message.setMAC(options + 2, host.mac)
    message.setBig16(ICMP.checksum, IPv6.checksum(buffer, length: advertisementLength))
    return IPv6.payload + advertisementLength
  }
}
