import CBackends
import DevicePages
import Glibc
import Xen

/// A kernel vhost-net instance that serves one vif: its memory table is exactly the vif's window, so that
/// descriptors can point nowhere else. The kernel reads the rings; this process only rings doorbells.
///
/// Source: linux/vhost.h, virtio 1.2 section 5.1. Stopped and closed when dropped.
struct VhostNet: ~Copyable {
  /// Queues in virtio-net order.
  enum Queue: UInt32, CaseIterable {
    case receive = 0
    case transmit = 1
  }

  private let vhost: Descriptor
  private let receiveKick, transmitKick: Descriptor
  /// Readable when the kernel wants the guest told of used buffers.
  let receiveCall, transmitCall: Descriptor
  /// Readable when the kernel stopped at something in a ring that makes no sense.
  let ringError: Descriptor

  /// Starts serving.
  ///
  /// - Parameters:
  ///   - tap: the tap queue; the kernel keeps a reference of its own.
  ///   - window: the mapped window, whose rings are at `rings`.
  ///   - guestAddress: where the window starts in guest-physical memory.
  static func start(
    vhost: consuming Descriptor, tap: borrowing TapQueue, window: borrowing RestrictedMapping, guestAddress: UInt64,
    rings: VifRings
  ) throws(BackendError) -> VhostNet {
    let net = VhostNet(
      vhost: vhost, receiveKick: try makeEvent(), transmitKick: try makeEvent(), receiveCall: try makeEvent(),
      transmitCall: try makeEvent(), ringError: try makeEvent())
    try net.claim()
    let base = UInt64(UInt(bitPattern: window.base))
    if cbackends_vhost_set_region(net.vhost.raw, guestAddress, UInt64(window.byteCount), base) < 0 {
      throw BackendError.last("VHOST_SET_MEM_TABLE")
    }
    for queue in Queue.allCases { try net.set(up: queue, window: window, base: base, rings: rings) }
    for queue in Queue.allCases {
      try net.setFile(cbackends_vhost_net_set_backend, "VHOST_NET_SET_BACKEND", queue, tap.raw)
    }
    return net
  }

  /// Never waited on in a call: a kick that finds the counter full says nothing new.
  private static func makeEvent() throws(BackendError) -> Descriptor {
    let raw = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    if raw < 0 { throw BackendError.last("create an eventfd") }
    return Descriptor(adopting: raw)
  }

  private func ioctl(_ request: UInt, _ name: String, _ argument: UnsafeMutableRawPointer?) throws(BackendError) {
    if cbackends_ioctl(vhost.raw, request, argument) < 0 { throw BackendError.last(name) }
  }

  /// Makes this process the owner of an instance, whose memory it reads from then on.
  static func own(_ vhost: borrowing Descriptor) throws(BackendError) {
    // EBUSY: it has an owner. Unless that is this process, the next call fails with EPERM.
    if cbackends_ioctl(vhost.raw, cbackends_vhost_set_owner, nil) < 0, errno != EBUSY {
      throw BackendError.last("VHOST_SET_OWNER")
    }
  }

  private func claim() throws(BackendError) {
    try Self.own(vhost)
    var offered: UInt64 = 0
    try ioctl(cbackends_vhost_get_features, "VHOST_GET_FEATURES", &offered)
    // Offloads are between the guest and the tap; vhost itself needs only the ring features.
    var wanted = VifFeatures.always.rawValue
    guard offered & wanted == wanted else {
      throw BackendError("vhost-net lacks features \(wanted & ~offered)", errno: EOPNOTSUPP)
    }
    try ioctl(cbackends_vhost_set_features, "VHOST_SET_FEATURES", &wanted)
  }

  private func set(
    up queue: Queue, window: borrowing RestrictedMapping, base: UInt64, rings: VifRings
  ) throws(BackendError) {
    let layout = rings.queue(queue)
    var state = vhost_vring_state(index: queue.rawValue, num: UInt32(layout.size))
    try ioctl(cbackends_vhost_set_vring_num, "VHOST_SET_VRING_NUM", &state)
    // vhost-net completes buffers in order, so that a ring goes on where its used index stands: zero in a new
    // guest, and where the last back-end stopped in an old one.
    state.num = UInt32(window.loadHalf(at: Int(layout.used) + 2))
    try ioctl(cbackends_vhost_set_vring_base, "VHOST_SET_VRING_BASE", &state)
    var address = vhost_vring_addr(
      index: queue.rawValue, flags: 0, desc_user_addr: base + UInt64(layout.descriptors),
      used_user_addr: base + UInt64(layout.used), avail_user_addr: base + UInt64(layout.available),
      log_guest_addr: 0)
    try ioctl(cbackends_vhost_set_vring_addr, "VHOST_SET_VRING_ADDR", &address)
    let kick = queue == .receive ? receiveKick.raw : transmitKick.raw
    let call = queue == .receive ? receiveCall.raw : transmitCall.raw
    try setFile(cbackends_vhost_set_vring_kick, "VHOST_SET_VRING_KICK", queue, kick)
    try setFile(cbackends_vhost_set_vring_call, "VHOST_SET_VRING_CALL", queue, call)
    try setFile(cbackends_vhost_set_vring_err, "VHOST_SET_VRING_ERR", queue, ringError.raw)
  }

  private func setFile(_ request: UInt, _ name: String, _ queue: Queue, _ descriptor: Int32) throws(BackendError) {
    var file = vhost_vring_file(index: queue.rawValue, fd: descriptor)
    try ioctl(request, name, &file)
  }

  /// Has the kernel leave the rings, at once. It lets go of the instance only when the last reference is closed, and the
  /// one who closes that waits some 15 ms.
  func leaveRings() {
    for queue in Queue.allCases {
      // One that refuses is closed all the same.
      try? setFile(cbackends_vhost_net_set_backend, "VHOST_NET_SET_BACKEND", queue, -1)
    }
  }

  /// Tells the kernel to look at a queue.
  func kick(_ queue: Queue) {
    var one: UInt64 = 1
    _ = write(queue == .receive ? receiveKick.raw : transmitKick.raw, &one, 8)
  }
}

extension VifRings {
  struct QueueLayout {
    let size: UInt16
    let descriptors, available, used: UInt32
  }

  func queue(_ queue: VhostNet.Queue) -> QueueLayout {
    switch queue {
    case .receive:
      QueueLayout(
        size: receiveSize, descriptors: receiveDescriptors, available: receiveAvailable, used: receiveUsed)
    case .transmit:
      QueueLayout(
        size: transmitSize, descriptors: transmitDescriptors, available: transmitAvailable,
        used: transmitUsed)
    }
  }
}
