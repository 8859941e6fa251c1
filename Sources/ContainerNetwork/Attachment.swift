import NetworkAddresses
import VirtualLAN

/// What the CNI specification calls an attachment by: a container and the name of its interface.
public struct AttachmentID: Hashable, Sendable, CustomStringConvertible {
  public let container: String
  public let interface: InterfaceName

  /// The longest container ID taken, in bytes: a file is called by it and the interface's name, and NAME_MAX
  /// (linux/limits.h) is 255.
  public static let longestContainer = 200

  /// - Throws: `CNIError` that names the environment variable.
  public init(container: String, interface: String) throws(CNIError) {
    guard let interface = InterfaceName(interface), !interface.bytes.contains(UInt8(ascii: "%")) else {
      // A percent sign would ask the kernel to make up a name (dev_alloc_name in net/core/dev.c).
      throw .refused("CNI_IFNAME", "not an interface name", interface, code: .invalidEnvironment)
    }
    guard isSpecName(container) else {
      let why = "not letters, digits, '_', '.' and '-' with a letter or digit first"
      throw .refused("CNI_CONTAINERID", why, container, code: .invalidEnvironment)
    }
    guard container.utf8.count <= Self.longestContainer else {
      let why = "longer than \(Self.longestContainer) bytes"
      throw .refused("CNI_CONTAINERID", why, container, code: .invalidEnvironment)
    }
    self.container = container
    self.interface = interface
  }

  public var description: String { "\(container):\(interface)" }

  /// The container ID and the interface's name with a zero between them, so that no two pairs look the same.
  private var bytes: [UInt8] { Array(container.utf8) + [0] + interface.bytes }

  /// What the host's end of the veth pair is called: `cv` and 12 hexadecimal digits, the same at every call, so
  /// that DEL finds it without anything kept.
  public var hostInterface: InterfaceName {
    let hash = fnv1a(bytes)
    // 64 bits are folded into the 48 that there is room for, as FNV's authors have it.
    let folded = (hash >> 48 ^ hash) & 0xffff_ffff_ffff
    let digits = String(folded, radix: 16)
    return InterfaceName("cv" + String(repeating: "0", count: 12 - digits.count) + digits)!
  }

  /// The address of a container that was not given one: locally administered, and the same whenever the
  /// attachment is made again on this host.
  ///
  /// - Parameter host: what tells this host from the others of the LAN, its VTEP: two hosts may well have
  ///   containers of the same ID.
  public func defaultMAC(host: IPAddress?) -> MACAddress {
    let hash = fnv1a(bytes + [0] + (host?.octets ?? []))
    let folded = (hash >> 40 ^ hash) & 0xff_ffff_ffff
    return MACAddress(rawValue: 0x02 << 40 | folded)!
  }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
private func fnv1a(_ bytes: [UInt8]) -> UInt64 {
  bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
}

/// Whether a text is what the CNI specification allows as a container ID and as a network's name: a letter or
/// digit, then letters, digits, underscores, dots and hyphens.
func isSpecName(_ text: String) -> Bool {
  func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
  guard let first = text.utf8.first, isAlphanumeric(first) else { return false }
  return text.utf8.allSatisfy { byte in
    isAlphanumeric(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
  }
}
