import ChaosAPI
import NetworkAddresses
import ShellPool
import StateFiles
import Synchronization
import VirtualLAN

/// The LANs of this host: what their definitions on disk say, laid out in the kernel.
///
/// What is done to one LAN is done in turns; different LANs do not wait for each other.
final class LANs: Sendable {
  /// One LAN as chaosd knows it.
  final class LAN: Sendable {
    struct State: Sendable {
      var definition: LANDefinition
      /// Nil while the LAN cannot be laid out.
      var laid: LaidLAN?
      /// Why it cannot.
      var failure: LANError?
      /// Vifs of guests that were put into it.
      var vifs = 0
      /// Set once it is deleted, for those who still wait for their turn.
      var isDeleted = false
    }

    // What no change of its definition changes.
    let name: String
    let vni: VNI
    let bridge: InterfaceName
    let state: Mutex<State>

    init(_ definition: LANDefinition) {
      name = definition.name
      vni = definition.vni
      bridge = definition.bridge
      state = Mutex(State(definition: definition))
    }
  }

  /// A vif on its way into a LAN.
  struct Port: Sendable {
    let tap: InterfaceName
    let mac: MACAddress
    /// What the guest was told, in bytes.
    let mtu: Int
  }

  let store: LANStore
  let network: HostNetwork
  let wiring: LANWiring
  let observe: StepObserver?
  private let report: @Sendable (String) -> Void
  private let table = Mutex<[String: LAN]>([:])

  init(
    store: LANStore, network: HostNetwork, observe: StepObserver?,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.store = store
    self.network = network
    wiring = LANWiring(network: network)
    self.observe = observe
    self.report = report
  }

  // MARK: Looking up

  var all: [LAN] { table.withLock { $0.values.sorted { $0.name < $1.name } } }

  func find(_ name: String, field: String? = nil) throws(APIError) -> LAN {
    guard let lan = table.withLock({ $0[name] }) else {
      throw APIError(.notFound, "\(field.map { "\($0): " } ?? "")no such LAN: '\(name)'", field: field)
    }
    return lan
  }

  /// Runs an operation on a LAN in its turn.
  func inTurn<Result: Sendable>(
    _ lan: LAN, _ body: (inout LAN.State) throws(APIError) -> Result
  ) throws(APIError) -> Result {
    try lan.state.withLock { state throws(APIError) in
      if state.isDeleted { throw APIError(.notFound, "no such LAN: '\(lan.name)'") }
      return try body(&state)
    }
  }

  // MARK: Start

  /// Lays out every LAN that is written down, and removes the devices of those that no longer are. One that cannot
  /// be laid out now waits for what it lacks.
  func start() throws {
    let found = store.loadAll()
    for error in found.damaged { report("LAN ignored: \(error)") }
    if found.damaged.isEmpty { try wiring.sweep(keeping: found.lans) }
    for definition in found.lans {
      let lan = LAN(definition)
      table.withLock { $0[definition.name] = lan }
      lan.state.withLock { state in
        layOut(&state)
        if let failure = state.failure { report("LAN '\(lan.name)' waits: \(failure)") }
      }
    }
  }

  /// Tries again to lay out what could not be. Returns the LANs that now are.
  func retry() -> [LAN] {
    all.filter { lan in
      lan.state.withLock { state in
        guard !state.isDeleted, state.laid?.missing.isEmpty != true else { return false }
        let wasLaid = state.laid != nil
        layOut(&state)
        return !wasLaid && state.laid != nil
      }
    }
  }

  /// Brings the kernel into the state the definition asks for, or notes why that cannot be.
  private func layOut(_ state: inout LAN.State) {
    do throws(LANError) {
      let lock = try store.lock(bridge: state.definition.bridge)
      state.laid = try wiring.layOut(state.definition)
      state.failure = nil
      _ = consume lock
    } catch {
      state.laid = nil
      state.failure = error
    }
  }

  /// The LAN's devices, laid out now if they could not be before.
  private func laid(_ lan: LAN, _ state: inout LAN.State) throws(APIError) -> LaidLAN {
    if let laid = state.laid { return laid }
    layOut(&state)
    guard let laid = state.laid else {
      throw APIError(
        .wrongState, "LAN '\(lan.name)' is not laid out: \(state.failure?.description ?? "its devices are gone")")
    }
    return laid
  }

  // MARK: Create and delete

  func create(_ definition: LANDefinition, isDerived: Bool) throws(APIError) -> LaidLAN {
    let lan = LAN(definition)
    try reserve(lan, isDerived: isDerived)
    do throws(APIError) {
      return try lan.state.withLock { state throws(APIError) in try create(&state) }
    } catch {
      lan.state.withLock { $0.isDeleted = true }
      table.withLock { $0[lan.name] = nil }
      throw error
    }
  }

  /// Makes name, VNI and device names the LAN's before anything is made.
  private func reserve(_ lan: LAN, isDerived: Bool) throws(APIError) {
    try table.withLock { table throws(APIError) in
      if table[lan.name] != nil { throw APIError(.conflict, "name: taken: '\(lan.name)'", field: "name") }
      if let other = table.values.first(where: { $0.vni == lan.vni }) {
        let advice = isDerived ? ", made from the name; choose another with --vni" : ""
        throw APIError(.conflict, "vni: taken by LAN '\(other.name)'\(advice): '\(lan.vni)'", field: "vni")
      }
      if let other = table.values.first(where: { $0.bridge == lan.bridge }) {
        throw APIError(.conflict, "bridge: taken by LAN '\(other.name)': '\(lan.bridge)'", field: "megalos")
      }
      table[lan.name] = lan
    }
  }

  private func create(_ state: inout LAN.State) throws(APIError) -> LaidLAN {
    let definition = state.definition
    do {
      let ground = try wiring.check(definition)
      var procedure = Procedure<CreateLANStep>(observe: observe)
      do {
        // First on disk: after a kill the LAN is laid out at the next start, or was never there.
        try procedure.step(.writeDefinition) {
          try store.save(definition)
        } undo: {
          try? self.store.remove(definition.name)
        }
        let lock = try store.lock(bridge: definition.bridge)
        let laid = try procedure.step(.layOut) { try wiring.layOut(definition, on: ground) }
        state.laid = laid
        _ = consume lock
        return laid
      } catch {
        try? wiring.remove(definition)
        procedure.rollBack()
        throw error
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Deletes a LAN unless it has members.
  ///
  /// - Parameter force: with members, too.
  /// - Returns: the members' ports that kept it from being deleted; none when it is gone.
  func delete(_ lan: LAN, force: Bool) throws(APIError) -> [Link] {
    let members = try inTurn(lan) { state throws(APIError) -> [Link] in
      do {
        let lock = try store.lock(bridge: state.definition.bridge)
        let members = force ? [] : try ports(state).members
        guard members.isEmpty else { return members }
        var procedure = Procedure<DeleteLANStep>(observe: observe)
        // The devices go in one step and before the definition: after a kill the LAN is there whole or gone.
        try procedure.step(.deleteDevices) { try wiring.remove(state.definition) }
        try procedure.step(.removeDefinition) { try store.remove(lan.name) }
        _ = consume lock
      } catch {
        throw APIError(error)
      }
      state.isDeleted = true
      return []
    }
    if members.isEmpty { table.withLock { $0[lan.name] = nil } }
    return members
  }

  /// The ports of a LAN's bridge with their counters, and its VXLAN device, which is one of them. A LAN that waits
  /// for its underlay may have both all the same.
  func ports(_ state: LAN.State) throws(APIError) -> (vxlan: Link?, members: [Link]) {
    do {
      let ports = try network.query { socket throws(NetlinkError) -> [Link] in
        var bridge = state.laid?.bridge
        if bridge == nil { bridge = try socket.link(named: state.definition.bridge)?.index }
        guard let bridge else { return [] }
        if isDeserted(state.definition) {
          return try [socket.link(named: state.definition.vxlan)].compactMap { $0 }
        }
        return try socket.linksWithStatistics(master: bridge)
      }
      let vxlan = ports.firstIndex { $0.name == state.definition.vxlan && $0.kind == .vxlan }
      var members = ports
      return (vxlan.map { members.remove(at: $0) }, members)
    } catch {
      throw APIError(error)
    }
  }

  /// Whether a LAN's VXLAN device is the only port of its bridge. Sysfs tells that of one bridge alone, rtnetlink
  /// goes through all interfaces of the host.
  private func isDeserted(_ lan: LANDefinition) -> Bool {
    StateFile.names(in: "/sys/class/net/\(lan.bridge)/brif") == [lan.vxlan.description]
  }

  // MARK: Changing

  /// Changes a definition, on disk and in the kernel; where the kernel refuses, it stays as it was.
  func change(
    _ lan: LAN, _ change: (inout LANDefinition) throws(APIError) -> Void
  ) throws(APIError) -> LANDefinition {
    try inTurn(lan) { state throws(APIError) in
      let before = state.definition
      var after = before
      try change(&after)
      if after == before { return after }
      do {
        let lock = try store.lock(bridge: before.bridge)
        var procedure = Procedure<ChangeLANStep>(observe: observe)
        try procedure.step(.writeDefinition) { try store.save(after) }
        do {
          state.laid = try procedure.step(.layOut) { try wiring.layOut(after) }
        } catch {
          try store.save(before)
          // What the kernel took of the change before it refused.
          _ = try? wiring.layOut(before)
          throw error
        }
        _ = consume lock
      } catch {
        throw APIError(error)
      }
      state.definition = after
      return after
    }
  }

  /// Lets an interface of the host go from a LAN that no longer names it.
  func release(_ interface: InterfaceName, from lan: LAN) throws(LANError) {
    try lan.state.withLock { state throws(LANError) in
      guard let laid = state.laid else { return }
      let lock = try store.lock(bridge: state.definition.bridge)
      try wiring.release(interface, laid)
      _ = consume lock
    }
  }

  // MARK: Guests

  /// What a guest's vif is to be told of the LAN it will join.
  func joinPoint(_ name: String, field: String) throws(APIError) -> (bridge: InterfaceName, mtu: Int) {
    let lan = try find(name, field: field)
    return try inTurn(lan) { state throws(APIError) in
      (state.definition.bridge, try laid(lan, &state).mtu)
    }
  }

  /// Puts guests' taps into a LAN and makes their addresses known before they say a word: one batch.
  func join(_ name: String, _ ports: [Port]) throws(APIError) {
    let lan = try find(name)
    try inTurn(lan) { state throws(APIError) in
      do throws(APIError) {
        try join(ports, try laid(lan, &state), isFirst: state.vifs == 0, state.definition)
      } catch {
        // Somebody may have deleted the devices under us: once more with new ones.
        layOut(&state)
        guard state.laid != nil else { throw error }
        try join(ports, try laid(lan, &state), isFirst: true, state.definition)
      }
      state.vifs += ports.count
    }
  }

  private func join(
    _ ports: [Port], _ laid: LaidLAN, isFirst: Bool, _ definition: LANDefinition
  ) throws(APIError) {
    var requests: [RouteRequest] = []
    for port in ports {
      let mtu = LANLimits.portMTU(ofMemberWith: port.mtu)
      let change = LinkChange(master: .port(of: laid.bridge), mtu: UInt32(clamping: mtu))
      requests.append(.changeLink(.name(port.tap), change))
      guard let tap = InterfaceIndex(of: port.tap) else {
        throw APIError(.internal, "join LAN '\(definition.name)': no such interface: '\(port.tap)'")
      }
      // Static, so that it neither ages nor goes with the carrier: EVPN announces it as long as the tap is there.
      requests.append(
        .addForwarding(ForwardingEntry(device: tap, mac: port.mac, scope: .master, state: .static), mode: .replace))
    }
    do {
      // The VXLAN device is up while there are members. Only the step from none to one can meet somebody who takes
      // it down, and only that one takes the lock.
      if isFirst, let vxlan = laid.vxlan {
        requests.append(.changeLink(.index(vxlan), LinkChange(isUp: true)))
        let lock = try store.lock(bridge: definition.bridge)
        try network.perform(requests)
        _ = consume lock
      } else {
        try network.perform(requests)
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Takes VXLAN devices down whose last member went without a word, as a container's interface goes with its
  /// namespace. One look at all interfaces finds them.
  func settleAbandoned() {
    let lans = all
    guard !lans.isEmpty, let links = try? network.links() else { return }
    let inhabited = Set(links.filter { $0.kind != .vxlan }.compactMap(\.master))
    let up = Set(links.filter(\.isUp).map(\.index))
    for lan in lans {
      lan.state.withLock { state in
        guard let laid = state.laid, let vxlan = laid.vxlan, up.contains(vxlan), !inhabited.contains(laid.bridge)
        else {
          return
        }
        settle(lan, &state, laid)
      }
    }
  }

  /// Notes that vifs have left, whose taps are gone already.
  func left(_ name: String, vifs: Int) {
    guard let lan = try? find(name) else { return }
    lan.state.withLock { state in
      state.vifs = max(0, state.vifs - vifs)
      guard state.vifs == 0, let laid = state.laid else { return }
      settle(lan, &state, laid)
    }
  }

  private func settle(_ lan: LAN, _ state: inout LAN.State, _ laid: LaidLAN) {
    guard !state.isDeleted else { return }
    do {
      let lock = try store.lock(bridge: state.definition.bridge)
      try wiring.settle(laid)
      _ = consume lock
    } catch {
      report("LAN '\(lan.name)': \(error)")
    }
  }
}
