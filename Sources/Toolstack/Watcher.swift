import Backends
import CDevicePage
import ChaosAPI
import DevicePages
import Dispatch
import Glibc
import ShellPool
import Xen

/// Notices what guests do by themselves: that they say they are ready, that they end, and that the back-end
/// which serves them died.
///
/// Nobody tells a toolstack without the XenStore that a domain ended (VIRQ_DOM_EXC belongs to xenstored), so
/// the list of domains is polled, many a call; a guest that acknowledges a power-off makes that happen at once.
final class Watcher: Sendable {
  private let wake = DispatchSemaphore(value: 0)

  private static let interval = DispatchTimeInterval.milliseconds(500)

  func start(_ toolstack: Toolstack) {
    BackgroundThread.start(name: "chaos-watch") { [self] in
      var rounds = 0
      while true {
        _ = wake.wait(timeout: .now() + Self.interval)
        toolstack.reapEnded()
        rounds += 1
        if rounds % 4 == 0 { toolstack.reconcileLANs(isThorough: rounds % 20 == 0) }
        if rounds % 20 == 0 {
          toolstack.removeUnusedImages()
        }
      }
    }
    BackgroundThread.start(name: "chaos-events") { [self] in
      while true {
        followBackend(toolstack)
        usleep(50_000)
      }
    }
  }

  /// Looks for ended guests now instead of at the next interval.
  func lookNow() { wake.signal() }

  /// Serves one back-end's lifetime: hands it every domain it lacks, then takes its events.
  private func followBackend(_ toolstack: Toolstack) {
    do {
      // Makes sure that one runs.
      _ = try toolstack.builder.backend.domains()
      let events = try BackendEvents(path: toolstack.builder.backend.socket)
      try toolstack.handOver()
      while let event = events.next() {
        toolstack.registry[event.key.handle]?.update(status: event.status)
        let ends = UInt32(CHAOS_REQUEST_POWEROFF | CHAOS_REQUEST_REBOOT)
        if event.acknowledged & ends != 0 { lookNow() }
      }
      toolstack.report("chaos-backend ended; a new one is started")
    } catch {
      toolstack.report("chaos-backend: \(error)")
      sleep(1)
    }
  }
}

extension Toolstack {
  /// Hands the back-end every domain it does not serve, and learns what the guests said meanwhile.
  fileprivate func handOver() throws {
    let statuses = try builder.backend.domains()
    var known: Set<DomainHandle> = []
    for status in statuses {
      known.insert(status.key.handle)
      registry[status.key.handle]?.update(status: status.status)
    }
    for (shell, features) in served where !known.contains(shell.handle) {
      do {
        // Made since the list was taken?
        if try builder.backend.domains().contains(where: { $0.key.handle == shell.handle }) { continue }
        try builder.reattach(shell, features: VifFeatures(rawValue: features))
      } catch {
        report("domain \(shell.domain) has no back-end: \(error)")
      }
    }
    for status in try builder.backend.domains() {
      registry[status.key.handle]?.update(status: status.status)
    }
  }

  /// Removes guests that powered off or rebooted by themselves, or whose domain somebody else destroyed.
  /// Crashed ones stay, so that their console can be read.
  fileprivate func reapEnded() {
    guard let domains = try? hypervisor.domainsByHandle() else { return }
    for guest in registry.guests where guest.ended == nil {
      // A domain that another tool destroyed stays in the list, dying, as long as we map its memory.
      guard let info = domains[guest.handle], !info.isDying else {
        remove(guest, reason: .destroyed)
        continue
      }
      guard info.isShutdown else { continue }
      switch info.shutdownReason {
      case .poweroff: remove(guest, reason: .poweroff)
      case .reboot: remove(guest, reason: .reboot)
      default: break
      }
    }
  }

  private func remove(_ guest: Guest, reason: GuestEnd) {
    do {
      // Asked again on the guest's queue: it may be younger than the list.
      try guest.serially {
        let info = try hypervisor.info(of: guest.shell.domain)
        if let info, info.handle == guest.handle, !info.isShutdown, !info.isDying { return }
        try unmake(guest, reason: reason)
      }
    } catch let error as APIError where error.code == .notFound {
      // Destroyed meanwhile by whoever asked for that.
    } catch {
      report("guest '\(guest.name)' ended (\(reason.rawValue)) but cannot be removed: \(error)")
    }
  }

  fileprivate func removeUnusedImages() {
    var used = Set(registry.guests.flatMap { [$0.record.kernel, $0.record.ramdisk].compactMap { $0 } })
    for status in pool.status {
      if let image = status.flavour.image { used.formUnion([image.kernel, image.ramdisk].compactMap { $0 }) }
    }
    images.removeUnused(inUse: used)
  }
}
