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
      /// Set once it is deleted, for those who still wait for their turn.
      var isDeleted = false
    }

    // What no change of its definition changes.
    let name: String
    let vni: VNI
    let bridge: InterfaceName
    let state: Mutex<State>
    /// What the reconciler said and tried.
    let care = Mutex(Care())

    init(_ definition: LANDefinition) {
      name = definition.name
      vni = definition.vni
      bridge = definition.bridge
      state = Mutex(State(definition: definition))
    }
  }

  let store: LANStore
  let network: HostNetwork
  let wiring: LANWiring
  let observe: StepObserver?
  let report: @Sendable (String) -> Void
  /// LANs whose files cannot be read, and why: they are there, though nobody knows how.
  private let damaged = Mutex<[String: LANError]>([:])
  private let table = Mutex<[String: LAN]>([:])
  /// Why containers that are gone are not forgotten, as far as it was said.
  let unforgotten = Mutex<Set<String>>([])
  /// Whose devices are called so.
  private let byDevice = Mutex<[InterfaceName: LAN]>([:])

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

  /// The LAN that a device is of.
  func find(device: InterfaceName) -> LAN? { byDevice.withLock { $0[device] } }

  private func learnDevices(of lan: LAN) {
    let vxlan = lan.state.withLock { $0.definition.vxlan }
    byDevice.withLock { devices in
      devices[lan.bridge] = lan
      devices[vxlan] = lan
    }
  }

  private func forget(_ lan: LAN) {
    table.withLock { if $0[lan.name] === lan { $0[lan.name] = nil } }
    byDevice.withLock { devices in devices = devices.filter { $0.value !== lan } }
  }

  var all: [LAN] { table.withLock { $0.values.sorted { $0.name < $1.name } } }

  func find(_ name: String, field: String? = nil) throws(APIError) -> LAN {
    guard let lan = table.withLock({ $0[name] }) else {
      throw APIError(.notFound, "\(field.map { "\($0): " } ?? "")no such LAN: '\(name)'", field: field)
    }
    return lan
  }

  /// Reads or changes what chaosd knows of a LAN; holds up others for no longer than the kernel takes.
  func inTurn<Result: Sendable>(
    _ lan: LAN, _ body: (inout LAN.State) throws(APIError) -> Result
  ) throws(APIError) -> Result {
    try lan.state.withLock { state throws(APIError) in
      if state.isDeleted { throw APIError(.notFound, "no such LAN: '\(lan.name)'") }
      return try body(&state)
    }
  }

  /// How long an operation waits for whoever else changes the LAN: chaos-cni, for milliseconds, unless it was stopped.
  private static let patience = Duration.seconds(2)

  /// Runs an operation that changes a LAN's devices. Its lock is taken first, so that whoever only reads is not held
  /// up by who has it.
  func exclusively<Result: Sendable>(
    _ lan: LAN, _ body: (inout LAN.State) throws(APIError) -> Result
  ) throws(APIError) -> Result {
    let lock: FileLock
    do throws(LANError) {
      lock = try store.lock(bridge: lan.bridge, within: Self.patience)
    } catch {
      throw APIError(.wrongState, "LAN '\(lan.name)' is being changed: \(error)")
    }
    let result = try inTurn(lan, body)
    _ = consume lock
    return result
  }

  /// The same, if nobody else is changing it; nil if somebody is.
  func unlessHeld<Result: Sendable>(
    _ lan: LAN, _ body: (inout LAN.State) throws(APIError) -> Result
  ) throws(APIError) -> Result? {
    let lock: FileLock?
    do throws(LANError) { lock = try store.lockUnlessHeld(bridge: lan.bridge) } catch { throw APIError(error) }
    guard let lock else { return nil }
    let result = try inTurn(lan, body)
    _ = consume lock
    return result
  }

  // MARK: Start

  /// Lays out every LAN that is written down, and removes the devices of those that no longer are. What cannot be
  /// laid out now is the reconciler's business.
  func start() {
    let found = store.loadAll()
    for error in found.damaged { report("LAN ignored: \(error)") }
    damaged.withLock { $0 = found.unusable }
    if found.isComplete {
      do {
        try wiring.sweep(keeping: found.lans)
      } catch {
        report("devices of LANs that are no more stay for now: \(error)")
      }
    }
    for definition in found.lans {
      let lan = LAN(definition)
      table.withLock { $0[definition.name] = lan }
      learnDevices(of: lan)
      do throws(APIError) {
        _ = try unlessHeld(lan) { layOut(&$0) }
      } catch {
        report("LAN '\(lan.name)': \(error.message)")
      }
    }
  }

  /// Brings the kernel into the state the definition asks for, or notes why that cannot be. Needs the LAN's lock.
  func layOut(_ state: inout LAN.State) {
    do throws(LANError) {
      state.laid = try wiring.layOut(state.definition)
      state.failure = nil
    } catch {
      state.laid = nil
      state.failure = error
    }
  }

  /// The LAN's devices, if they are the ones that were laid out.
  private func present(_ lan: LAN, _ state: LAN.State) -> LaidLAN? {
    guard let laid = state.laid, InterfaceIndex(of: lan.bridge) == laid.bridge else { return nil }
    return laid
  }

  /// Does something with a LAN's devices, which are laid out first where they are missing.
  ///
  /// - Parameter body: nil when they are gone after all.
  private func withDevices<Result: Sendable>(
    of lan: LAN, _ body: (LaidLAN, LANDefinition) throws(APIError) -> Result?
  ) throws(APIError) -> Result {
    let done = try inTurn(lan) { state throws(APIError) -> Result? in
      guard let laid = present(lan, state) else { return nil }
      return try body(laid, state.definition)
    }
    if let done { return done }
    // Somebody deleted them under us, or they could not be made before.
    return try exclusively(lan) { state throws(APIError) -> Result in
      layOut(&state)
      guard let laid = state.laid, let result = try body(laid, state.definition) else {
        throw APIError(
          .wrongState, "LAN '\(lan.name)' is not laid out: \(state.failure?.description ?? "its devices are gone")")
      }
      return result
    }
  }

  // MARK: Create and delete

  func create(_ definition: LANDefinition, isDerived: Bool) throws(APIError) -> LaidLAN {
    let lan = LAN(definition)
    let others = all.map { $0.state.withLock { $0.definition } }
    try reserve(lan, isDerived: isDerived)
    learnDevices(of: lan)
    do throws(APIError) {
      return try exclusively(lan) { state throws(APIError) in try create(&state, beside: others) }
    } catch {
      lan.state.withLock { $0.isDeleted = true }
      forget(lan)
      throw error
    }
  }

  /// Makes name, VNI and device names the LAN's before anything is made.
  private func reserve(_ lan: LAN, isDerived: Bool) throws(APIError) {
    if let error = damaged.withLock({ $0[lan.name] }) {
      throw APIError(.conflict, "name: taken by a file that cannot be used: \(error)", field: "name")
    }
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

  private func create(
    _ state: inout LAN.State, beside others: [LANDefinition]
  ) throws(APIError) -> LaidLAN {
    do {
      let ground = try wiring.check(state.definition)
      if let underlay = ground.underlay {
        try wiring.checkPort(of: state.definition, on: underlay, beside: others)
        state.definition.choose(underlay)
      }
      let definition = state.definition
      var procedure = Procedure<CreateLANStep>(observe: observe)
      do {
        // First on disk: after a kill the LAN is laid out at the next start, or was never there.
        try procedure.step(.writeDefinition) {
          try store.save(definition)
        } undo: {
          try? self.store.remove(definition.name)
        }
        let laid = try procedure.step(.layOut) { try wiring.layOut(definition, on: ground) }
        state.laid = laid
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
    let members = try exclusively(lan) { state throws(APIError) -> [Link] in
      do {
        let members = force ? [] : try ports(state).members
        guard members.isEmpty else { return members }
        var procedure = Procedure<DeleteLANStep>(observe: observe)
        // The devices go in one step and before the definition: after a kill the LAN is there whole or gone.
        try procedure.step(.deleteDevices) { try wiring.remove(state.definition) }
        try procedure.step(.removeDefinition) { try store.remove(lan.name) }
      } catch {
        throw APIError(error)
      }
      state.isDeleted = true
      return []
    }
    if members.isEmpty { forget(lan) }
    return members
  }

  /// The ports of a LAN's bridge with their counters, and its VXLAN device, which is one of them. A LAN that waits
  /// for its underlay may have both all the same.
  func ports(_ state: LAN.State) throws(APIError) -> (vxlan: Link?, members: [Link]) {
    do {
      let ports = try network.query { socket throws(NetlinkError) -> [Link] in
        guard let bridge = try socket.link(named: state.definition.bridge)?.index else { return [] }
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
  func isDeserted(_ lan: LANDefinition) -> Bool {
    StateFile.names(in: "/sys/class/net/\(lan.bridge)/brif") == [lan.vxlan.description]
  }

  // MARK: Changing

  /// Changes a definition, on disk and in the kernel; where the kernel refuses, it stays as it was.
  func change(
    _ lan: LAN, _ change: (inout LANDefinition) throws(APIError) -> Void
  ) throws(APIError) -> LANDefinition {
    try exclusively(lan) { state throws(APIError) in
      let before = state.definition
      var after = before
      try change(&after)
      if after == before { return after }
      do {
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
      } catch {
        throw APIError(error)
      }
      state.definition = after
      return after
    }
  }

  /// Takes an interface of the host out of a LAN. First in the kernel: after a kill it is put back, or is out of it.
  ///
  /// - Parameter find: the interface, in the LAN's definition.
  func detach(
    _ lan: LAN, _ find: (LANDefinition) throws(APIError) -> AttachedInterface
  ) throws(APIError) {
    try exclusively(lan) { state throws(APIError) in
      let before = state.definition
      let interface = try find(before)
      var after = before
      after.attached.removeAll { $0 == interface }
      do {
        var procedure = Procedure<DetachStep>(observe: observe)
        try procedure.step(.release) {
          try wiring.release(interface, from: after)
        } undo: {
          // It stays attached, so the reconciler would do this, too.
          _ = try? self.wiring.layOut(before)
        }
        do {
          try procedure.step(.writeDefinition) { try store.save(after) }
        } catch {
          procedure.rollBack()
          throw error
        }
      } catch {
        throw APIError(error)
      }
      state.definition = after
      if let laid = state.laid { state.laid = laid.without(interface.name) }
    }
  }

  // MARK: Guests

  /// What a guest's vif is to be told of the LAN it will join.
  func joinPoint(_ name: String, field: String) throws(APIError) -> (bridge: InterfaceName, mtu: Int) {
    let lan = try find(name, field: field)
    return try withDevices(of: lan) { laid, _ in (lan.bridge, laid.mtu) }
  }

  /// Puts guests' taps into a LAN and makes their addresses known before they say a word: one batch.
  func join(_ name: String, _ ports: [LANPort]) throws(APIError) {
    let lan = try find(name)
    try withDevices(of: lan) { laid, definition throws(APIError) -> Void? in
      try join(ports, laid, definition)
    }
  }

  /// Needs no lock: see `LANWiring.settle`. Nil when the devices are gone.
  func join(_ ports: [LANPort], _ laid: LaidLAN, _ definition: LANDefinition) throws(APIError) -> Void? {
    do throws(LANError) {
      try wiring.join(ports, laid, definition)
      return ()
    } catch {
      if InterfaceIndex(of: definition.bridge) != laid.bridge { return nil }
      throw APIError(error)
    }
  }

  /// Takes the VXLAN device down where the last member left, whose tap is gone already. If somebody is changing the
  /// LAN, the reconciler does it.
  func left(_ name: String) {
    guard let lan = try? find(name) else { return }
    do throws(APIError) {
      let definition = try inTurn(lan) { $0.definition }
      guard isDeserted(definition) else { return }
      _ = try unlessHeld(lan) { state throws(APIError) in
        guard let laid = present(lan, state) else { return }
        do { try wiring.settle(laid) } catch { throw APIError(error) }
      }
    } catch {
      if error.code != .notFound { report("LAN '\(name)': \(error.message)") }
    }
  }
}
