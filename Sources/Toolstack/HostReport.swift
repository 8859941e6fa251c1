import ChaosAPI
import DevicePages
import Glibc
import ShellPool
import Threads
import Xen

extension Toolstack {
  /// The host's capacity and what bounds it.
  public func host(_ blocking: borrowing Blocking) throws(APIError) -> HostInfo {
    do {
      let memory = try hypervisor.hostMemory()
      let dom0 = try hypervisor.dom0Memory()
      let guests = registry.guests
      let shells = pool.shells
      var hostname = [CChar](repeating: 0, count: 256)
      gethostname(&hostname, hostname.count - 1)
      return HostInfo(
        hostname: hostname.withUnsafeBufferPointer { String(cString: $0.baseAddress!) },
        xenVersion: try hypervisor.version(), xenInterface: "\(hypervisor.interface)",
        capabilities: try hypervisor.capabilities(),
        totalMiB: memory.totalPages / 256, freeMiB: memory.freePages / 256,
        reservedMiB: capacity.reservedPages / 256, dom0MemoryMiB: dom0.pages / 256,
        dom0MemoryFixed: dom0.isFixed, cpus: memory.cpus, guests: guests.count, shells: shells.count,
        limits: limits(domains: try hypervisor.domains().count - 1, guests: guests, shells: shells),
        warnings: dom0.isFixed ? [] : [Capacity.dom0Advice])
    } catch {
      throw APIError(error)
    }
  }

  /// - Parameter domains: how many the host has beside dom0, other toolstacks' included.
  private func limits(domains: Int, guests: [Guest], shells: [DomainShell]) -> [HostLimit] {
    let vifs = guests.map(\.shell.flavour.vifs) + shells.map(\.flavour.vifs)
    let descriptors = vifs.reduce(0) { $0 + Capacity.descriptors(vifs: $1) }
    let channels = vifs.reduce(0) { $0 + 2 + $1 }
    var bridges: [String: Int] = [:]
    for vif in guests.flatMap(\.record.vifs) { bridges[vif.bridge.description, default: 0] += 1 }
    let fullest = bridges.values.max() ?? 0
    return [
      HostLimit(name: "domains", used: domains, max: 32_751),
      HostLimit(name: "descriptors", used: descriptors, max: Capacity.maxDescriptors),
      HostLimit(name: "event channels", used: channels, max: 131_071),
      HostLimit(name: "ports of the fullest bridge", used: fullest, max: Capacity.bridgePorts),
    ]
  }

  /// What was asked of the hypervisor and the kernel so far.
  public var counters: Counters {
    let kinds = hypervisor.counter.snapshot.map { ("\($0.key)", $0.value) }
    return Counters(
      hypercalls: Dictionary(uniqueKeysWithValues: kinds), netlinkMessages: network.messagesSent)
  }

  public func version(_ version: String) throws(APIError) -> VersionInfo {
    do {
      return VersionInfo(
        version: version, abiVersion: DevicePage.version, xen: try hypervisor.version(),
        xenInterface: "\(hypervisor.interface)")
    } catch {
      throw APIError(error)
    }
  }
}
