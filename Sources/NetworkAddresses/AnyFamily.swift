/// An address of either family.
///
/// Ordered by family, IPv4 first, then as a number. The text is the family's own: four decimal numbers, or
/// the canonical form of RFC 5952.
public enum IPAddress: Hashable, Sendable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// Nil unless there are four octets (IPv4) or sixteen (IPv6).
  public init?(octets: some Collection<UInt8>) {
    if let address = IPv4Address(octets: octets) {
      self = .v4(address)
    } else if let address = IPv6Address(octets: octets) {
      self = .v6(address)
    } else {
      return nil
    }
  }

  /// The four or sixteen octets in the order they go on the wire.
  public var octets: [UInt8] {
    switch self {
    case .v4(let address): address.octets
    case .v6(let address): address.octets
    }
  }

  public var isIPv6: Bool {
    switch self {
    case .v4: false
    case .v6: true
    }
  }

  /// 224.0.0.0/4 (RFC 1112) or ff00::/8 (RFC 4291): no interface may have it.
  public var isMulticast: Bool {
    switch self {
    case .v4(let address): address.isMulticast
    case .v6(let address): address.isMulticast
    }
  }

  /// 0.0.0.0 or ::, which stand for "none".
  public var isUnspecified: Bool {
    switch self {
    case .v4(let address): address.rawValue == 0
    case .v6(let address): address.rawValue == 0
    }
  }

  /// 127.0.0.0/8 (RFC 1122) or ::1 (RFC 4291): never on a wire.
  public var isLoopback: Bool {
    switch self {
    case .v4(let address): address.rawValue >> 24 == 127
    case .v6(let address): address.rawValue == 1
    }
  }

  /// 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291): good on one link only.
  public var isLinkLocal: Bool {
    switch self {
    case .v4(let address): address.rawValue >> 16 == 0xa9fe
    case .v6(let address): address.isLinkLocal
    }
  }

  /// 255.255.255.255 (RFC 919). IPv6 has none.
  public var isBroadcast: Bool { self == .v4(IPv4Address(rawValue: .max)) }

  /// The length in bits of the prefix that holds this address alone: 32 or 128.
  public var width: Int { isIPv6 ? 128 : 32 }
}

extension IPAddress: Comparable {
  public static func < (left: IPAddress, right: IPAddress) -> Bool {
    switch (left, right) {
    case (.v4(let left), .v4(let right)): left < right
    case (.v6(let left), .v6(let right)): left < right
    case (.v4, .v6): true
    case (.v6, .v4): false
    }
  }
}

extension IPAddress: LosslessStringConvertible {
  /// Reads what `IPv4Address` or `IPv6Address` reads; nil for anything else.
  public init?(_ description: String) {
    if let address = IPv4Address(description) {
      self = .v4(address)
    } else if let address = IPv6Address(description) {
      self = .v6(address)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}

/// An address of either family together with the length of its network's prefix: `10.0.0.5/24`, `fd00::5/64`.
public enum IPInterface: Hashable, Sendable {
  case v4(IPv4Interface)
  case v6(IPv6Interface)

  /// Nil when the prefix is longer than the address, or shorter than nothing.
  public init?(address: IPAddress, prefixLength: Int) {
    switch address {
    case .v4(let address):
      guard let interface = IPv4Interface(address: address, prefixLength: prefixLength) else { return nil }
      self = .v4(interface)
    case .v6(let address):
      guard let interface = IPv6Interface(address: address, prefixLength: prefixLength) else { return nil }
      self = .v6(interface)
    }
  }

  public var address: IPAddress {
    switch self {
    case .v4(let interface): .v4(interface.address)
    case .v6(let interface): .v6(interface.address)
    }
  }

  /// In bits: 0 to 32 for IPv4, 0 to 128 for IPv6.
  public var prefixLength: Int {
    switch self {
    case .v4(let interface): interface.prefixLength
    case .v6(let interface): interface.prefixLength
    }
  }

  /// The lowest address of the network: the one whose host part is all zeroes.
  public var network: IPAddress {
    switch self {
    case .v4(let interface): .v4(interface.network)
    case .v6(let interface): .v6(interface.network)
    }
  }

  /// Whether an address is one of the network's; one of the other family never is.
  public func contains(_ other: IPAddress) -> Bool {
    switch (self, other) {
    case (.v4(let interface), .v4(let other)): interface.contains(other)
    case (.v6(let interface), .v6(let other)): interface.contains(other)
    case (.v4, .v6), (.v6, .v4): false
    }
  }
}

extension IPInterface: LosslessStringConvertible {
  /// Reads `ADDRESS/LENGTH`; nil for anything else, a missing length included.
  public init?(_ description: String) {
    if let interface = IPv4Interface(description) {
      self = .v4(interface)
    } else if let interface = IPv6Interface(description) {
      self = .v6(interface)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .v4(let interface): interface.description
    case .v6(let interface): interface.description
    }
  }
}
