/// A Xen domain's number. Roves and is reused after 32,751 creations, so that every action on a domain
/// re-checks the domain's handle (``DomainInfo/handle``) first.
public struct DomainID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let dom0 = DomainID(rawValue: 0)

  public static func < (a: DomainID, b: DomainID) -> Bool { a.rawValue < b.rawValue }

  public var description: String { String(rawValue) }
}

/// A guest frame number: a guest-physical address in units of 4 KiB.
public struct GuestFrame: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bytes in a frame.
  public static let size = 4096

  /// The guest-physical address of the frame's first byte. Wraps for frames above 2^52, which no
  /// guest has.
  public var address: UInt64 { rawValue << 12 }

  public func advanced(by frames: Int) -> GuestFrame {
    GuestFrame(rawValue: rawValue &+ UInt64(bitPattern: Int64(frames)))
  }

  public static func < (a: GuestFrame, b: GuestFrame) -> Bool { a.rawValue < b.rawValue }

  public var description: String { "0x" + String(rawValue, radix: 16) }
}

/// Event channels, the doorbells between domains.
public enum EventChannel {
  /// A port of an event channel, on the side of the domain that holds it.
  public struct Port: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public var description: String { String(rawValue) }
  }
}

/// A domain's handle: 16 bytes that the toolstack chooses and the hypervisor keeps; chaos uses the guest's
/// UUID in RFC 4122 byte order.
public struct DomainHandle: Hashable, Sendable {
  public let bytes: (UInt64, UInt64)

  /// - Parameter bytes: exactly 16 bytes; anything else gives nil.
  public init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == 16 else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    for (index, byte) in bytes.enumerated() {
      if index < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
    }
    self.bytes = words
  }

  /// The 16 bytes in RFC 4122 order.
  public var octets: [UInt8] {
    (0..<16).map { index in
      let word = index < 8 ? bytes.0 : bytes.1
      return UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * (index % 8)))
    }
  }

  public static func == (a: DomainHandle, b: DomainHandle) -> Bool { a.bytes == b.bytes }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(bytes.0)
    hasher.combine(bytes.1)
  }
}
