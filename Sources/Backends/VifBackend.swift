import DevicePages
import Xen

/// One vif: its tap queue, our end of its event channel and, unless it is broken, what serves it.
final class VifBackend {
  let slot: Int
  /// Bound when first started, and kept while the vif is broken.
  var port: EventChannel.Port?
  /// Why nobody serves it.
  private(set) var broken: ControlProtocol.BrokenVif.Reason? = .notStarted
  private let tap: TapQueue
  private let windowFrames: Int
  private var features: VifFeatures
  private var service: Service?

  /// A vhost-net instance and the window it works on.
  private final class Service {
    // Before the window, so that it is stopped before what it works on is unmapped: members go in this order.
    let vhost: VhostNet
    let window: RestrictedMapping
    let rings: VifRings
    /// Available indices at the last kick; guest-controlled, used only to tell which queue moved.
    var kicked: (receive: UInt16, transmit: UInt16) = (0, 0)

    init(vhost: consuming VhostNet, window: consuming RestrictedMapping, rings: VifRings) {
      self.vhost = vhost
      self.window = window
      self.rings = rings
    }
  }

  /// Not served until it is started.
  init(_ vif: ControlProtocol.Vif, tap: consuming TapQueue) {
    slot = Int(vif.slot)
    windowFrames = Int(vif.windowFrames)
    features = VifFeatures(rawValue: vif.features)
    self.tap = tap
  }

  /// - Parameters:
  ///   - privcmd: restricted to `domain`.
  ///   - isAnew: zero the rings first; otherwise they go on where they stand.
  func start(
    domain: DomainID, privcmd: borrowing Descriptor, vhost: consuming Descriptor, isAnew: Bool
  ) throws {
    let first = GuestFrame(rawValue: Slots.windowFrame(vif: slot))
    let window: RestrictedMapping
    do {
      window = try RestrictedMapping(
        privcmd: privcmd.raw, domain: domain, frames: (0..<windowFrames).map { first.advanced(by: $0) })
    } catch {
      broken = .unmappedFrame
      throw error
    }
    let rings = VifRings(windowFrames: windowFrames)
    if isAnew { window.zero(0..<Int(rings.buffers)) }
    broken = .notStarted
    let net = try VhostNet.start(
      vhost: vhost, tap: tap, window: window, guestAddress: first.address, rings: rings)
    try tap.setOffloads(features)
    service = Service(vhost: net, window: window, rings: rings)
    broken = nil
  }

  /// Where chaosd holds a reference to the vhost-net instance, the wait for its end is chaosd's.
  func stop(reason: ControlProtocol.BrokenVif.Reason) {
    service?.vhost.leaveRings()
    service = nil
    broken = reason
  }

  func noteRingError() { if service != nil { broken = .rings } }

  func setFeatures(_ raw: UInt64) throws(BackendError) {
    features = VifFeatures(rawValue: raw)
    try tap.setOffloads(features)
  }

  var callDescriptors: [Int32] {
    guard let service else { return [] }
    return [service.vhost.receiveCall.raw, service.vhost.transmitCall.raw]
  }

  var errorDescriptor: Int32? {
    guard let service else { return nil }
    return service.vhost.ringError.raw
  }

  func kickBoth() {
    service?.vhost.kick(.receive)
    service?.vhost.kick(.transmit)
  }

  /// Tells the kernel to look at the queues that moved.
  ///
  /// - Returns: whether one did.
  func kick() -> Bool {
    guard let service else { return false }
    let receive = service.window.loadHalf(at: Int(service.rings.receiveAvailable) + 2)
    let transmit = service.window.loadHalf(at: Int(service.rings.transmitAvailable) + 2)
    defer { service.kicked = (receive, transmit) }
    guard transmit != service.kicked.transmit || receive != service.kicked.receive else {
      // The guest re-initialised a ring, or rang twice for the same buffers.
      kickBoth()
      return false
    }
    if transmit != service.kicked.transmit { service.vhost.kick(.transmit) }
    if receive != service.kicked.receive { service.vhost.kick(.receive) }
    return true
  }
}
