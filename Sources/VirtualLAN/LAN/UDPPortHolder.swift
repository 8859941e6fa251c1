import Glibc
import StateFiles

/// Who has the UDP port that VXLAN is to be received at. VXLAN devices of one kind share one; any other kind, and any
/// program, is in their way, and the kernel says no more than "address already in use", once the device is set up.
extension LANWiring {
  /// Refuses a LAN whose UDP port is somebody else's.
  ///
  /// - Parameter others: LANs of this host. One with the same port whose VXLAN device is up shows that the port is
  ///   shared, which saves a look at all interfaces.
  public func checkPort(
    of lan: LANDefinition, on underlay: Underlay, beside others: [LANDefinition]
  ) throws(LANError) {
    let isIPv6 = underlay.address.isIPv6
    guard !Self.isFree(lan.port, isIPv6: isIPv6) else { return }
    for other in others where other.port == lan.port && other.mode != .local {
      if let link = try network.link(.name(other.vxlan)), link.isUp, link.vxlan?.local?.isIPv6 == isIPv6 { return }
    }
    let holder = try portHolder(lan.port, isIPv6: isIPv6)
    if case .shared = holder { return }
    throw .refused("port", "UDP port taken by \(holder)", lan.port, as: .conflict)
  }

  /// The kernel's refusal to set up a VXLAN device, with the port and its holder where that is what it means.
  public func explained(_ error: NetlinkError, port: UInt16) -> LANError {
    guard error.code == EADDRINUSE else { return LANError(error) }
    var holder = PortHolder.unknown
    for isIPv6 in [false, true] {
      if let found = try? portHolder(port, isIPv6: isIPv6), found != .shared, holder == .unknown { holder = found }
    }
    return .refused("port", "UDP port taken by \(holder)", port, as: .conflict)
  }

  enum PortHolder: Hashable, CustomStringConvertible {
    /// VXLAN devices such as chaos makes.
    case shared
    case device(InterfaceName)
    case process(Int32, command: String)
    case unknown

    var description: String {
      switch self {
      case .shared: "VXLAN interfaces that share it"
      case .device(let name): "VXLAN interface '\(name)', which shares with its own kind only"
      case .process(let process, let command): "process \(process) (\(command))"
      case .unknown: "another program"
      }
    }
  }

  /// Whether a socket could have the port now.
  private static func isFree(_ port: UInt16, isIPv6: Bool) -> Bool {
    let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    // Where that cannot be tried the kernel decides later.
    guard descriptor >= 0 else { return true }
    let probe = Descriptor(owning: descriptor)
    if isIPv6 {
      // As the VXLAN driver does, which leaves IPv4's port of the same number alone.
      _ = probe.setOption(CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1)
      var any = sockaddr_in6()
      any.sin6_family = sa_family_t(AF_INET6)
      any.sin6_port = port.bigEndian
      return bind(probe, to: &any)
    }
    var any = sockaddr_in()
    any.sin_family = sa_family_t(AF_INET)
    any.sin_port = port.bigEndian
    return bind(probe, to: &any)
  }

  private static func bind<Address>(_ probe: borrowing Descriptor, to address: inout Address) -> Bool {
    let result = withUnsafeBytes(of: &address) {
      Glibc.bind(probe.rawValue, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    return result == 0 || errno != EADDRINUSE
  }

  private func portHolder(_ port: UInt16, isIPv6: Bool) throws(LANError) -> PortHolder {
    // A socket of IPv6 may have IPv4's port, too.
    for isIPv6 in isIPv6 ? [true] : [false, true] {
      if let process = UDPSockets.process(at: port, isIPv6: isIPv6) { return process }
    }
    let devices = try network.everyLink().filter { $0.vxlanPort == port && $0.isUp }
    // One that takes its VNIs from routing has no VNI of its own.
    if let external = devices.first(where: { $0.vxlan == nil }) { return .device(external.name) }
    let ofFamily = devices.contains { ($0.vxlan?.local?.isIPv6 ?? false) == isIPv6 }
    return ofFamily ? .shared : .unknown
  }
}

/// The kernel's lists of UDP sockets.
enum UDPSockets {
  /// The process that has a socket at a port; nil when none has, or it is the kernel itself.
  fileprivate static func process(at port: UInt16, isIPv6: Bool) -> LANWiring.PortHolder? {
    guard let list = KernelFile.text("/proc/thread-self/net/\(isIPv6 ? "udp6" : "udp")") else {
      return nil
    }
    let sockets = inodes(at: port, in: list)
    guard !sockets.isEmpty else { return nil }
    for name in StateFile.names(in: "/proc") {
      guard let process = Int32(name), hasOpen(sockets, process) else { continue }
      let command = KernelFile.text("/proc/\(process)/comm")?.prefix { $0 != "\n" } ?? "?"
      return .process(process, command: String(command))
    }
    return nil
  }

  /// The numbers of the sockets at a local port, by a text of /proc/net/udp: a heading, then lines of number,
  /// ADDRESS:PORT in hexadecimal digits, ..., the tenth column the inode.
  static func inodes(at port: UInt16, in list: String) -> Set<String> {
    var inodes: Set<String> = []
    for line in list.split(separator: "\n").dropFirst() {
      let fields = line.split(separator: " ")
      guard fields.count >= 10, let digits = fields[1].split(separator: ":").last,
        UInt16(digits, radix: 16) == port
      else { continue }
      inodes.insert(String(fields[9]))
    }
    return inodes
  }

  private static func hasOpen(_ sockets: Set<String>, _ process: Int32) -> Bool {
    let folder = "/proc/\(process)/fd"
    return StateFile.names(in: folder).contains { name in
      var target = [CChar](repeating: 0, count: 64)
      guard readlink("\(folder)/\(name)", &target, target.count - 1) > 0 else { return false }
      let text = String(decoding: target.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return text.hasPrefix("socket:[") && sockets.contains(String(text.dropFirst(8).dropLast()))
    }
  }
}
