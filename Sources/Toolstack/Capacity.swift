import ChaosAPI
import Glibc
import ShellPool
import Synchronization
import Xen

/// What the host has left for guests, reservations in flight counted.
public final class Capacity: Sendable {
  private let hypervisor: Hypervisor
  /// Pages promised to domains that are being made.
  private let reserved = Mutex(0)

  init(hypervisor: Hypervisor) { self.hypervisor = hypervisor }

  /// Pages never given away, so that the hypervisor itself can allocate: 8 MiB.
  private static let slackPages = 2048

  public var reservedPages: Int { reserved.withLock { $0 } }

  /// Whether `pages` more can be given away now.
  func hasRoom(_ pages: Int) -> Bool {
    guard let memory = try? hypervisor.hostMemory() else { return false }
    return memory.freePages - reservedPages - Self.slackPages >= pages
  }

  /// Promises pages to a domain about to be made; false when there are not so many.
  func reserve(_ pages: Int) -> Bool {
    guard let memory = try? hypervisor.hostMemory() else { return false }
    return reserved.withLock { reserved in
      guard memory.freePages - reserved - Self.slackPages >= pages else { return false }
      reserved += pages
      return true
    }
  }

  func release(_ pages: Int) { reserved.withLock { $0 -= pages } }

  /// Why dom0's memory must be fixed, in one line with the remedy.
  static let dom0Advice =
    "dom0 has no fixed memory: boot Xen with dom0_mem=SIZE,max:SIZE (for example dom0_mem=1024M,max:1024M)"

  /// Most ports of a Linux bridge (BR_MAX_PORTS, net/bridge/br_private.h).
  static let bridgePorts = 1023

  /// Descriptors chaos-backend holds for a guest: event channels, log, and for a vif its tap, vhost-net and five
  /// eventfds.
  static func descriptors(vifs: Int) -> Int { 2 + 7 * vifs }

  /// The most descriptors a process here may have.
  static var maxDescriptors: Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
  }
}
