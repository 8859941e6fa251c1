import Backends
import Dispatch
import Synchronization
import VirtualLAN

/// What serves one vif: its tap's queue and a vhost-net instance. Each is closed when nothing refers to it any more.
final class VifQueue: Sendable {
  let tap: OpenTap
  /// The instance's descriptor, open until ``letGo()``.
  let instance: Int32
  private let state: Mutex<State>

  private struct State: ~Copyable {
    var vhost: Descriptor?
    /// The connection to the back-end that owns the instance and does not serve the vif yet.
    var owner: Int?
  }

  init(tap: OpenTap, vhost: consuming Descriptor, owner: Int? = nil) {
    self.tap = tap
    instance = vhost.raw
    state = Mutex(State(vhost: consume vhost, owner: owner))
  }

  /// The connection to the back-end that owns the instance already, so that no other can use it; nil: whoever uses it
  /// first will, or it is in use.
  var owner: Int? { state.withLock { $0.owner } }

  /// Notes that the instance is in use.
  func noteServed() { state.withLock { $0.owner = nil } }

  /// Closes this process's reference to the instance. Where it is the last one the kernel takes its time, and whoever
  /// else lets go of the same one waits for that, too: on return nothing of it touches the rings.
  func letGo() { state.withLock { $0.vhost = nil } }

  var isLetGo: Bool {
    state.withLock { state in
      switch state.vhost {
      case .some: false
      case .none: true
      }
    }
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
/// loses its carrier, of which the kernel then tells everybody. With them its end costs nothing, and many threads let
/// go of the instances at once (``letGoOfAll(_:)``).
///
/// An instance keeps its back-end's memory mapped, dead or not, and that the frames of all guests it served. So none is
/// kept longer than the back-end lives; and while it does, who has it let go of a vif drops the reference first. A chaosd
/// that was started anew has none, and opens the taps again.
final class KeptQueues: Sendable {
  private let queues = Mutex<[InterfaceIndex: VifQueue]>([:])

  /// Keeps the queue of a vif that is served now.
  func keep(_ queue: VifQueue, of tap: InterfaceIndex) {
    queue.noteServed()
    queues.withLock { $0[tap] = queue }
  }

  func queue(of tap: InterfaceIndex) -> VifQueue? { queues.withLock { $0[tap] } }

  /// Lets go of the queues of these taps. Waits for the kernel where no back-end has them.
  func drop(_ taps: some Sequence<InterfaceIndex>) {
    for tap in taps { _ = take(tap) }
  }

  /// A tap's queue, free to be served anew: the instance that served it is gone on return. Nil when none is kept.
  func take(_ tap: InterfaceIndex) -> VifQueue.OpenTap? {
    let queue = queues.withLock { $0.removeValue(forKey: tap) }
    queue?.letGo()
    return queue?.tap
  }

  /// Taps whose instances were let go of, this one among them; none where this one is not.
  func unserved(_ tap: InterfaceIndex, atMost count: Int) -> [(tap: InterfaceIndex, queue: VifQueue)] {
    queues.withLock { queues in
      guard let first = queues[tap], first.isLetGo else { return [] }
      let others = queues.lazy.filter { $0.key != tap && $0.value.isLetGo }.prefix(count - 1)
      return [(tap, first)] + others.map { ($0.key, $0.value) }
    }
  }

  /// Puts a queue with an instance that a back-end owns in the place of one without.
  func replace(_ old: VifQueue, of tap: InterfaceIndex, with new: VifQueue) {
    queues.withLock { if $0[tap] === old { $0[tap] = new } }
  }

  /// A tap's queue, if the back-end of that connection owns its instance and does not serve it yet.
  func takeOwned(_ tap: InterfaceIndex, by owner: Int) -> VifQueue? {
    queues.withLock { queues in
      guard let queue = queues[tap], queue.owner == owner, !queue.isLetGo else { return nil }
      queues[tap] = nil
      return queue
    }
  }

  /// Lets go of all instances, whose back-end is dead, and keeps the taps' queues. On return all are gone.
  ///
  /// - Parameter run: runs what it is given as many times at once as is useful; later does no harm.
  func letGoOfAll(_ run: (@escaping @Sendable () -> Void) -> Void) {
    let left = Remaining(queues.withLock { Array($0.values) })
    run { left.letGo() }
    // Whoever was to help may have other things to do.
    left.letGo()
    left.awaitHelpers()
  }

  private final class Remaining: Sendable {
    private let queues: Mutex<[VifQueue]>
    private let underWay = DispatchGroup()

    init(_ queues: [VifQueue]) { self.queues = Mutex(queues) }

    func letGo() {
      while let queue = next() {
        queue.letGo()
        underWay.leave()
      }
    }

    private func next() -> VifQueue? {
      queues.withLock { queues in
        if !queues.isEmpty { underWay.enter() }
        return queues.popLast()
      }
    }

    func awaitHelpers() { underWay.wait() }
  }
}
