import VirtualLAN

extension AttachmentStore {
  /// The containers by the host's end of each of their interfaces.
  public func containersByInterface() -> [InterfaceName: String] {
    let pairs = loadAll().records.map { ($0.id.hostInterface, $0.id.container) }
    return Dictionary(pairs) { first, _ in first }
  }
}
