import CDevicePage
import CHostile

/// What is wrong with what the guest puts into the queues of its first vif.
enum QueueAttack: Int {
  /// A buffer in the guest's RAM, where the kernel may not reach.
  case outside
  /// A buffer that begins in the window and ends behind it.
  case straddling
  /// A buffer of 4 GiB, at the highest addresses there are.
  case huge
  /// Chains without an end.
  case loop
  /// A chain that goes on at a descriptor that is not there.
  case next
  /// A chain that begins at one.
  case head
  /// More buffers available than the queue has entries.
  case index
  /// Buffers that were made available are not any more.
  case back
  /// A table of descriptors, which was never agreed on.
  case indirect
  /// Buffers too short for the header.
  case short
  /// Sound buffers whose headers ask for nonsense.
  case header
  /// Descriptors and indices change a part at a time, after they were made available.
  case torn
  /// The device's half of the queues: used indices, used elements and the indices of events.
  case used

  static var names: InlineArray<13, StaticString> {
    [
      "outside", "straddling", "huge", "loop", "next", "head", "index", "back", "indirect", "short", "header",
      "torn",
      "used",
    ]
  }

  func carryOut() -> Never {
    guard let vif = Self.firstVif else { guest_crash() }
    var noise = Noise(seed: rawValue + 1)
    var queues = (RawQueue(vif.receive, of: vif), RawQueue(vif.transmit, of: vif))
    while true {
      breakRules(of: &queues.0, deviceWrites: true, &noise)
      breakRules(of: &queues.1, deviceWrites: false, &noise)
      guest_memory_barrier()
      guest_notify(vif.port)
      Attack.pause(milliseconds: 20)
    }
  }

  private static var firstVif: Vif? {
    guard let page = try? DevicePageReader.read() else { return nil }
    for entry in 0..<page.deviceCount {
      if let vif = try? DevicePageReader.vif(page, entry: entry) { return vif }
    }
    return nil
  }

  private func breakRules(of queue: inout RawQueue, deviceWrites: Bool, _ noise: inout Noise) {
    var sound = RawQueue.Descriptor(
      address: queue.buffer, length: 1024, flags: deviceWrites ? RawQueue.deviceWrites : 0, next: 0)
    switch self {
    case .outside: sound.address = noise.next(below: 2) == 0 ? 0x10000 : UInt64(CHAOS_DEVICE_PAGE_GFN) << 12
    case .straddling: sound.address = queue.windowEnd - 512
    case .huge: (sound.address, sound.length) = (.max - 16, .max)
    case .loop: sound.flags |= RawQueue.hasNext
    case .next: (sound.flags, sound.next) = (sound.flags | RawQueue.hasNext, .max - UInt16(noise.next(below: 32)))
    case .indirect: sound.flags |= RawQueue.isIndirect
    case .short: sound.length = UInt32(noise.next(below: 12))
    case .header: queue.fillBuffer(with: &noise)
    case .head, .index, .back, .torn, .used: break
    }
    queue.write(sound, at: 0)
    queue.offer(self == .head ? .max : 0)
    switch self {
    case .index: queue.moveIndex(by: 0x7fff)
    case .back: queue.moveIndex(by: 0 &- 200)
    case .torn: queue.tear(&noise)
    case .used: queue.scribbleOnUsed(&noise)
    default: break
    }
  }
}

/// A queue without the care that a driver takes.
struct RawQueue {
  struct Descriptor {
    var address: UInt64
    var length: UInt32
    var flags: UInt16
    var next: UInt16
  }

  // VIRTQ_DESC_F_NEXT, _WRITE, _INDIRECT
  static var hasNext: UInt16 { 1 }
  static var deviceWrites: UInt16 { 2 }
  static var isIndirect: UInt16 { 4 }

  private let descriptors, available, used: UInt
  private let size: Int
  let buffer: UInt64
  let windowEnd: UInt64

  init(_ layout: Vif.QueueLayout, of vif: Vif) {
    let window = UInt(vif.window)
    descriptors = window + UInt(layout.descriptors)
    available = window + UInt(layout.available)
    used = window + UInt(layout.used)
    size = layout.size
    buffer = vif.window + UInt64(vif.buffers)
    windowEnd = vif.window + UInt64(vif.windowSize)
  }

  private var index: UInt16 { guest_load16(available + 2) }

  func write(_ descriptor: Descriptor, at number: Int) {
    let place = descriptors + 16 * UInt(number)
    guest_store32(place, UInt32(truncatingIfNeeded: descriptor.address))
    guest_store32(place + 4, UInt32(descriptor.address >> 32))
    guest_store32(place + 8, descriptor.length)
    guest_store16(place + 12, descriptor.flags)
    guest_store16(place + 14, descriptor.next)
  }

  /// Makes a chain available.
  func offer(_ head: UInt16) {
    guest_store16(available + 4 + 2 * (UInt(index) & UInt(size - 1)), head)
    moveIndex(by: 1)
  }

  func moveIndex(by distance: UInt16) {
    guest_compiler_barrier()
    guest_store16(available + 2, index &+ distance)
  }

  func fillBuffer(with noise: inout Noise) {
    for offset in stride(from: UInt(0), to: 64, by: 4) {
      guest_store32(UInt(buffer) + offset, UInt32(truncatingIfNeeded: noise.next()))
    }
  }

  /// Changes halves of what the kernel may be reading, while it may be reading it.
  func tear(_ noise: inout Noise) {
    for _ in 0..<200 {
      let field = descriptors + 2 * UInt(noise.next(below: 8))
      guest_store16(field, UInt16(truncatingIfNeeded: noise.next()))
      guest_store16(available + 2 * UInt(noise.next(below: 2)), UInt16(truncatingIfNeeded: noise.next()))
    }
  }

  func scribbleOnUsed(_ noise: inout Noise) {
    // Flags, index, the elements, the index of the event.
    for offset in stride(from: UInt(0), to: 6 + 8 * UInt(size), by: 2) {
      guest_store16(used + offset, UInt16(truncatingIfNeeded: noise.next()))
    }
  }
}
