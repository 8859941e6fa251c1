import CXen
import Glibc

/// Xen device descriptors that work on one domain only, for handing to a process that is not trusted with
/// more. The restriction is the kernel's and cannot be undone (IOCTL_PRIVCMD_RESTRICT,
/// IOCTL_EVTCHN_RESTRICT_DOMID).
public enum RestrictedDevices {
  /// A /dev/xen/privcmd that maps memory of `domain` and of no other. The caller closes it.
  public static func openPrivcmd(for domain: DomainID) throws(XenError) -> Int32 {
    try open("/dev/xen/privcmd", for: domain) { cxen_privcmd_restrict($0, domain.rawValue) }
  }

  /// A /dev/xen/evtchn that binds event channels of `domain` and of no other. The caller closes it.
  public static func openEventChannels(for domain: DomainID) throws(XenError) -> Int32 {
    try open("/dev/xen/evtchn", for: domain) { cxen_evtchn_restrict_fd($0, domain.rawValue) }
  }

  private static func open(
    _ path: String, for domain: DomainID, restrict: (Int32) -> Int32
  ) throws(XenError) -> Int32 {
    let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
    if descriptor < 0 { throw XenError.last("open \(path)", domain) }
    if restrict(descriptor) < 0 {
      let error = XenError.last("restrict \(path)", domain)
      close(descriptor)
      throw error
    }
    return descriptor
  }
}

/// Frames of one guest mapped through a restricted privcmd descriptor; unmapped when dropped.
///
/// Everything in it is the guest's to change at any moment. Invariant: `base` points at `count` frames mapped
/// from the descriptor until `deinit`; the descriptor itself may be closed right after.
public struct RestrictedMapping: ~Copyable, @unchecked Sendable {
  public let base: UnsafeMutableRawPointer
  /// Mapped frames.
  public let count: Int

  /// Maps all of `frames`, or fails: a guest can give up any frame of its own.
  public init(privcmd: Int32, domain: DomainID, frames: [GuestFrame]) throws(XenError) {
    precondition(!frames.isEmpty)
    let length = frames.count * GuestFrame.size
    guard let area = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, privcmd, 0),
      area != MAP_FAILED
    else { throw XenError.last("reserve address space", domain) }
    let numbers = frames.map { xen_pfn_t($0.rawValue) }
    var errors = [Int32](repeating: 0, count: frames.count)
    let result = cxen_privcmd_map(privcmd, domain.rawValue, area, numbers, &errors, UInt32(frames.count))
    let failure = result < 0 ? XenError.last("map guest memory", domain) : nil
    if let error = Self.refusal(of: frames, errors, domain) ?? failure {
      munmap(area, length)
      throw error
    }
    base = area
    count = frames.count
  }

  /// The first frame that the kernel could not map. It maps the others all the same and calls that a success
  /// (linux/drivers/xen/privcmd.c), but what touches the hole gets SIGBUS. A frame that the guest gives up *after* it was
  /// mapped stays: the mapping holds a reference to the page.
  ///
  /// - Parameter errors: zero or a negative errno for each frame.
  static func refusal(of frames: [GuestFrame], _ errors: [Int32], _ domain: DomainID) -> XenError? {
    guard let index = errors.firstIndex(where: { $0 != 0 }) else { return nil }
    return XenError(call: "map guest frame \(frames[index])", domain: domain, errno: -errors[index])
  }

  deinit { munmap(base, count * GuestFrame.size) }

  public var byteCount: Int { count * GuestFrame.size }

  public func loadWord(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset % 4 == 0 && offset <= byteCount - 4)
    return UInt32(littleEndian: atomicLoad(base + offset))
  }

  public func storeWord(_ value: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset % 4 == 0 && offset <= byteCount - 4)
    atomicStore(value.littleEndian, base + offset)
  }

  public func loadHalf(at offset: Int) -> UInt16 {
    precondition(offset >= 0 && offset % 2 == 0 && offset <= byteCount - 2)
    let word = loadWord(at: offset & ~3)
    return UInt16(truncatingIfNeeded: offset % 4 == 0 ? word : word >> 16)
  }

  public func loadByte(at offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < byteCount)
    return base.load(fromByteOffset: offset, as: UInt8.self)
  }

  public func storeByte(_ value: UInt8, at offset: Int) {
    precondition(offset >= 0 && offset < byteCount)
    base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
  }

  public func zero(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount)
    memset(base + range.lowerBound, 0, range.count)
  }
}

/// The event channels of one guest, bound through a restricted evtchn descriptor; every port is unbound when
/// it is dropped.
public struct EventChannelSet: ~Copyable, @unchecked Sendable {
  private let handle: OpaquePointer
  private let domain: DomainID

  /// - Parameter descriptor: owned from now on.
  public init(adopting descriptor: Int32, domain: DomainID) throws(XenError) {
    guard let opened = cxen_evtchn_fdopen(descriptor) else {
      let error = XenError.last("open event channels", domain)
      close(descriptor)
      throw error
    }
    handle = opened
    self.domain = domain
  }

  deinit { xenevtchn_close(handle) }

  /// Readable when an event is pending.
  public var descriptor: Int32 { xenevtchn_fd(handle) }

  /// Binds the guest's port and returns our end of it.
  public func bind(_ remote: EventChannel.Port) throws(XenError) -> EventChannel.Port {
    let port = xenevtchn_bind_interdomain(handle, UInt32(domain.rawValue), remote.rawValue)
    if port < 0 { throw XenError.last("bind event channel \(remote)", domain) }
    return EventChannel.Port(rawValue: UInt32(port))
  }

  /// Lets go of our end; the guest's waits for another.
  public func unbind(_ port: EventChannel.Port) {
    // It fails only for a port that is not bound.
    _ = xenevtchn_unbind(handle, port.rawValue)
  }

  public func notify(_ port: EventChannel.Port) {
    // It fails only when the guest's end is gone, which the next look at the domain shows.
    _ = xenevtchn_notify(handle, port.rawValue)
  }

  /// The pending ports, at most 64, each masked until ``unmask(_:)``. Empty when none is pending and the
  /// descriptor does not block.
  public func takePending() -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: 64) { buffer, initialized in
      // /dev/xen/evtchn gives as many 4-byte ports as are pending (linux/drivers/xen/evtchn.c).
      let count = read(descriptor, buffer.baseAddress, 64 * 4)
      initialized = count > 0 ? count / 4 : 0
    }
  }

  /// Lets the ports ring again.
  public func unmask(_ ports: [UInt32]) {
    if !ports.isEmpty { _ = write(descriptor, ports, ports.count * 4) }
  }
}
