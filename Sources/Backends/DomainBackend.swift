import CDevicePage
import DevicePages
import Glibc
import Xen

/// The back-ends of one domain: its vifs, console and powerctl, and the event channels that ring for them.
///
/// Used by the back-end's one thread only.
final class DomainBackend {
  private(set) var key: ControlProtocol.DomainKey
  private let pages: ControlPages
  private let channels: EventChannelSet
  private let consolePort, powerctlPort: EventChannel.Port
  /// By ABI slot.
  private var vifs: [Int: VifBackend] = [:]
  private var log: ConsoleLog
  /// The guest's half of powerctl as last seen.
  private(set) var guestState: Powerctl.GuestState

  /// One vif: its window, its vhost-net instance and our end of its event channel.
  private final class VifBackend {
    // Before the window, so that it is stopped before what it works on is unmapped: members go in this order.
    let vhost: VhostNet
    let window: RestrictedMapping
    let port: EventChannel.Port
    let rings: VifRings
    /// Available indices at the last kick; guest-controlled, used only to tell which queue moved.
    var kicked: (receive: UInt16, transmit: UInt16)

    init(
      window: consuming RestrictedMapping, vhost: consuming VhostNet, port: EventChannel.Port,
      rings: VifRings
    ) {
      self.window = window
      self.vhost = vhost
      self.port = port
      self.rings = rings
      kicked = (0, 0)
    }
  }

  /// Takes over a domain. The descriptors are owned from now on, on failure too.
  ///
  /// - Parameters:
  ///   - privcmd: restricted to the domain; closed once everything is mapped.
  ///   - queues: a tap queue and a vhost-net instance for each of `vifs`.
  init(
    key: ControlProtocol.DomainKey, vifs: [ControlProtocol.Vif], privcmd: consuming Descriptor,
    eventChannels: consuming Descriptor, log: consuming Descriptor, queues: consuming [QueuePair]
  ) throws {
    self.key = key
    self.log = ConsoleLog(adopting: log)
    let controlFrames = [Slots.consoleFrame, Slots.powerctlFrame].map { GuestFrame(rawValue: $0) }
    pages = ControlPages(
      try RestrictedMapping(privcmd: privcmd.raw, domain: key.domain, frames: controlFrames))
    let descriptor = eventChannels.release()
    channels = try EventChannelSet(adopting: descriptor, domain: key.domain)
    _ = fcntl(channels.descriptor, F_SETFL, fcntl(channels.descriptor, F_GETFL) | O_NONBLOCK)
    consolePort = try channels.bind(EventChannel.Port(rawValue: Slots.consolePort))
    powerctlPort = try channels.bind(EventChannel.Port(rawValue: Slots.powerctlPort))
    guestState = Powerctl.read(pages, base: Self.powerctlBase)
    for (vif, pair) in zip(vifs, queues) {
      self.vifs[Int(vif.slot)] = try start(vif, pair, privcmd: privcmd.raw)
    }
    for vif in self.vifs.values { lookOnce(vif) }
    channels.notify(consolePort)
  }

  private static let powerctlBase = GuestFrame.size

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
    func take() -> (tap: Int32, vhost: Int32)? {
      defer { descriptors = nil }
      return descriptors
    }
  }

  private func start(_ vif: ControlProtocol.Vif, _ pair: QueuePair, privcmd: Int32) throws -> VifBackend {
    let slot = Int(vif.slot)
    let first = GuestFrame(rawValue: Slots.windowFrame(vif: slot))
    let window = try RestrictedMapping(
      privcmd: privcmd, domain: key.domain, frames: (0..<Int(vif.windowFrames)).map { first.advanced(by: $0) })
    let rings = VifRings(windowFrames: Int(vif.windowFrames))
    guard let queue = pair.take() else { throw BackendError("vif \(slot): no queue", errno: EBADF) }
    let vhost = try VhostNet.start(
      vhost: Descriptor(adopting: queue.vhost), tap: Descriptor(adopting: queue.tap), window: window,
      guestAddress: first.address, rings: rings)
    try vhost.setOffloads(VifFeatures(rawValue: vif.features))
    let port = try channels.bind(EventChannel.Port(rawValue: Slots.port(vif: slot)))
    return VifBackend(window: window, vhost: vhost, port: port, rings: rings)
  }

  /// After a predecessor died events may have been lost both ways: look at everything once. Spurious events
  /// are legal, and a guest that has not started gets none that matter.
  private func lookOnce(_ vif: VifBackend) {
    vif.vhost.kick(.receive)
    vif.vhost.kick(.transmit)
    channels.notify(vif.port)
  }

  /// Takes one more vif over; one that was in its slot must have been removed. The descriptors are owned from now
  /// on, on failure too.
  func add(_ vif: ControlProtocol.Vif, privcmd: consuming Descriptor, queue: QueuePair) throws {
    let slot = Int(vif.slot)
    guard vifs[slot] == nil else { throw BackendError("vif \(slot) of domain \(key.domain)", errno: EEXIST) }
    let added = try start(vif, queue, privcmd: privcmd.raw)
    vifs[slot] = added
    lookOnce(added)
  }

  /// Stops serving a vif, which the caller lets go of; nil when there is none in the slot. The guest's end of its
  /// event channel stays, for the next vif in the slot.
  func remove(slot: Int) -> AnyObject? {
    guard let vif = vifs.removeValue(forKey: slot) else { return nil }
    channels.unbind(vif.port)
    return vif
  }

  /// Notes the handle that the domain has from now on.
  func rename(to handle: DomainHandle) { key = ControlProtocol.DomainKey(domain: key.domain, handle: handle) }

  // MARK: Descriptors to wait for

  var eventDescriptor: Int32 { channels.descriptor }

  /// The eventfds by which the kernel asks to tell the guest, with the slot of the vif each belongs to.
  var callDescriptors: [(descriptor: Int32, slot: Int)] {
    vifs.keys.flatMap { slot in callDescriptors(ofSlot: slot).map { ($0, slot) } }
  }

  func callDescriptors(ofSlot slot: Int) -> [Int32] {
    guard let vif = vifs[slot] else { return [] }
    return [vif.vhost.receiveCall.raw, vif.vhost.transmitCall.raw]
  }

  // MARK: Doorbells

  /// What the guest's doorbells brought.
  struct Rung {
    var consoleOutput: [UInt8] = []
    var powerctlChanged = false
  }

  /// Takes the pending events of the domain.
  func takeEvents() -> Rung {
    var rung = Rung()
    var ports: [UInt32] = channels.takePending()
    for port in ports {
      if port == consolePort.rawValue {
        rung.consoleOutput += takeConsoleOutput()
      } else if port == powerctlPort.rawValue {
        rung.powerctlChanged = rung.powerctlChanged || refreshGuestState()
      } else if let vif = vifs.values.first(where: { $0.port.rawValue == port }) {
        kick(vif)
      }
    }
    channels.unmask(&ports)
    return rung
  }

  private func kick(_ vif: VifBackend) {
    let receive = vif.window.loadHalf(at: Int(vif.rings.receiveAvailable) + 2)
    let transmit = vif.window.loadHalf(at: Int(vif.rings.transmitAvailable) + 2)
    if transmit != vif.kicked.transmit { vif.vhost.kick(.transmit) }
    if receive != vif.kicked.receive { vif.vhost.kick(.receive) }
    // Neither moved: the guest re-initialised a ring, or rang twice for the same buffers.
    if transmit == vif.kicked.transmit && receive == vif.kicked.receive {
      vif.vhost.kick(.transmit)
      vif.vhost.kick(.receive)
    }
    vif.kicked = (receive, transmit)
  }

  /// Tells the guest of used buffers of a vif.
  func notify(slot: Int) {
    if let vif = vifs[slot] { channels.notify(vif.port) }
  }

  func setFeatures(slot: Int, _ features: UInt64) throws(BackendError) {
    guard let vif = vifs[slot] else {
      throw BackendError("vif \(slot) of domain \(key.domain)", errno: ENODEV)
    }
    try vif.vhost.setOffloads(VifFeatures(rawValue: features))
  }

  // MARK: Console and powerctl

  private func takeConsoleOutput() -> [UInt8] {
    let bytes = ConsoleRing.takeOutput(pages)
    if !bytes.isEmpty {
      log.append(bytes)
      channels.notify(consolePort)
    }
    return bytes
  }

  func loggedOutput() -> [UInt8] { log.contents() }

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
    let state = Powerctl.read(pages, base: Self.powerctlBase)
    defer { guestState = state }
    return state != guestState
  }

  var status: ControlProtocol.Status {
    ControlProtocol.Status(
      key: key, status: guestState.status, acknowledged: guestState.acknowledged)
  }
}
