/// An IPv4 address together with the length of its network's prefix, as an interface is given it: `10.0.0.5/24`.
public struct IPv4Interface: Hashable, Sendable {
  public let address: IPv4Address
  /// In bits, 0 to 32.
  public let prefixLength: Int

  /// Nil when the prefix is not 0 to 32 bits long.
  public init?(address: IPv4Address, prefixLength: Int) {
    guard 0...32 ~= prefixLength else { return nil }
    self.address = address
    self.prefixLength = prefixLength
  }

  public var mask: IPv4Address { IPv4Address(rawValue: .mask(ofPrefix: prefixLength)) }

  /// The lowest address of the network: the one whose host part is all zeroes.
  public var network: IPv4Address { IPv4Address(rawValue: address.rawValue & mask.rawValue) }

  /// The highest address of the network, its host part all ones. Networks of 31 and 32 bits have no broadcast
  /// (RFC 3021); there it is an address like the others.
  public var broadcast: IPv4Address { IPv4Address(rawValue: address.rawValue | ~mask.rawValue) }

  public func contains(_ other: IPv4Address) -> Bool {
    other.rawValue & mask.rawValue == network.rawValue
  }
}

extension IPv4Interface: LosslessStringConvertible {
  /// Reads `ADDRESS/LENGTH`; nil for anything else, a missing length included.
  public init?(_ description: String) {
    guard let (address, length) = splitPrefix(description, longest: 32),
      let address = IPv4Address(address)
    else { return nil }
    self.init(address: address, prefixLength: length)
  }

  public var description: String { "\(address)/\(prefixLength)" }
}

/// An IPv6 address together with the length of its network's prefix, as an interface is given it: `fd00::5/64`.
public struct IPv6Interface: Hashable, Sendable {
  public let address: IPv6Address
  /// In bits, 0 to 128.
  public let prefixLength: Int

  /// Nil when the prefix is not 0 to 128 bits long.
  public init?(address: IPv6Address, prefixLength: Int) {
    guard 0...128 ~= prefixLength else { return nil }
    self.address = address
    self.prefixLength = prefixLength
  }

  public var mask: IPv6Address { IPv6Address(rawValue: .mask(ofPrefix: prefixLength)) }

  /// The lowest address of the network: the one whose host part is all zeroes.
  public var network: IPv6Address { IPv6Address(rawValue: address.rawValue & mask.rawValue) }

  public func contains(_ other: IPv6Address) -> Bool {
    other.rawValue & mask.rawValue == network.rawValue
  }
}

extension IPv6Interface: LosslessStringConvertible {
  /// Reads `ADDRESS/LENGTH`; nil for anything else, a missing length included.
  public init?(_ description: String) {
    guard let (address, length) = splitPrefix(description, longest: 128),
      let address = IPv6Address(address)
    else { return nil }
    self.init(address: address, prefixLength: length)
  }

  public var description: String { "\(address)/\(prefixLength)" }
}

/// Splits `ADDRESS/LENGTH` at its only slash and reads the length.
private func splitPrefix(_ text: String, longest: Int) -> (address: String, length: Int)? {
  let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
  guard parts.count == 2, let length = decimalNumber(parts[1], atMost: longest) else { return nil }
  return (String(decoding: parts[0], as: UTF8.self), length)
}
