import CDevicePage
import CGuest

/// All vifs of the guest, by slot, and the ports that the guest sleeps on.
struct Network: ~Copyable {
  /// Room for every slot; `present` says which are initialised.
  private var interfaces: UnsafeMutablePointer<NetworkInterface> {
    UnsafeMutablePointer(bitPattern: guest_interface_storage()).unsafelyUnwrapped
  }
  /// Vifs that are there; by bit.
  private var present: UInt32 = 0
  /// Vifs that had more to do than their turn allowed, or were just taken up; by bit.
  private var unfinished: UInt32 = 0
  /// Console, powerctl, then the vifs that are there.
  private var ports = InlineArray<17, UInt32>(repeating: 0)
  private var portCount = 2
  private let bufferSize: Int
  /// Whether the network is told of the guest's addresses unasked.
  var announces = true

  /// - Parameter bufferSize: of every vif's buffers, in bytes: the largest frame, and 12 of header.
  init(bufferSize: Int) {
    self.bufferSize = bufferSize
    ports[0] = UInt32(CHAOS_PORT_CONSOLE)
    ports[1] = UInt32(CHAOS_PORT_POWERCTL)
  }

  var packetsIn: UInt64 {
    var sum: UInt64 = 0
    for slot in Slots(present) { sum += interfaces[slot].packetsIn }
    return sum
  }

  var packetsOut: UInt64 {
    var sum: UInt64 = 0
    for slot in Slots(present) { sum += interfaces[slot].packetsOut }
    return sum
  }

  /// Follows the device page: new vifs are taken up, gone ones left alone, changed addresses announced.
  mutating func update(_ page: DevicePage) throws(DevicePageReader.Failure) {
    var connected: UInt32 = 0
    for entry in 0..<page.deviceCount {
      guard let vif = try DevicePageReader.vif(page, entry: entry) else { continue }
      let bit = UInt32(1) << UInt32(vif.slot)
      guard connected & bit == 0 else { throw .unusable(.vif(vif.slot, .duplicate)) }
      connected |= bit
      if present & bit == 0 {
        (interfaces + vif.slot).initialize(to: NetworkInterface(vif, bufferSize: bufferSize, announces: announces))
        present |= bit
        unfinished |= bit
      } else {
        interfaces[vif.slot].update(vif)
      }
    }
    present &= connected
    unfinished &= connected
    portCount = 2
    for slot in Slots(present) {
      ports[portCount] = UInt32(CHAOS_PORT_VIF0) + UInt32(slot)
      portCount += 1
    }
  }

  /// Starts the rings of the chosen vifs afresh.
  mutating func reset(_ slots: UInt32) {
    for slot in Slots(slots & present) {
      interfaces[slot].reset()
      unfinished |= 1 << UInt32(slot)
    }
  }

  /// Gives every vif that has something to do its turn. True: some have more.
  mutating func serve<Image: Unikernel>(_ image: inout Image) -> Bool {
    for slot in Slots(present) {
      let bit = UInt32(1) << UInt32(slot)
      let hasEvent = guest_take_event(UInt32(CHAOS_PORT_VIF0) + UInt32(slot))
      guard hasEvent || unfinished & bit != 0 else { continue }
      if interfaces[slot].serve(&image) {
        unfinished |= bit
      } else {
        unfinished &= ~bit
      }
    }
    return unfinished != 0
  }

  /// Sends a frame that answers nothing, by the vif in `slot`.
  ///
  /// - Parameter write: writes the frame and returns its length; nil: there is nothing to send after all.
  /// - Returns: whether it was sent; not if no buffer is free. Trying again a little later is all there is to do.
  mutating func send(by slot: Int, _ write: (Bytes, HostAddresses) -> Int?) -> Bool {
    guard slot >= 0, slot < Int(CHAOS_MAX_VIFS), present >> UInt32(slot) & 1 == 1 else { return false }
    return interfaces[slot].send(write)
  }

  /// The way to an address: a vif whose network it is on, or else one with a gateway.
  func route(to target: IPv4Address) -> (slot: Int, route: Route)? {
    for slot in Slots(present) where interfaces[slot].vif.isOnLink(target) {
      return (slot, Route(host: interfaces[slot].vif.addresses, nextHop: target))
    }
    for slot in Slots(present) {
      guard let gateway = interfaces[slot].vif.ipv4Gateway, interfaces[slot].vif.isOnLink(gateway)
      else { continue }
      return (slot, Route(host: interfaces[slot].vif.addresses, nextHop: gateway))
    }
    return nil
  }

  /// Sleeps until an event, or until the clock reaches a moment.
  @inline(__always)
  func sleep(until moment: UInt64?) {
    // Xen takes the host's time, where zero stands for no time-out; one that has passed ends the sleep at once.
    let timeout = moment.map { max($0 &- DevicePageReader.clockOffset, 1) } ?? 0
    ports.span.withUnsafeBufferPointer { guest_poll($0.baseAddress, UInt32(portCount), timeout) }
  }
}

/// The bits that are set in a word, lowest first.
private struct Slots: Sequence, IteratorProtocol {
  private var bits: UInt32

  init(_ bits: UInt32) {
    self.bits = bits
  }

  mutating func next() -> Int? {
    guard bits != 0 else { return nil }
    let slot = bits.trailingZeroBitCount
    bits &= bits - 1
    return slot
  }
}
