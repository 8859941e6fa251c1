/// An Ethernet address, in the low 48 bits.
struct MACAddress: Equatable {
  let value: UInt64

  static var broadcast: MACAddress { MACAddress(value: 0xffff_ffff_ffff) }
  var isMulticast: Bool { value >> 40 & 1 == 1 }

  /// Where frames for an IPv6 multicast address go.
  init(multicast address: IPv6Address) {
    value = 0x3333_0000_0000 | (address.low & 0xffff_ffff)
  }

  init(value: UInt64) {
    self.value = value & 0xffff_ffff_ffff
  }
}

struct IPv4Address: Equatable {
  let value: UInt32

  /// Whether a host can have it: not 0.x, loopback, multicast, reserved or broadcast.
  var isUnicast: Bool {
    let first = value >> 24
    return first != 0 && first != 127 && first < 224
  }
}

struct IPv6Address: Equatable {
  let high: UInt64
  let low: UInt64

  static var unspecified: IPv6Address { IPv6Address(high: 0, low: 0) }
  static var allNodes: IPv6Address { IPv6Address(high: 0xff02_0000_0000_0000, low: 1) }

  var isMulticast: Bool { high >> 56 == 0xff }
  var isUnicast: Bool { !isMulticast && !(high == 0 && low <= 1) }

  /// Where neighbours ask for this address.
  var solicitedNode: IPv6Address {
    IPv6Address(high: 0xff02_0000_0000_0000, low: 0x0000_0001_ff00_0000 | (low & 0xff_ffff))
  }
}

/// Who a guest is on one network.
struct HostAddresses: Equatable {
  var mac: MACAddress
  /// Largest IP packet.
  var mtu: Int
  var ipv4: IPv4Address?
  var ipv6: IPv6Address?
}

/// How an IPv4 address is reached.
struct Route: Equatable {
  /// Who the guest is there.
  let host: HostAddresses
  /// The address itself, or a gateway's.
  let nextHop: IPv4Address
}

extension Bytes {
  func mac(_ offset: Int) -> MACAddress {
    MACAddress(value: UInt64(big16(offset)) << 32 | UInt64(big32(offset + 2)))
  }
  func setMAC(_ offset: Int, _ address: MACAddress) {
    setBig16(offset, UInt16(truncatingIfNeeded: address.value >> 32))
    setBig32(offset + 2, UInt32(truncatingIfNeeded: address.value))
  }
  func ipv4(_ offset: Int) -> IPv4Address { IPv4Address(value: big32(offset)) }
  func setIPv4(_ offset: Int, _ address: IPv4Address) { setBig32(offset, address.value) }
  func ipv6(_ offset: Int) -> IPv6Address {
    IPv6Address(high: big64(offset), low: big64(offset + 8))
  }
  func setIPv6(_ offset: Int, _ address: IPv6Address) {
    setBig64(offset, address.high)
    setBig64(offset + 8, address.low)
  }
}
