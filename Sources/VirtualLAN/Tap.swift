import CNetlink
import Glibc

/// The owner of the queue of a persistent tap: an interface whose frames go through a descriptor, each behind
/// a 12-byte little-endian virtio-net header (virtio 1.x, `struct virtio_net_hdr_v1`).
///
/// The interface stays when the descriptor is closed, without a carrier; `RouteRequest.deleteLink` deletes it.
/// A tap has one queue: while somebody holds it, nobody else can open it. It belongs to the network namespace
/// of the thread that made it.
public struct Tap: ~Copyable {
  public let name: InterfaceName
  private let queue: Descriptor

  /// `struct virtio_net_hdr_v1` (linux/virtio_net.h), with the count of merged buffers.
  private static let headerSize: CInt = 12

  /// Creates a persistent tap without offloads, down.
  ///
  /// On failure nothing of it is left.
  ///
  /// - Parameter prepare: what is done with the interface before it stays: a kill until then leaves nothing of it.
  /// - Throws: `NetlinkError.call`, with EBUSY when an interface has that name, whatever its kind; what `prepare` throws.
  public static func create(
    name: InterfaceName, _ prepare: () throws(NetlinkError) -> Void = {}
  ) throws(NetlinkError) -> Tap {
    let queue = try attach(to: name, operation: "create tap", flags: IFF_TUN_EXCL)
    try prepare()
    // Last of all: until then the interface goes away with the descriptor.
    try check(
      "TUNSETPERSIST", "create tap", "'\(name)'", cnetlink_tun_set_persistent(queue.rawValue, 1))
    return Tap(name: name, queue: queue)
  }

  /// Opens the queue of an existing persistent tap, as a restarted daemon does, and turns its offloads off.
  ///
  /// - Throws: `NetlinkError.noSuchInterface`; `NetlinkError.call`, with EBUSY while somebody holds the
  ///   queue, with EINVAL when the interface is no tap.
  public static func open(name: InterfaceName) throws(NetlinkError) -> Tap {
    let queue = try attach(to: name, operation: "open tap", flags: 0)
    // The kernel makes the interface where there is none. That one is not persistent: it goes away with this
    // descriptor, and an existing one cannot be confused with it.
    var flags: CInt = 0
    try check("TUNGETIFF", "open tap", "'\(name)'", cnetlink_tun_flags(queue.rawValue, &flags))
    guard flags & IFF_PERSIST != 0 else {
      throw .noSuchInterface(operation: "open tap", name: name)
    }
    return Tap(name: name, queue: queue)
  }

  private init(name: InterfaceName, queue: consuming Descriptor) {
    self.name = name
    self.queue = queue
  }

  private static func attach(
    to name: InterfaceName, operation: String, flags: CInt
  ) throws(NetlinkError) -> Descriptor {
    let device = Glibc.open("/dev/net/tun", O_RDWR | O_CLOEXEC)
    try check("open /dev/net/tun", operation, "'\(name)'", device < 0 ? -errno : 0)
    let queue = Descriptor(owning: device)

    let text = name.bytes.map(CChar.init(bitPattern:)) + [0]
    func step(_ call: String, _ result: CInt) throws(NetlinkError) {
      try Self.check(call, operation, "'\(name)'", result)
    }
    let kind = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    try step("TUNSETIFF", cnetlink_tun_attach(device, text, kind | flags))
    try step("TUNSETVNETHDRSZ", cnetlink_tun_set_header_size(device, headerSize))
    try step("TUNSETVNETLE", cnetlink_tun_set_little_endian(device, 1))
    try step("TUNSETOFFLOAD", cnetlink_tun_set_offloads(device, 0))
    return queue
  }

  /// Throws what one of the shims returned, unless it is 0.
  private static func check(
    _ call: String, _ operation: String, _ subject: String, _ result: CInt
  ) throws(NetlinkError) {
    guard result == 0 else {
      throw .call(call, operation: operation, subject: subject, code: -result)
    }
  }

  /// Gives the queue's descriptor away, to be handed to the process that moves the frames. Closing it is the
  /// caller's business from here on.
  public consuming func takeDescriptor() -> CInt {
    queue.take()
  }
}
