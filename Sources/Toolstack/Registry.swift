import ChaosAPI
import NetworkAddresses
import ShellPool
import Synchronization
import VirtualLAN
import Xen

/// A MAC address on a LAN, which one member at most may have.
struct LANAddress: Hashable, Sendable {
  let lan: String
  let mac: MACAddress
}

/// The guests by name, UUID and domain ID, and the names reserved for guests being made.
final class Registry: Sendable {
  private struct State {
    var byName: [String: Guest] = [:]
    var byHandle: [DomainHandle: Guest] = [:]
    var byDomain: [DomainID: Guest] = [:]
    var byTap: [InterfaceIndex: (guest: Guest, slot: Int)] = [:]
    var reservedNames: Set<String> = []
    var byAddress: [LANAddress: Guest] = [:]
    var reservedHandles: Set<DomainHandle> = []
    var reservedAddresses: Set<LANAddress> = []

    mutating func note(_ guest: Guest) {
      for vif in guest.record.vifs {
        if let lan = vif.lan { byAddress[LANAddress(lan: lan, mac: vif.mac)] = guest }
      }
      let shell = guest.shell
      byDomain[shell.domain] = guest
      for tap in shell.taps { byTap[tap.index] = (guest, tap.slot) }
    }
  }

  private let state = Mutex(State())

  /// Reserves names before any work for them starts: all of them or, if one is taken, none.
  func reserve(names: [String]) throws(APIError) {
    try state.withLock { state throws(APIError) in
      for name in names where state.byName[name] != nil || state.reservedNames.contains(name) {
        throw APIError(.conflict, "name: taken: '\(name)'", field: "name")
      }
      state.reservedNames.formUnion(names)
    }
  }

  func release(names: [String]) {
    state.withLock { $0.reservedNames.subtract(names) }
  }

  /// Reserves a UUID the client chose; false when a create with it is under way.
  func reserve(_ handle: DomainHandle) -> Bool {
    state.withLock { $0.reservedHandles.insert(handle).inserted }
  }

  func release(_ handle: DomainHandle) {
    state.withLock { _ = $0.reservedHandles.remove(handle) }
  }

  /// Makes addresses on LANs somebody's before anything is made for them: all of them or, if one is taken, none.
  ///
  /// - Parameter guest: who may have them already, because it is made again.
  func reserve(_ addresses: [LANAddress], except guest: DomainHandle?) throws(APIError) {
    try state.withLock { state throws(APIError) in
      for address in addresses {
        let holder = state.byAddress[address].flatMap { $0.handle == guest ? nil : "guest '\($0.name)'" }
        guard let holder = holder ?? (state.reservedAddresses.contains(address) ? "a guest being made" : nil) else {
          continue
        }
        throw APIError(
          .conflict, "vifs: on LAN '\(address.lan)' already, \(holder): '\(address.mac)'", field: "vifs")
      }
      state.reservedAddresses.formUnion(addresses)
    }
  }

  func release(_ addresses: [LANAddress]) { state.withLock { $0.reservedAddresses.subtract(addresses) } }

  /// The guest that has an address on a LAN.
  func holder(of address: LANAddress) -> Guest? { state.withLock { $0.byAddress[address] } }

  /// Notes that a guest has another name. The new one is reserved.
  func rename(_ guest: Guest, from old: String) {
    state.withLock { state in
      if state.byName[old] === guest { state.byName[old] = nil }
      state.byName[guest.name] = guest
    }
  }

  func insert(_ guest: Guest) {
    state.withLock { state in
      state.byName[guest.name] = guest
      state.byHandle[guest.handle] = guest
      state.note(guest)
    }
  }

  func remove(_ guest: Guest) {
    state.withLock { state in
      if state.byName[guest.name] === guest { state.byName[guest.name] = nil }
      if state.byHandle[guest.handle] === guest { state.byHandle[guest.handle] = nil }
      let shell = guest.shell
      if state.byDomain[shell.domain] === guest { state.byDomain[shell.domain] = nil }
      for tap in shell.taps { state.byTap[tap.index] = nil }
      for vif in guest.record.vifs {
        guard let lan = vif.lan else { continue }
        let address = LANAddress(lan: lan, mac: vif.mac)
        if state.byAddress[address] === guest { state.byAddress[address] = nil }
      }
    }
  }

  subscript(handle: DomainHandle) -> Guest? { state.withLock { $0.byHandle[handle] } }

  /// The guest a caller means: by domain ID (all digits), UUID or name.
  func find(_ reference: String) throws(APIError) -> Guest {
    let guest = state.withLock { state -> Guest? in
      if let id = UInt16(reference) { return state.byDomain[DomainID(rawValue: id)] }
      if let guest = state.byName[reference] { return guest }
      return DomainHandle(uuid: reference).flatMap { state.byHandle[$0] }
    }
    guard let guest else { throw APIError(.notFound, "no such guest: '\(reference)'") }
    return guest
  }

  /// The guest, and its vif's slot, that a tap belongs to.
  func owner(ofTap index: InterfaceIndex) -> (guest: Guest, slot: Int)? {
    state.withLock { $0.byTap[index] }
  }

  /// Whether a guest's vif belongs on the bridge of that name, which is no LAN's.
  func isBridgeWanted(_ bridge: InterfaceName) -> Bool {
    guests.contains { guest in guest.record.vifs.contains { $0.lan == nil && $0.bridge == bridge } }
  }

  /// Notes that a guest's domain or taps are others than they were.
  func update(_ guest: Guest) {
    state.withLock { state in
      state.byDomain = state.byDomain.filter { $0.value !== guest }
      state.byTap = state.byTap.filter { $0.value.guest !== guest }
      state.byAddress = state.byAddress.filter { $0.value !== guest }
      state.note(guest)
    }
  }

  /// All guests, by domain ID.
  var guests: [Guest] {
    state.withLock { $0.byName.values.sorted { $0.shell.domain < $1.shell.domain } }
  }
}
