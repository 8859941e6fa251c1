import Glibc

/// The name of a network interface: what the kernel accepts as one (`dev_valid_name` in net/core/dev.c).
///
/// 1 to 15 bytes (IFNAMSIZ less the NUL), none of them a blank, `/`, `:` or NUL, and neither `.` nor `..`.
public struct InterfaceName: Hashable, Sendable {
  /// The bytes, the first one lowest, zeroes behind the last. A name has no zero inside, so that this says
  /// the length too; there is no heap behind it, and two names compare as two numbers.
  private let packed: UInt128

  /// The longest name in bytes.
  public static let longest = 15

  /// Nil when the kernel would refuse the name.
  public init?(bytes: some Collection<UInt8>) {
    guard 1...Self.longest ~= bytes.count, !bytes.contains(where: Self.isForbidden) else {
      return nil
    }
    let dot = UInt8(ascii: ".")
    if bytes.count <= 2, bytes.allSatisfy({ $0 == dot }) { return nil }
    packed = bytes.reversed().reduce(0) { $0 << 8 | UInt128($1) }
  }

  public var bytes: [UInt8] {
    (0..<Self.longest).map { UInt8(truncatingIfNeeded: packed >> (8 * $0)) }.filter { $0 != 0 }
  }

  private static func isForbidden(_ byte: UInt8) -> Bool {
    switch byte {
    case 0, UInt8(ascii: "/"), UInt8(ascii: ":"): true
    // The kernel's isspace() reads Latin-1, where 0xa0 is the no-break space; it is also the second half of
    // some letters in UTF-8.
    case 0x09...0x0d, 0x20, 0xa0: true
    default: false
    }
  }
}

extension InterfaceName: LosslessStringConvertible {
  /// Nil when the kernel would refuse the name.
  public init?(_ description: String) {
    self.init(bytes: description.utf8)
  }

  /// The name as text; bytes that are no UTF-8, which the kernel does not mind, come out as U+FFFD.
  public var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// The kernel's number for an interface, unique in its network namespace and not used again soon after.
public struct InterfaceIndex: Hashable, Sendable, CustomStringConvertible {
  public let rawValue: Int32

  /// Nil unless positive: the kernel counts from 1, and 0 means "none" in its messages.
  public init?(rawValue: Int32) {
    guard rawValue > 0 else { return nil }
    self.rawValue = rawValue
  }

  public var description: String { String(rawValue) }
}

/// How a request says which interface it means. Both cost one message: no look-up comes first.
public enum LinkReference: Hashable, Sendable, CustomStringConvertible {
  case index(InterfaceIndex)
  case name(InterfaceName)

  public var description: String {
    switch self {
    case .index(let index): "interface \(index)"
    case .name(let name): "'\(name)'"
    }
  }
}

extension InterfaceIndex {
  /// The index of the interface of that name, asked of the kernel without rtnetlink (if_nametoindex(3)); nil when
  /// there is none. For names that should be there: for others the kernel starts modprobe, which takes its time
  /// (dev_load in net/core/dev_ioctl.c).
  public init?(of name: InterfaceName) {
    self.init(rawValue: Int32(bitPattern: if_nametoindex(name.description)))
  }
}

extension InterfaceName {
  /// The name of the interface of that index now (if_indextoname(3)); nil when there is none.
  public init?(of index: InterfaceIndex) {
    var text = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
    guard if_indextoname(UInt32(index.rawValue), &text) != nil else { return nil }
    self.init(bytes: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) })
  }
}
