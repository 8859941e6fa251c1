import VirtualLAN

extension AttachmentStore {
  /// The containers by the host's end of each of their interfaces.
  public func containersByInterface() -> [InterfaceName: String] {
    let pairs = loadAll().records.map { ($0.id.hostInterface, $0.id.container) }
    return Dictionary(pairs) { first, _ in first }
  }

  /// The places on LANs that containers were given, by the LAN's bridge.
  public func portsByBridge() -> [InterfaceName: [LANPort]] {
    var ports: [InterfaceName: [LANPort]] = [:]
    for record in loadAll().records {
      guard let mac = record.mac, let mtu = record.mtu else { continue }
      ports[record.bridge, default: []].append(LANPort(interface: record.id.hostInterface, mac: mac, mtu: mtu))
    }
    return ports
  }
}
