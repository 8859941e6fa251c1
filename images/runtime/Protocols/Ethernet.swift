/// Ethernet II framing, and which protocol answers a frame.
enum Ethernet {
  static var headerLength: Int { 14 }
  static var destination: Int { 0 }
  static var source: Int { 6 }
  static var type: Int { 12 }

  static var typeIPv4: UInt16 { 0x0800 }
  static var typeARP: UInt16 { 0x0806 }
  static var typeIPv6: UInt16 { 0x86dd }

  /// Turns a received frame into its answer, in place.
  ///
  /// - Parameters:
  ///   - buffer: the whole buffer that holds the frame; the answer may use all of it.
  ///   - length: bytes received. Everything in them is untrusted.
  ///   - checksumVouched: the sender's transport checksum was left out or already checked (the frame never
  ///     was on a wire), so it says nothing.
  /// - Returns: the answer's length; nil where there is no answer.
  static func answer<Service: DatagramService>(
    _ buffer: Bytes, length: Int, checksumVouched: Bool, as host: HostAddresses,
    service: inout Service
  ) -> Int? {
    guard length >= headerLength, length <= buffer.count else { return nil }
    let sender = buffer.mac(source)
    guard !sender.isMulticast, sender != host.mac else { return nil }
    let frame = buffer.part(from: 0, length: length)

    switch buffer.big16(type) {
    case typeARP:
      return ARP.answer(frame, as: host)
    case typeIPv4:
      return IPv4.answer(
        frame, in: buffer, checksumVouched: checksumVouched, as: host, service: &service)
    case typeIPv6:
      return IPv6.answer(
        frame, in: buffer, checksumVouched: checksumVouched, as: host, service: &service)
    default:
      return nil
    }
  }

  /// Addresses an answer to the station that sent the frame it is written over.
  static func turnAround(_ frame: Bytes, as host: HostAddresses) {
    frame.setMAC(destination, frame.mac(source))
    frame.setMAC(source, host.mac)
  }
}
