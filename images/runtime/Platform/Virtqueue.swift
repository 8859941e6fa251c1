import CGuest

/// The driver's half of one virtio 1.x split virtqueue with event indices.
///
/// Descriptor n always describes buffer n: the tables are written once, and an id that comes back names its
/// buffer without any bookkeeping.
struct Virtqueue {
  private let descriptors: UInt
  private let available: UInt
  private let used: UInt
  private let mask: UInt16

  /// Entries offered so far; the device sees them once they are published.
  private var offered: UInt16 = 0
  private var published: UInt16 = 0
  /// Entries taken back so far.
  private var taken: UInt16 = 0

  private static var writable: UInt16 { 2 }  // VIRTQ_DESC_F_WRITE

  /// Lays the queue out empty. The device must not be using it.
  init(_ layout: Vif.QueueLayout, window: UInt) {
    descriptors = window + UInt(layout.descriptors)
    available = window + UInt(layout.available)
    used = window + UInt(layout.used)
    mask = UInt16(truncatingIfNeeded: layout.size - 1)
    guest_store32(available, 0)  // flags and index
    guest_store16(usedEvent, 0)
    guest_store32(used, 0)
    guest_store16(availableEvent, 0)
  }

  private var usedEvent: UInt { available + 4 + 2 * (UInt(mask) + 1) }
  private var availableEvent: UInt { used + 4 + 8 * (UInt(mask) + 1) }

  /// Entries that the device has not given back.
  var outstanding: UInt16 { offered &- taken }

  @inline(__always)
  func describe(_ id: UInt16, address: UInt, length: UInt32, deviceWrites: Bool) {
    let descriptor = descriptors + 16 * UInt(id)
    guest_store32(descriptor, UInt32(truncatingIfNeeded: address))
    guest_store32(descriptor + 4, UInt32(truncatingIfNeeded: address >> 32))
    guest_store32(descriptor + 8, length)
    guest_store32(descriptor + 12, deviceWrites ? UInt32(Self.writable) : 0)
  }

  @inline(__always)
  func setLength(_ id: UInt16, _ length: UInt32) {
    guest_store32(descriptors + 16 * UInt(id) + 8, length)
  }

  @inline(__always)
  mutating func offer(_ id: UInt16) {
    guest_store16(available + 4 + 2 * UInt(offered & mask), id)
    offered &+= 1
  }

  /// Shows the device what was offered. True: it wants to be notified.
  @inline(__always)
  mutating func publish() -> Bool {
    guard offered != published else { return false }
    guest_compiler_barrier()
    guest_store16(available + 2, offered)
    guest_memory_barrier()
    let event = guest_load16(availableEvent)
    let wanted = offered &- event &- 1 < offered &- published
    published = offered
    return wanted
  }

  var hasUsed: Bool { guest_load16(used + 2) != taken }

  /// The next entry that the device gave back.
  @inline(__always)
  mutating func take() -> (id: UInt32, length: UInt32)? {
    guard hasUsed else { return nil }
    guest_compiler_barrier()
    let element = used + 4 + 8 * UInt(taken & mask)
    taken &+= 1
    return (guest_load32(element), guest_load32(element + 4))
  }

  /// Asks for an event once `entries` more have come back.
  @inline(__always)
  func requestEvent(after entries: UInt16) {
    guest_store16(usedEvent, taken &+ entries &- 1)
  }
}
