import CDevicePage
import DevicePages
import Glibc
import Xen

/// The back-ends of one domain: its vifs, console and powerctl, and the event channels that ring for them.
///
/// Used by the back-end's one thread only.
final class DomainBackend {
  private(set) var key: ControlProtocol.DomainKey
  let log: ConsoleLog
  private let pages: ControlPages
  private let channels: EventChannelSet
  private let consolePort, powerctlPort: EventChannel.Port
  /// By ABI slot.
  private var vifs: [Int: VifBackend] = [:]
  /// The guest's half of powerctl as last seen.
  private var guestState: Powerctl.GuestState
  /// Rings that bring work which the guest makes cheaply: the console's, powerctl's, and those of a vif that say nothing.
  private var allowance = Allowance(burst: ringBurst, perSecond: ringsPerSecond)
  /// Ports that rang and may ring again: at the end of the turn, and when the allowance has more.
  private var served: [UInt32] = []
  private var held: [UInt32] = []

  /// How often the ports that ``allowance`` bounds are looked at: so often at once, and so often a second after that.
  static let ringBurst = 256
  static let ringsPerSecond = 1000
  /// How long a port whose allowance is used up stays silent. What it rings for meanwhile is seen then.
  static let holdTime = Duration.milliseconds(10)

  /// A tap queue and a vhost-net instance, both open, owned by the array that holds them.
  final class QueuePair {
    private var descriptors: (tap: Int32, vhost: Int32)?

    init(tap: Int32, vhost: Int32) { descriptors = (tap, vhost) }

    deinit {
      if let descriptors {
        close(descriptors.tap)
        close(descriptors.vhost)
      }
    }

    /// Hands the descriptors over, once.
    fileprivate func take() throws(BackendError) -> (tap: Int32, vhost: Int32) {
      guard let descriptors else { throw BackendError("use a tap queue twice", errno: EBADF) }
      self.descriptors = nil
      return descriptors
    }
  }

  /// Takes over a domain. The descriptors are owned from now on, on failure too.
  ///
  /// - Parameters:
  ///   - privcmd: restricted to the domain; closed once everything is mapped.
  ///   - queues: a tap queue and a vhost-net instance for each of `vifs`.
  ///   - toleratesBroken: goes on without a vif that cannot be served, and hands the reason to this.
  init(
    key: ControlProtocol.DomainKey, vifs: [ControlProtocol.Vif], privcmd: consuming Descriptor,
    eventChannels: consuming Descriptor, log: ConsoleLog, queues: [QueuePair],
    toleratesBroken: ((any Error) -> Void)?
  ) throws {
    self.key = key
    self.log = log
    let controlFrames = [Slots.consoleFrame, Slots.powerctlFrame].map { GuestFrame(rawValue: $0) }
    pages = ControlPages(
      try RestrictedMapping(privcmd: privcmd.raw, domain: key.domain, frames: controlFrames))
    channels = try EventChannelSet(adopting: eventChannels.release(), domain: key.domain)
    _ = fcntl(channels.descriptor, F_SETFL, fcntl(channels.descriptor, F_GETFL) | O_NONBLOCK)
    consolePort = try channels.bind(EventChannel.Port(rawValue: Slots.consolePort))
    powerctlPort = try channels.bind(EventChannel.Port(rawValue: Slots.powerctlPort))
    guestState = Powerctl.read(pages, base: Self.powerctlBase)
    for (vif, pair) in zip(vifs, queues) {
      do {
        try add(vif, privcmd: privcmd, queue: pair)
      } catch {
        guard let toleratesBroken else { throw error }
        toleratesBroken(error)
      }
    }
    // What a predecessor wrote for the guest and did not ring for, or chaosd while there was none.
    channels.notify(consolePort)
    channels.notify(powerctlPort)
  }

  private static let powerctlBase = GuestFrame.size

  /// Notes the handle that the domain has from now on.
  func rename(to handle: DomainHandle) { key = ControlProtocol.DomainKey(domain: key.domain, handle: handle) }

  // MARK: Vifs

  /// Takes one more vif over; one that was in its slot must have been removed. When it cannot be served it is there all
  /// the same, broken, and the reason is thrown. The descriptors are owned from now on.
  func add(_ vif: ControlProtocol.Vif, privcmd: borrowing Descriptor, queue: QueuePair) throws {
    let slot = Int(vif.slot)
    guard vifs[slot] == nil else { throw BackendError("vif \(slot) of domain \(key.domain)", errno: EEXIST) }
    let descriptors = try queue.take()
    let added = VifBackend(vif, tap: TapQueue(adopting: Descriptor(adopting: descriptors.tap)))
    vifs[slot] = added
    try start(added, privcmd: privcmd, vhost: Descriptor(adopting: descriptors.vhost), isAnew: false)
  }

  /// Begins a vif anew, from index 0 on.
  func reset(slot: Int, privcmd: borrowing Descriptor, vhost: consuming Descriptor) throws {
    let vif = try vif(slot)
    vif.stop(reason: .notStarted)
    try start(vif, privcmd: privcmd, vhost: vhost, isAnew: true)
    Powerctl.requestReset(ofVif: slot, pages, base: Self.powerctlBase)
    channels.notify(powerctlPort)
  }

  private func start(
    _ vif: VifBackend, privcmd: borrowing Descriptor, vhost: consuming Descriptor, isAnew: Bool
  ) throws {
    if vif.port == nil { vif.port = try channels.bind(EventChannel.Port(rawValue: Slots.port(vif: vif.slot))) }
    try vif.start(domain: key.domain, privcmd: privcmd, vhost: vhost, isAnew: isAnew)
    guard let port = vif.port else { return }
    // After a predecessor died events may have been lost both ways: look at everything once. Spurious events are legal,
    // and a guest that has not started gets none that matter. The port of a vif that broke is masked.
    vif.kickBoth()
    if isAnew { channels.unmask([port.rawValue]) }
    channels.notify(port)
  }

  /// Stops serving a vif, which the caller lets go of; nil when there is none in the slot. The guest's end of its
  /// event channel stays, for the next vif in the slot.
  func remove(slot: Int) -> AnyObject? {
    guard let vif = vifs.removeValue(forKey: slot) else { return nil }
    if let port = vif.port { channels.unbind(port) }
    return vif
  }

  func setFeatures(slot: Int, _ features: UInt64) throws(BackendError) { try vif(slot).setFeatures(features) }

  private func vif(_ slot: Int) throws(BackendError) -> VifBackend {
    guard let vif = vifs[slot] else {
      throw BackendError("vif \(slot) of domain \(key.domain)", errno: ENODEV)
    }
    return vif
  }

  /// Notes that the kernel stopped at a vif's rings.
  func noteRingError(slot: Int) { vifs[slot]?.noteRingError() }

  // MARK: Descriptors to wait for

  var eventDescriptor: Int32 { channels.descriptor }

  /// Slots of vifs.
  var slots: [Int] { Array(vifs.keys) }

  /// The eventfds by which the kernel asks to tell the guest.
  func callDescriptors(ofSlot slot: Int) -> [Int32] { vifs[slot]?.callDescriptors ?? [] }

  /// The eventfd by which the kernel says that it stopped.
  func errorDescriptor(ofSlot slot: Int) -> Int32? { vifs[slot]?.errorDescriptor }

  // MARK: Doorbells

  /// What the guest's doorbells brought.
  struct Rung {
    var consoleOutput: [UInt8] = []
    var stateChanged = false
    /// Whether ports wait for ``releaseHeld()``.
    var holdsPorts = false
  }

  /// Takes the pending events of the domain. Its ports ring again after ``rearm()``.
  func takeEvents(at now: ContinuousClock.Instant) -> Rung {
    var rung = Rung()
    let wasHolding = !held.isEmpty
    for port in channels.takePending() {
      switch serve(port, &rung, now) {
      case .free: served.append(port)
      case .bounded: if allowance.take(at: now) { served.append(port) } else { held.append(port) }
      case .broken: break
      }
    }
    rung.holdsPorts = !wasHolding && !held.isEmpty
    return rung
  }

  private enum Cost {
    /// Work for the kernel's thread of that guest.
    case free
    case bounded
    /// Nobody listens until the vif is reset.
    case broken
  }

  private func serve(_ port: UInt32, _ rung: inout Rung, _ now: ContinuousClock.Instant) -> Cost {
    if port == consolePort.rawValue {
      rung.consoleOutput += takeConsoleOutput(now)
    } else if port == powerctlPort.rawValue {
      if refreshGuestState() { rung.stateChanged = true }
    } else if let vif = vifs.values.first(where: { $0.port?.rawValue == port }) {
      guard vif.broken == nil else { return .broken }
      return vif.kick() ? .free : .bounded
    }
    return .bounded
  }

  /// Lets the ports that were served ring again.
  func rearm() {
    channels.unmask(served)
    served.removeAll(keepingCapacity: true)
  }

  /// Lets the ports ring again that rang too often.
  func releaseHeld() {
    channels.unmask(held)
    held.removeAll(keepingCapacity: true)
  }

  /// Tells the guest of used buffers of a vif.
  func notify(slot: Int) {
    if let port = vifs[slot]?.port { channels.notify(port) }
  }

  // MARK: Console and powerctl

  /// Takes what is in the console's ring, whether the guest rang for it or not.
  func takeConsoleOutput(_ now: ContinuousClock.Instant) -> [UInt8] {
    let bytes = ConsoleRing.takeOutput(pages)
    if !bytes.isEmpty {
      log.append(bytes, at: now)
      channels.notify(consolePort)
    }
    return bytes
  }

  /// Passes typed bytes to the guest; what does not fit its ring is dropped, as on a serial line.
  func type(_ bytes: [UInt8]) {
    if ConsoleRing.putInput(bytes[...], pages) > 0 { channels.notify(consolePort) }
  }

  func request(_ bits: UInt32) {
    Powerctl.request(bits, pages, base: Self.powerctlBase)
    channels.notify(powerctlPort)
  }

  /// Whether the guest's half of powerctl changed.
  private func refreshGuestState() -> Bool {
    if Powerctl.withdrawResetsDone(pages, base: Self.powerctlBase) { channels.notify(powerctlPort) }
    let state = Powerctl.read(pages, base: Self.powerctlBase)
    defer { guestState = state }
    return state != guestState
  }

  var status: ControlProtocol.Status {
    let broken = vifs.compactMap { slot, vif in
      vif.broken.map { ControlProtocol.BrokenVif(slot: UInt8(slot), reason: $0) }
    }
    return ControlProtocol.Status(
      key: key, status: guestState.status, acknowledged: guestState.acknowledged, vifs: Set(vifs.keys),
      brokenVifs: broken.sorted { $0.slot < $1.slot })
  }
}
