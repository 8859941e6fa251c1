import VirtualLAN

extension Plugin {
  /// GC: deletes what belongs to attachments of this network that the runtime does not know any more. One that
  /// cannot be deleted does not keep the others.
  func collect() throws(CNIError) {
    let valid = try configuration.validAttachments()
    let network = try network()
    let (records, damaged) = attachments.loadAll()
    var failures = damaged
    for record in records where record.network == configuration.name && !valid.contains(record.id) {
      do throws(CNIError) {
        try deleteRecorded(record.id, record, network)
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
