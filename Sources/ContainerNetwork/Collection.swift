import VirtualLAN

extension Plugin {
  /// GC: deletes what belongs to attachments of this network that the runtime does not know any more. One that
  /// cannot be deleted does not keep the others.
  func collect() throws(CNIError) {
    let valid = try configuration.validAttachments()
    let network = try network()
    let (records, unreadable) = attachments.loadAll()
    var failures: [CNIError] = []
    for (id, why) in unreadable where !valid.contains(id) {
      do throws(CNIError) {
        try putAway(id, why, network)
      } catch {
        failures.append(error)
      }
    }
    for record in records where record.network == configuration.name && !valid.contains(record.id) {
      do throws(CNIError) {
        try deleteRecorded(Remains(id: record.id, record: record), network)
      } catch {
        failures.append(error)
      }
    }
    do throws(CNIError) {
      try addressManager()?.perform("GC")
    } catch {
      failures.append(error)
    }
    guard let first = failures.first else { return }
    throw CNIError(
      first.code, first.message,
      details: failures.count == 1 ? first.details : "and \(failures.count - 1) more that could not be cleaned up")
  }

  /// Sets a damaged record aside once its container is gone, as it is after the power cut that damaged it. Which
  /// network the container was on nobody can tell any more: one that has its interface may be another's, and is
  /// left to its DEL.
  private func putAway(
    _ id: AttachmentID, _ why: AttachmentStore.Unreadable, _ network: HostNetwork
  ) throws(CNIError) {
    guard case .damaged = why else { throw why.error }
    let host = try CNIError.wrapping { try network.link(named: id.hostInterface) }
    if host == nil { try attachments.setAside(id) }
  }

  /// STATUS: whether ADD could be served: there is such a LAN, the host has what it is built on, and the IPAM
  /// plug-in is willing.
  func status() throws(CNIError) {
    do throws(CNIError) {
      let lan = try definition(of: try configuration.lan())
      let wiring = LANWiring(network: try network())
      _ = try CNIError.wrapping { try wiring.check(lan) }
    } catch {
      throw CNIError(.unavailable, error.message, details: error.details)
    }
    try addressManager()?.perform("STATUS")
  }
}
