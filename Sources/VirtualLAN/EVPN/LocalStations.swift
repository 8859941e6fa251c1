import NetworkAddresses

/// Remembers behind which ports of this host stations are, so that one whose address another host announced as well
/// gets its entry back.
///
/// zebra moves the static entry of such a station to the VXLAN device, and when the other host takes its announcement
/// back, it deletes the entry instead of moving it back (FRR#21472). The station would be announced nowhere then.
struct LocalStations {
  private struct Station: Hashable {
    let mac: MACAddress
    let bridge: InterfaceIndex
  }

  private var ports: [Station: InterfaceIndex] = [:]
  /// Those whose entry leads to another host now.
  private var displaced: Set<Station> = []

  /// An entry of a bridge is there.
  ///
  /// - Parameter isRemote: it leads to a LAN's VXLAN device.
  mutating func appear(_ entry: ForwardingEntry, isRemote: Bool) {
    guard let station = station(of: entry) else { return }
    if isRemote {
      if ports[station] != nil { displaced.insert(station) }
    } else if entry.state == .static {
      ports[station] = entry.device
      displaced.remove(station)
    }
  }

  /// An entry of a bridge is gone. Returns the entry to be set in its place.
  mutating func vanish(_ entry: ForwardingEntry) -> ForwardingEntry? {
    guard let station = station(of: entry), let port = ports[station] else { return nil }
    if displaced.remove(station) != nil { return Self.entry(of: station, at: port) }
    if entry.device == port { ports[station] = nil }
    return nil
  }

  /// Takes all bridges' entries in, whatever was heard of them. Returns the entries to be set.
  mutating func review(
    _ entries: [ForwardingEntry], isRemote: (ForwardingEntry) -> Bool
  ) -> [ForwardingEntry] {
    let there = Set(entries.compactMap(station))
    let lost = displaced.subtracting(there).compactMap { station in
      ports[station].map { Self.entry(of: station, at: $0) }
    }
    displaced.formIntersection(there)
    ports = ports.filter { displaced.contains($0.key) }
    for entry in entries { appear(entry, isRemote: isRemote(entry)) }
    return lost
  }

  private func station(of entry: ForwardingEntry) -> Station? {
    guard entry.scope == .master, let bridge = entry.master else { return nil }
    return Station(mac: entry.mac, bridge: bridge)
  }

  private static func entry(of station: Station, at port: InterfaceIndex) -> ForwardingEntry {
    ForwardingEntry(device: port, mac: station.mac, scope: .master, state: .static, master: station.bridge)
  }
}
