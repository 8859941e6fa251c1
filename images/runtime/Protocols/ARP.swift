/// Address resolution for IPv4 over Ethernet, RFC 826. Only an image that sends of its own accord asks: an
/// answer goes to the station that spoke to the guest.
enum ARP {
  static var frameLength: Int { Ethernet.headerLength + 28 }

  private static var hardwareType: Int { 14 }
  private static var protocolType: Int { 16 }
  private static var lengths: Int { 18 }
  private static var operation: Int { 20 }
  private static var senderMAC: Int { 22 }
  private static var senderIP: Int { 28 }
  private static var targetMAC: Int { 32 }
  private static var targetIP: Int { 38 }

  private static var ethernet: UInt16 { 1 }
  private static var sixAndFour: UInt16 { 0x0604 }
  private static var request: UInt16 { 1 }
  private static var reply: UInt16 { 2 }

  static func answer(_ frame: Bytes, as host: HostAddresses) -> Int? {
    guard let own = host.ipv4, frame.count >= frameLength,
      frame.big16(hardwareType) == ethernet, frame.big16(protocolType) == Ethernet.typeIPv4,
      frame.big16(lengths) == sixAndFour, frame.big16(operation) == request,
      frame.ipv4(targetIP) == own, frame.ipv4(senderIP) != own
    else { return nil }
    let destination = frame.mac(Ethernet.destination)
    guard destination == .broadcast || destination == host.mac else { return nil }
    Ethernet.turnAround(frame, as: host)
    frame.setBig16(operation, reply)
    frame.setMAC(targetMAC, frame.mac(senderMAC))
    frame.setIPv4(targetIP, frame.ipv4(senderIP))
    frame.setMAC(senderMAC, host.mac)
    frame.setIPv4(senderIP, own)
    return frameLength
  }

  /// Tells the network where `address` is now (RFC 5227, section 3).
  static func announce(_ address: IPv4Address, at mac: MACAddress, in buffer: Bytes) -> Int? {
    ask(for: address, from: address, at: mac, in: buffer)
  }

  /// Asks everybody who has `target`.
  static func ask(
    for target: IPv4Address, from own: IPv4Address, at mac: MACAddress, in buffer: Bytes
  ) -> Int? {
    guard buffer.count >= frameLength else { return nil }
    buffer.setMAC(Ethernet.destination, .broadcast)
    buffer.setMAC(Ethernet.source, mac)
    buffer.setBig16(Ethernet.type, Ethernet.typeARP)
    buffer.setBig16(hardwareType, ethernet)
    buffer.setBig16(protocolType, Ethernet.typeIPv4)
    buffer.setBig16(lengths, sixAndFour)
    buffer.setBig16(operation, request)
    buffer.setMAC(senderMAC, mac)
    buffer.setIPv4(senderIP, own)
    buffer.setMAC(targetMAC, MACAddress(value: 0))
    buffer.setIPv4(targetIP, target)
    return frameLength
  }

  /// Where a frame says that its sender is: a reply to this host, or anybody's request or announcement.
  static func sender(
    of frame: Bytes, to host: HostAddresses
  ) -> (address: IPv4Address, mac: MACAddress)? {
    guard let own = host.ipv4, frame.count >= frameLength,
      frame.big16(Ethernet.type) == Ethernet.typeARP,
      frame.big16(hardwareType) == ethernet, frame.big16(protocolType) == Ethernet.typeIPv4,
      frame.big16(lengths) == sixAndFour
    else { return nil }
    let destination = frame.mac(Ethernet.destination)
    switch frame.big16(operation) {
    case request:
      guard destination == .broadcast || destination == host.mac else { return nil }
    case reply:
      guard destination == host.mac, frame.ipv4(targetIP) == own else { return nil }
    default:
      return nil
    }
    let address = frame.ipv4(senderIP)
    let mac = frame.mac(senderMAC)
    guard address.isUnicast, address != own, !mac.isMulticast, mac.value != 0, mac != host.mac else {
      return nil
    }
    return (address, mac)
  }
}
