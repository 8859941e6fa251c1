import Glibc
import NetworkAddresses
import VirtualLAN

extension Plugin {
  /// ADD: joins the container to the LAN. What fails leaves nothing behind.
  func add() throws(CNIError) -> AttachmentResult {
    let id = try id
    let plan = try configuration.plan(arguments: parameters.arguments)
    let previous = try configuration.previousResult()
    let manager = try addressManager()
    let lan = try definition(of: try configuration.lan())
    let namespace = try containerNamespace()
    let network = try network()
    try refuseTaken(id, namespace, network)
    try replaceStale(id, network)

    do throws(CNIError) {
      let (record, isFirst) = try attach(id, lan: lan, plan: plan, namespace: namespace, network)
      let result = try configure(record, plan: plan, manager: manager, namespace: namespace)
      if let mac = record.mac, !result.addresses.isEmpty {
        LANMembership(network: network).awaitReach(of: id.hostInterface, on: lan, isFirst: isFirst)
        ContainerSide(interface: id.interface, namespace: namespace.descriptor)
          .announce(result.addresses.map(\.address.address), at: mac)
      }
      return previous?.appending(result) ?? result
    } catch {
      // What could not be undone now is left to DEL, which the runtime calls next.
      try? detach(remains(of: id), lan: lan, network) { manager }
      throw error
    }
  }

  /// The container's namespace, which has to be another than the host's unless the runtime says otherwise.
  func containerNamespace() throws(CNIError) -> NamespaceHandle {
    guard let path = parameters.namespace else { throw CNIError(.invalidEnvironment, "CNI_NETNS: missing") }
    let namespace = try Self.openNamespace(path)
    let own = try CNIError.wrapping { try NamespaceHandle.own().identity }
    guard namespace.identity != own || parameters.allowsHostNamespace else {
      throw .refused("CNI_NETNS", "the host's own network namespace", path, code: .invalidEnvironment)
    }
    return namespace
  }

  private static func openNamespace(_ path: String) throws(CNIError) -> NamespaceHandle {
    do throws(NetlinkError) {
      return try NamespaceHandle(path: path)
    } catch {
      let why = error.code == EINVAL ? "not a network namespace" : "cannot be opened"
      throw CNIError(.invalidEnvironment, "CNI_NETNS: \(why): \(quoted(path))", details: error.description)
    }
  }

  /// Refuses a container that has an interface of the name, whoever gave it to it.
  private func refuseTaken(
    _ id: AttachmentID, _ namespace: borrowing NamespaceHandle, _ network: HostNetwork
  ) throws(CNIError) {
    let taken = try CNIError.wrapping {
      var socket = try RouteSocket(namespace: namespace.descriptor)
      return try socket.link(named: id.interface)
    }
    guard taken != nil else { return }
    throw CNIError(
      .alreadyAttached,
      "CNI_IFNAME: the container has an interface of that name already: \(quoted(id.interface.description))")
  }

  /// Clears away what an attachment of the same name left behind: the host was rebooted, or the runtime lost a
  /// container without a DEL. One that still works in another namespace is not touched.
  private func replaceStale(_ id: AttachmentID, _ network: HostNetwork) throws(CNIError) {
    // A damaged one says nothing, and is written anew.
    let record = try attachments.loadUnlessDamaged(id)
    let host = try CNIError.wrapping { try network.link(named: id.hostInterface) }
    guard record != nil || host != nil else { return }
    if let host, let record, isAlive(record, host) {
      throw CNIError(
        .alreadyAttached,
        "CNI_CONTAINERID: attached already, in \(quoted(record.namespace)): \(quoted(id.container))",
        details: "DEL has to come first")
    }
    try deleteRecorded(Remains(id: id, record: record), network)
  }

  /// Whether the far end is where the record says.
  private func isAlive(_ record: AttachmentRecord, _ host: Link) -> Bool {
    guard let namespace = try? NamespaceHandle(path: record.namespace),
      var socket = try? RouteSocket(namespace: namespace.descriptor),
      let link = try? socket.link(named: record.id.interface)
    else { return false }
    return link.peerIndex == host.index
  }

  // MARK: The host's side

  /// Makes the pair and its place on the LAN, and writes down that it does.
  ///
  /// - Returns: the record, and whether the LAN had no member here before.
  private func attach(
    _ id: AttachmentID, lan: LANDefinition, plan: InterfacePlan, namespace: borrowing NamespaceHandle,
    _ network: HostNetwork
  ) throws(CNIError) -> (AttachmentRecord, isFirst: Bool) {
    let descriptor = namespace.descriptor
    return try holdingLock(of: lan.bridge) { () throws(CNIError) in
      let current = try definition(of: try configuration.lan())
      guard current.bridge == lan.bridge else {
        throw .refused("lan", "was made anew meanwhile", lan.name, code: .tryAgain)
      }
      var record = AttachmentRecord(
        id: id, network: configuration.name, bridge: lan.bridge, namespace: parameters.namespace ?? "", mac: nil,
        mtu: nil, arguments: parameters.arguments, configuration: configuration.json)
      try attachments.save(record)
      let laid = try CNIError.wrapping { try LANWiring(network: network).layOut(current) }
      let place = LANMembership(network: network)
      let lanMTU = try place.mtu(of: current, laid)
      let mac = plan.mac ?? id.defaultMAC(host: laid.underlay?.address)
      let mtu = try mtu(plan, lanMTU: lanMTU)
      record.mac = mac
      record.mtu = mtu
      try attachments.save(record)
      try CNIError.wrapping {
        try place.join(
          laid.bridge, host: id.hostInterface, mtu: lanMTU,
          .init(name: id.interface, mac: mac, mtu: mtu, namespace: descriptor))
      }
      let members = try CNIError.wrapping { try LANWiring(network: network).settle(laid) }
      return (record, members == 1)
    }
  }

  private func mtu(_ plan: InterfacePlan, lanMTU: Int) throws(CNIError) -> Int {
    guard let mtu = plan.mtu else { return lanMTU }
    guard mtu <= lanMTU else { throw .refused("mtu", "above the LAN's \(lanMTU)", mtu) }
    return mtu
  }

  // MARK: The container's side

  /// Asks for addresses where the network has an IPAM plug-in, and gives the container its addresses and routes.
  private func configure(
    _ record: AttachmentRecord, plan: InterfacePlan, manager: AddressManager?, namespace: borrowing NamespaceHandle
  ) throws(CNIError) -> AttachmentResult {
    var result = AttachmentResult(addresses: plan.addresses, routes: plan.routes, dns: plan.dns)
    if let manager {
      result = try addresses(from: manager, for: record)
      guard !result.addresses.isEmpty else { throw CNIError(.delegate, "\(manager.type): gave no address") }
      result.dns = plan.dns ?? result.dns
    }
    result.interfaces = [
      .init(name: record.id.hostInterface.description, mac: LANMembership.hostAddress.description),
      .init(
        name: record.id.interface.description, mac: record.mac?.description, mtu: record.mtu,
        sandbox: record.namespace),
    ]
    for index in result.addresses.indices { result.addresses[index].interface = 1 }
    try ContainerSide(interface: record.id.interface, namespace: namespace.descriptor).configure(result)
    return result
  }

  /// What the IPAM plug-in gives. Whether it has to be called to delete is known at any time, also to a DEL after
  /// this process was killed.
  private func addresses(
    from manager: AddressManager, for record: AttachmentRecord
  ) throws(CNIError) -> AttachmentResult {
    var record = record
    record.mayHaveAddresses = true
    try attachments.save(record)
    switch try manager.add() {
    case .success(let result): return result
    case .failure(let refusal):
      record.mayHaveAddresses = false
      try attachments.save(record)
      throw refusal
    }
  }
}
