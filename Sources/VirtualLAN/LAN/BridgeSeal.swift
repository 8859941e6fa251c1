import Glibc

/// Keeps a LAN's bridge apart from the host it is on: what the bridge does not forward, it would hand to the host.
///
/// A filter on what the bridge hands up throws all of it away. The settings of IPv4 and IPv6 keep the host from saying
/// anything on the LAN by itself, and stand behind the filter: with rp_filter 1 or 2 an interface without an address
/// takes no packet from anybody, whatever `net.ipv4.conf.all.rp_filter` says, but from nobody (0.0.0.0, as in DHCP).
enum BridgeSeal {
  static let ipv4 = IPv4Behaviour(forwards: false, reversePathFilter: 1, arpIgnore: 8)

  /// Whether an interface has the settings. What the kernel did not say counts as right.
  static func isSet(on link: Link) -> Bool {
    if link.isIPv6Disabled == false { return false }
    guard let found = link.ipv4 else { return true }
    return found.forwards != true && found.reversePathFilter != 0 && found.arpIgnore == ipv4.arpIgnore
  }
}

extension HostNetwork {
  /// Whether a bridge hands nothing to the host, by its filter.
  func isSealed(_ bridge: InterfaceIndex) throws(LANError) -> Bool {
    try ask { socket throws(NetlinkError) in try socket.ingressFilters(of: bridge).contains(where: \.dropsAll) }
  }

  /// Gives a bridge its filter.
  ///
  /// - Throws: `LANError`, also by a kernel without such filters (sch_ingress, cls_bpf).
  func seal(_ bridge: InterfaceIndex, _ name: InterfaceName, isNew: Bool) throws(LANError) {
    if !isNew, try isSealed(bridge) { return }
    do throws(NetlinkError) {
      do throws(NetlinkError) {
        try query { socket throws(NetlinkError) in try socket.perform(.createIngress(bridge)) }
      } catch {
        if error.code != EEXIST { throw error }
      }
      try query { socket throws(NetlinkError) in try socket.perform(.dropIngress(bridge)) }
    } catch {
      throw LANError(.system, "bridge: cannot be kept apart from the host: \(error)", field: "bridge")
    }
  }
}
