import Backends
import Synchronization
import VirtualLAN

/// What serves one vif: its tap's queue and a vhost-net instance. Each is closed when nothing refers to it any more.
final class VifQueue: Sendable {
  let tap: OpenTap
  let vhost: Descriptor

  init(tap: OpenTap, vhost: consuming Descriptor) {
    self.tap = tap
    self.vhost = vhost
  }

  /// An open queue of a tap.
  final class OpenTap: Sendable {
    let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
  }
}

/// This process's references to the queues that chaos-backend serves, by tap.
///
/// They are there for the back-end's death. Without them its end closes every vhost-net instance, one after another,
/// each after a grace period of the kernel's (some 15 ms: `vhost_net_release` waits in `synchronize_rcu`), and each tap
/// loses its carrier, of which the kernel then tells everybody. With them its end costs nothing, and instances are let
/// go of by as many threads as there are guests mended at a time.
///
/// While a back-end lives they must not keep anything alive: who has it let go of a vif drops the reference first. A
/// chaosd that was started anew has none, and opens the taps again.
final class KeptQueues: Sendable {
  private let queues = Mutex<[InterfaceIndex: VifQueue]>([:])

  func keep(_ queue: VifQueue, of tap: InterfaceIndex) {
    let old = queues.withLock { $0.updateValue(queue, forKey: tap) }
    // Closed outside the lock.
    _ = consume old
  }

  func queue(of tap: InterfaceIndex) -> VifQueue? { queues.withLock { $0[tap] } }

  /// Lets go of the queues of these taps. Waits for the kernel where no back-end has them.
  func drop(_ taps: some Sequence<InterfaceIndex>) {
    for tap in taps {
      let old = queues.withLock { $0.removeValue(forKey: tap) }
      _ = consume old
    }
  }

  /// A tap's queue, free to be served anew: the instance that served it is gone on return. Nil when none is kept.
  func take(_ tap: InterfaceIndex) -> VifQueue.OpenTap? {
    let old = queues.withLock { $0.removeValue(forKey: tap) }
    return old?.tap
  }
}
