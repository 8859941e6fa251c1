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

  init() {
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
        (interfaces + vif.slot).initialize(to: NetworkInterface(vif))
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
  mutating func serve<Service: DatagramService>(_ service: inout Service) -> Bool {
    for slot in Slots(present) {
      let bit = UInt32(1) << UInt32(slot)
      let hasEvent = guest_take_event(UInt32(CHAOS_PORT_VIF0) + UInt32(slot))
      guard hasEvent || unfinished & bit != 0 else { continue }
      if interfaces[slot].serve(&service) {
        unfinished |= bit
      } else {
        unfinished &= ~bit
      }
    }
    return unfinished != 0
  }

  func sleepUntilEvent() {
    ports.span.withUnsafeBufferPointer { guest_poll($0.baseAddress, UInt32(portCount)) }
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
