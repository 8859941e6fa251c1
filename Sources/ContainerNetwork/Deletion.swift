import ChaosAPI
import Glibc
import NetworkAddresses
import VirtualLAN

extension Plugin {
  /// DEL: takes the container off the LAN, as far as it is on it. Neither its namespace nor anything kept is
  /// needed: the host's end has a name that can be worked out, and the far end goes with it.
  func delete() throws(CNIError) {
    let id = try id
    let remains = remains(of: id)
    try detach(remains, lan: lan(of: remains.record), try network()) { () throws(CNIError) in
      if let manager = try addressManager() { return manager }
      return try recordedManager(remains.record)
    }
  }

  /// What is known of an attachment that is to go.
  struct Remains {
    let id: AttachmentID
    /// What was kept of it; nil also where that cannot be read.
    let record: AttachmentRecord?
    /// Why it cannot be read, where it may say something to somebody yet.
    let withheld: CNIError?
    /// Whether an IPAM plug-in may have given it addresses. Without a record none was ever asked.
    let mayHaveAddresses: Bool

    init(id: AttachmentID, record: AttachmentRecord?) {
      self.id = id
      self.record = record
      withheld = nil
      mayHaveAddresses = record?.mayHaveAddresses ?? false
    }

    fileprivate init(id: AttachmentID, unreadable: AttachmentStore.Unreadable) {
      self.id = id
      record = nil
      mayHaveAddresses = true
      if case .withheld(let error) = unreadable { withheld = error } else { withheld = nil }
    }
  }

  /// What an unreadable record does not say is done without.
  func remains(of id: AttachmentID) -> Remains {
    do throws(AttachmentStore.Unreadable) {
      return Remains(id: id, record: try attachments.load(id))
    } catch {
      return Remains(id: id, unreadable: error)
    }
  }

  /// Takes away an attachment by what was kept of it, for callers that have no configuration of it at hand.
  func deleteRecorded(_ remains: Remains, _ network: HostNetwork) throws(CNIError) {
    try detach(remains, lan: lan(of: remains.record), network) { () throws(CNIError) in
      try recordedManager(remains.record)
    }
  }

  /// The LAN an attachment is on, by its record or, without one, the configuration; nil when there is no such LAN
  /// any more.
  private func lan(of record: AttachmentRecord?) -> LANDefinition? {
    var configuration = configuration
    if let record, let recorded = try? NetworkConfiguration(json: record.configuration) { configuration = recorded }
    guard let choice = try? configuration.lan(), let lan = try? definition(of: choice) else { return nil }
    // A LAN made anew under the same name is none of this attachment's business.
    return record == nil || record?.bridge == lan.bridge ? lan : nil
  }

  /// The IPAM plug-in of a recorded attachment, to be called as if its runtime had.
  private func recordedManager(_ record: AttachmentRecord?) throws(CNIError) -> AddressManager? {
    guard let record else { return nil }
    let configuration = try NetworkConfiguration(json: record.configuration)
    guard let type = configuration.addressManager, !configuration.isMegalos else { return nil }
    var environment = environment
    environment["CNI_CONTAINERID"] = record.id.container
    environment["CNI_IFNAME"] = record.id.interface.description
    environment["CNI_NETNS"] = record.namespace
    environment["CNI_ARGS"] = record.arguments
    return try AddressManager(
      type: type, path: parameters.path, environment: environment, configuration: record.configuration.compact)
  }

  /// Undoes ADD. Each part is done whatever became of the others; the record goes last and only when nothing is
  /// left to do.
  func detach(
    _ remains: Remains, lan: LANDefinition?, _ network: HostNetwork,
    addressManager: () throws(CNIError) -> AddressManager?
  ) throws(CNIError) {
    let id = remains.id
    var failure = remains.withheld
    do throws(CNIError) {
      // First, because one that leases addresses from a server says goodbye through the interface.
      try addressManager()?.perform("DEL")
    } catch {
      // One that gave nothing has nothing to take back: it is called for its own good, and may fail as ADD did.
      if remains.mayHaveAddresses { failure = failure ?? error }
    }
    do throws(CNIError) {
      if let lan {
        try holdingLock(of: lan.bridge) { () throws(CNIError) in try leave(lan, id, network) }
      } else {
        try deleteHostEnd(id, network)
      }
    } catch {
      failure = failure ?? error
    }
    if let failure { throw failure }
    try attachments.remove(id)
  }

  private func deleteHostEnd(_ id: AttachmentID, _ network: HostNetwork) throws(CNIError) {
    try CNIError.wrapping { try network.delete([id.hostInterface]) }
  }

  private func leave(_ lan: LANDefinition, _ id: AttachmentID, _ network: HostNetwork) throws(CNIError) {
    try deleteHostEnd(id, network)
    try CNIError.wrapping {
      guard try LANMembership(network: network).settle(lan) == .empty, lan.lifetime == .whileUsed else { return }
      try remove(lan, network)
    }
  }

  /// Deletes both devices, whichever plug-in made them.
  private func remove(_ lan: LANDefinition, _ network: HostNetwork) throws(NetlinkError) {
    guard let vxlan = try network.link(named: lan.vxlan), let bridge = try network.link(named: lan.bridge),
      vxlan.master == bridge.index, vxlan.vxlan?.vni == lan.vni
    else { return }
    if bridge.group == LANWiring.group(of: lan), vxlan.group == bridge.group {
      try network.perform(.deleteLinks(group: bridge.group))
    } else {
      try network.delete([lan.vxlan, lan.bridge])
    }
  }
}
