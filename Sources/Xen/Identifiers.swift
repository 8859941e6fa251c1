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
  public private(set) var bytes: (UInt64, UInt64)

  private init(high: UInt64, low: UInt64) { bytes = (high, low) }

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

extension DomainHandle {
  /// A random UUID (RFC 4122, version 4).
  public static func random() -> DomainHandle {
    var generator = SystemRandomNumberGenerator()
    var handle = DomainHandle(high: generator.next(), low: generator.next())
    handle.bytes.0 = handle.bytes.0 & ~0xf000 | 0x4000
    handle.bytes.1 = handle.bytes.1 & ~(3 << 62) | 1 << 63
    return handle
  }

  /// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`; nil for anything else.
  public init?(uuid text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard parts.map(\.count) == [8, 4, 4, 4, 12] else { return nil }
    var words: [UInt64] = []
    for half in [parts[0...2], parts[3...4]] {
      let digits = String(decoding: half.joined(), as: UTF8.self)
      guard digits.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
        let word = UInt64(digits, radix: 16)
      else { return nil }
      words.append(word)
    }
    self.init(high: words[0], low: words[1])
  }

  /// The handle as a UUID, in lower case.
  public var uuid: String {
    func hexadecimal(_ value: UInt64, _ digits: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    return hexadecimal(bytes.0 >> 32, 8) + "-" + hexadecimal(bytes.0 >> 16 & 0xffff, 4) + "-"
      + hexadecimal(bytes.0 & 0xffff, 4) + "-" + hexadecimal(bytes.1 >> 48, 4) + "-"
      + hexadecimal(bytes.1 & 0xffff_ffff_ffff, 12)
  }
}
