/// Address resolution for IPv4 over Ethernet, RFC 826. The guest answers and announces; it never asks, since
/// all it sends are answers to the station that spoke to it.
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
    guard buffer.count >= frameLength else { return nil }
    buffer.setMAC(Ethernet.destination, .broadcast)
    buffer.setMAC(Ethernet.source, mac)
    buffer.setBig16(Ethernet.type, Ethernet.typeARP)
    buffer.setBig16(hardwareType, ethernet)
    buffer.setBig16(protocolType, Ethernet.typeIPv4)
    buffer.setBig16(lengths, sixAndFour)
    buffer.setBig16(operation, request)
    buffer.setMAC(senderMAC, mac)
    buffer.setIPv4(senderIP, address)
    buffer.setMAC(targetMAC, MACAddress(value: 0))
    buffer.setIPv4(targetIP, address)
    return frameLength
  }
}
