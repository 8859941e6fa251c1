import CGuest

/// One vif: a virtio-net device whose queues and buffers lie in the vif's window.
///
/// A frame is answered in the buffer it came in: buffer n goes from the receive queue to the transmit queue
/// and back. A few buffers are kept apart for frames that answer nothing.
struct NetworkInterface: ~Copyable {
  private(set) var vif: Vif
  private var receive: Virtqueue
  private var transmit: Virtqueue
  private let firstBuffer: UInt
  private let bufferSize: Int
  private let bufferCount: UInt16

  /// Buffers that are in neither queue.
  private var spare = InlineArray<8, UInt16>(repeating: 0)
  private var spareCount = 0
  private let spareLimit: Int

  /// Parts still to come of a frame that is being dropped.
  private var partsToDrop: UInt16 = 0

  private let announces: Bool

  private(set) var packetsIn: UInt64 = 0
  private(set) var packetsOut: UInt64 = 0

  /// Frames handled before others get their turn.
  private static var batch: Int { 32 }

  // struct virtio_net_hdr_v1
  private static var headerLength: Int { 12 }
  private static var flags: Int { 0 }
  private static var partCount: Int { 10 }
  private static var checksumVouched: UInt8 { 1 | 2 }  // NEEDS_CSUM, DATA_VALID

  /// Takes the vif up with empty rings.
  init(_ vif: Vif, bufferSize: Int, announces: Bool) {
    self.vif = vif
    self.bufferSize = bufferSize
    self.announces = announces
    let window = UInt(vif.window)
    receive = Virtqueue(vif.receive, window: window)
    transmit = Virtqueue(vif.transmit, window: window)
    let offset = (vif.buffers + 63) & ~63
    firstBuffer = window + UInt(offset)
    let room = max(vif.windowSize - offset, 0) / bufferSize
    bufferCount = UInt16(min(room, min(vif.receive.size, vif.transmit.size)))
    spareLimit = min(spare.count, Int(bufferCount) / 4)
    fill()
  }

  /// Starts again with empty rings, as the device does.
  mutating func reset() {
    receive = Virtqueue(vif.receive, window: UInt(vif.window))
    transmit = Virtqueue(vif.transmit, window: UInt(vif.window))
    spareCount = 0
    partsToDrop = 0
    fill()
  }

  /// Gives all buffers their places, and says that the guest is there.
  private mutating func fill() {
    var address = firstBuffer
    for id in 0..<bufferCount {
      receive.describe(id, address: address, length: UInt32(bufferSize), deviceWrites: true)
      transmit.describe(id, address: address, length: 0, deviceWrites: false)
      recycle(id)
      address += UInt(bufferSize)
    }
    announce()
    requestEvents()
    push()
  }

  /// Takes over what a changed device page says of a vif whose rings stay.
  mutating func update(_ changed: Vif) {
    guard changed != vif else { return }
    vif = changed
    announce()
    push()
  }

  /// Handles what has come, up to a batch of it. True: there is more.
  mutating func serve<Image: Unikernel>(_ image: inout Image) -> Bool {
    reclaim()
    var budget = Self.batch
    while budget > 0, let (id, length) = receive.take() {
      budget -= 1
      guard id < UInt32(bufferCount) else { continue }
      handle(UInt16(id), received: Int(length), image: &image)
    }
    push()
    guard budget > 0 else { return true }
    requestEvents()
    guest_memory_barrier()
    return receive.hasUsed
  }

  @inline(__always)  // a call would copy the whole interface
  private func buffer(_ id: UInt16) -> Bytes {
    Bytes(
      start: UnsafeMutableRawPointer(bitPattern: firstBuffer + UInt(id) * UInt(bufferSize))
        .unsafelyUnwrapped,
      count: bufferSize)
  }

  private mutating func handle<Image: Unikernel>(
    _ id: UInt16, received: Int, image: inout Image
  ) {
    let buffer = buffer(id)
    // A frame in several buffers is larger than any that this driver takes: all of its parts are dropped.
    guard partsToDrop == 0 else {
      partsToDrop -= 1
      receive.offer(id)
      return
    }
    packetsIn += 1
    guard received > Self.headerLength, received <= bufferSize,
      buffer.little16(Self.partCount) <= 1
    else {
      partsToDrop = max(buffer.little16(Self.partCount), 1) - 1
      receive.offer(id)
      return
    }
    let frame = buffer.part(from: Self.headerLength)
    let length = received - Self.headerLength
    let checksumVouched = buffer.byte(Self.flags) & Self.checksumVouched != 0
    image.observe(
      frame.part(from: 0, length: length), checksumVouched: checksumVouched, as: vif.addresses)
    let answer = Ethernet.answer(
      frame, length: length, checksumVouched: checksumVouched, as: vif.addresses, service: &image)
    if let answer {
      send(id, length: answer)
    } else {
      receive.offer(id)
    }
  }

  /// Hands a buffer with a finished frame to the device.
  private mutating func send(_ id: UInt16, length: Int) {
    let buffer = buffer(id)
    buffer.setBig64(0, 0)
    buffer.setBig32(8, 0)
    transmit.setLength(id, UInt32(truncatingIfNeeded: Self.headerLength + length))
    transmit.offer(id)
    packetsOut += 1
  }

  /// Takes back what was transmitted.
  private mutating func reclaim() {
    while let (id, _) = transmit.take() {
      guard id < UInt32(bufferCount) else { continue }
      recycle(UInt16(id))
    }
  }

  private mutating func recycle(_ id: UInt16) {
    if spareCount < spareLimit {
      spare[spareCount] = id
      spareCount += 1
    } else {
      receive.offer(id)
    }
  }

  /// Tells the network where the guest's addresses are.
  private mutating func announce() {
    guard announces else { return }
    if let address = vif.addresses.ipv4 {
      originate { ARP.announce(address, at: $1.mac, in: $0) }
    }
    if let address = vif.addresses.ipv6 {
      originate { NeighbourDiscovery.advertise(address, as: $1, to: nil, in: $0) }
    }
  }

  /// Sends a frame that answers nothing, if a buffer is free for it, and publishes it at once.
  mutating func send(_ write: (Bytes, HostAddresses) -> Int?) -> Bool {
    // Nothing else may have come in for long.
    reclaim()
    let isSent = originate(write)
    push()
    return isSent
  }

  /// Puts a frame that answers nothing into the transmit queue, if a buffer is free for it.
  @discardableResult
  private mutating func originate(_ write: (Bytes, HostAddresses) -> Int?) -> Bool {
    guard spareCount > 0 else { return false }
    let id = spare[spareCount - 1]
    let frame = buffer(id).part(from: Self.headerLength)
    guard let length = write(frame, vif.addresses) else { return false }
    spareCount -= 1
    send(id, length: length)
    return true
  }

  /// Publishes both queues; they share one doorbell.
  private mutating func push() {
    let receiveWanted = receive.publish()
    let transmitWanted = transmit.publish()
    if receiveWanted || transmitWanted { guest_notify(vif.port) }
  }

  /// An event for the next frame; one for transmitted frames only while they hold most of the buffers, as
  /// otherwise the next frame is early enough to take them back.
  @inline(__always)
  private func requestEvents() {
    receive.requestEvent(after: 1)
    let outstanding = transmit.outstanding
    transmit.requestEvent(after: outstanding > bufferCount / 2 ? outstanding / 2 : 0x7fff)
  }
}
