import Glibc
import NetworkAddresses

/// What the keeper sets right besides holding routes: forwarding entries that FRR leaves wrong when an address was at
/// two hosts. By what it hears, and by a look at all tables now and then.
extension RouteKeeper.Work {
  // MARK: Stations of this host

  /// Notes what happened to stations of this host; sets the entries anew that went with another host's announcement.
  mutating func tend(_ changes: [ForwardingChange]) throws(NetlinkError) {
    var lost: [ForwardingEntry] = []
    for change in changes {
      switch change {
      case .added(let entry) where entry.scope == .master:
        if entry.state == .static || entry.isExternallyLearned {
          stations.appear(entry, isRemote: try isTunnel(entry.device))
        }
      case .removed(let entry) where entry.scope == .master:
        if let entry = stations.vanish(entry) { lost.append(entry) }
      default: break
      }
    }
    try restore(lost)
  }

  private mutating func isTunnel(_ device: InterfaceIndex) throws(NetlinkError) -> Bool {
    if let known = tunnels[device] { return known }
    let isTunnel = try devices([device], isUsed: false)[device] != nil
    tunnels[device] = isTunnel
    return isTunnel
  }

  private func restore(_ lost: [ForwardingEntry]) throws(NetlinkError) {
    if lost.isEmpty { return }
    let there = try keeper.network.query { socket throws(NetlinkError) in
      var there: [ForwardingEntry] = []
      for entry in lost {
        // The member may have gone meanwhile.
        if try socket.link(index: entry.device)?.master == entry.master { there.append(entry) }
      }
      return there
    }
    // Somebody else may have been quicker.
    let codes = [EEXIST, ENODEV, EINVAL, EOPNOTSUPP]
    let refused = try refused(there.map { .addForwarding($0, mode: .create) }, expecting: codes)
    for (position, entry) in there.enumerated() where !refused.contains(position) {
      keeper.report("EVPN: \(entry.mac) is here, and no longer on another host as well")
    }
  }

  // MARK: All tables

  /// Looks at all tables: notes what was not heard, and removes what zebra forgot.
  mutating func review() throws(NetlinkError) {
    let all = try keeper.network.query { socket throws(NetlinkError) in try socket.forwardingTable() }
    let lans = try devices(Set(all.compactMap { $0.isRouted ? $0.device : nil }), isUsed: false)
    tunnels = lans.mapValues { _ in true }
    try restore(stations.review(all) { lans[$0.device] != nil })
    try remove(all.filter(\.isRouted).flatMap { taken($0) })
    try removeStale(all, lans)
  }

  /// zebra sets an entry of the VXLAN device and one of the bridge together. When the address comes to a port of this
  /// host, the bridge's moves there, and the VXLAN device's is left for good: frames for the address go on to a host
  /// that has it no longer, once it is gone here.
  ///
  /// What is found twice in a row is removed; between the two that zebra sets there may be a moment.
  private mutating func removeStale(
    _ all: [ForwardingEntry], _ lans: [InterfaceIndex: Link]
  ) throws(NetlinkError) {
    let bridged = Set(all.filter { $0.scope == .master }.map { [UInt64($0.device.rawValue), $0.mac.rawValue] })
    let lonely = all.filter { entry in
      entry.isRouted && !entry.mac.isZero && lans[entry.device] != nil
        && !bridged.contains([UInt64(entry.device.rawValue), entry.mac.rawValue])
    }
    let stale = lonely.filter { suspects.contains($0) }
    suspects = Set(lonely).subtracting(stale)
    // That they vanish is no news then.
    dismissed.formUnion(stale.compactMap { route($0, lans) })
    _ = try refused(stale.map { .deleteForwarding($0) }, expecting: [ENOENT, ENODEV])
    for entry in stale {
      keeper.report("EVPN: \(entry.mac) is no longer at \(entry.destination!), which zebra forgot")
    }
  }
}
