import ChaosAPI
import Glibc
import ShellPool
import Threads
import VirtualLAN
import Xen

extension Toolstack {
  /// What guests have used so far: one look at the domains and one at the interfaces, however many there are.
  public func statistics(_ blocking: borrowing Blocking) throws(APIError) -> Statistics {
    let domains: [DomainIdentity: DomainInfo]
    let links: [InterfaceIndex: LinkStatistics]
    do {
      domains = try hypervisor.domainsByIdentity()
      let found = try network.query { socket throws(NetlinkError) in try socket.linksWithStatistics() }
      links = Dictionary(
        found.compactMap { link in link.statistics.map { (link.index, $0) } },
        uniquingKeysWith: { first, _ in first })
    } catch {
      throw APIError(error)
    }
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let guests = registry.guests.compactMap { guest -> GuestStatistics? in
      let shell = guest.shell
      guard let info = domains[shell.identity] else { return nil }
      return GuestStatistics(
        name: guest.name, uuid: guest.handle.uuid, domid: Int(shell.domain.rawValue),
        cpuNanoseconds: Int(clamping: info.cpuNanoseconds), memoryMiB: shell.flavour.memoryMiB,
        vifs: guest.record.vifs.map { VifStatistics($0.slot, shell.tap(slot: $0.slot).flatMap { links[$0.index] }) }
      )
    }
    return Statistics(nanoseconds: now.tv_sec * 1_000_000_000 + now.tv_nsec, guests: guests)
  }

  /// The guests there are, and those that have ended as far as they are remembered.
  public func listAll(_ blocking: borrowing Blocking) throws(APIError) -> GuestList {
    let guests = try list(blocking)
    let present = Set(guests.map(\.uuid))
    let ended = journal.ends().filter { !present.contains($0.uuid) }.map { event in
      EndedGuest(
        name: event.guest, uuid: event.uuid, reason: event.reason ?? .destroyed, ended: event.time,
        message: event.message)
    }
    return GuestList(guests: guests, ended: ended)
  }

  /// Whether all is as it should be.
  public func health() -> Health {
    var checks = [check("xen") { _ = try hypervisor.hostMemory() }]
    checks.append(check("chaos-backend") { _ = try attachment.served() })
    checks.append(
      check("dom0-memory") {
        if try !hypervisor.dom0Memory().isFixed { throw APIError(.noCapacity, Capacity.dom0Advice) }
      })
    let unmended = reconciler.unmended
    checks.append(
      HealthCheck(
        name: "reconciler", status: unmended.isEmpty ? .ok : .degraded, message: unmended.first?.description))
    return Health(checks: checks)
  }

  private func check(_ name: String, _ body: () throws -> Void) -> HealthCheck {
    do {
      try body()
      return HealthCheck(name: name, status: .ok)
    } catch {
      return HealthCheck(name: name, status: .degraded, message: APIError(error).message)
    }
  }
}

extension VifStatistics {
  /// What a guest sent, its tap received.
  fileprivate init(_ slot: Int, _ counters: LinkStatistics?) {
    self.init(
      index: slot, rxPackets: Int(clamping: counters?.rxPackets ?? 0),
      rxBytes: Int(clamping: counters?.rxBytes ?? 0),
      rxDropped: Int(clamping: counters?.rxDropped ?? 0), txPackets: Int(clamping: counters?.txPackets ?? 0),
      txBytes: Int(clamping: counters?.txBytes ?? 0), txDropped: Int(clamping: counters?.txDropped ?? 0))
  }
}
