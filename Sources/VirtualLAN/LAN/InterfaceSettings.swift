import Glibc

/// Settings of an interface that rtnetlink does not carry.
enum InterfaceSettings {
  /// Keeps IPv6 off an interface: no address, no neighbour discovery, nothing received for the host. A kernel
  /// without IPv6 has nothing to keep off.
  static func disableIPv6(_ name: InterfaceName) {
    let file = open("/proc/sys/net/ipv6/conf/\(name)/disable_ipv6", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = write(file, "1", 1)
    close(file)
  }
}
