/// The number of a virtual network in VXLAN (RFC 7348): 24 bits, and zero is nobody's.
public struct VNI: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: UInt32

  /// The numbers there are.
  public static let range: ClosedRange<UInt32> = 1...0xff_ffff

  /// Nil unless 1 to 16,777,215.
  public init?(rawValue: UInt32) {
    guard Self.range.contains(rawValue) else { return nil }
    self.rawValue = rawValue
  }

  public static func < (left: VNI, right: VNI) -> Bool { left.rawValue < right.rawValue }

  public var description: String { String(rawValue) }
}

/// The number of a group of interfaces (IFLA_GROUP), which one message can delete together. Interfaces are born
/// in group 0.
public struct InterfaceGroup: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  public var description: String { "group \(rawValue)" }
}
