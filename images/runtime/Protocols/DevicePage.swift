import CDevicePage

/// Why a device page cannot be used.
enum DevicePageError: Error, Equatable {
  case magic(UInt32)
  case version(UInt16)
  case length(UInt32)
  case deviceTable
  case commandLine
  case name
  case vif(Int, VifDefect)
}

/// What is wrong with a vif's entry.
enum VifDefect: Equatable {
  case index
  case duplicate
  case port
  case window
  case features
  case queueSize
  case rings
}

/// The device page, found sound. Its vifs are decoded one at a time; a guest has few, and room is scarce.
struct DevicePage {
  let generation: UInt32
  let name: Bytes
  let commandLine: Bytes
  let deviceCount: Int
  private let table: Bytes
  private let entrySize: Int

  /// Reads a page. No bytes make it trap; what is not as the ABI says is refused.
  init(_ page: Bytes) throws(DevicePageError) {
    let magic = page.little32(Int(CHAOS_HEADER_MAGIC))
    guard magic == CHAOS_PAGE_MAGIC else { throw .magic(magic) }
    let version = page.little16(Int(CHAOS_HEADER_VERSION))
    guard version == CHAOS_PAGE_VERSION else { throw .version(version) }
    let length = page.little32(Int(CHAOS_HEADER_LENGTH))
    guard length >= CHAOS_PAGE_LENGTH, Int(length) <= page.count else { throw .length(length) }
    let used = page.part(from: 0, length: Int(length))
    generation = used.little32(Int(CHAOS_HEADER_GENERATION))

    let nameLength = Int(used.little16(Int(CHAOS_IDENTITY_NAME_LENGTH)))
    guard nameLength <= CHAOS_NAME_MAX else { throw .name }
    name = used.part(from: Int(CHAOS_IDENTITY_NAME), length: nameLength)

    let commandStart = Int(used.little32(Int(CHAOS_HEADER_COMMAND_LINE)))
    let commandLength = Int(used.little16(Int(CHAOS_IDENTITY_COMMAND_LENGTH)))
    guard commandLength <= CHAOS_COMMAND_LINE_MAX, commandStart <= used.count - commandLength else {
      throw .commandLine
    }
    commandLine = used.part(from: commandStart, length: commandLength)

    deviceCount = Int(used.little16(Int(CHAOS_HEADER_DEVICE_COUNT)))
    entrySize = Int(used.little32(Int(CHAOS_HEADER_DEVICE_ENTRY_SIZE)))
    let tableStart = Int(used.little32(Int(CHAOS_HEADER_DEVICE_TABLE)))
    guard deviceCount <= CHAOS_DEVICE_MAX, entrySize >= CHAOS_DEVICE_ENTRY_SIZE,
      entrySize <= used.count, tableStart <= used.count - deviceCount * entrySize
    else { throw .deviceTable }
    table = used.part(from: tableStart, length: deviceCount * entrySize)
  }

  /// The vif that an entry of the device table describes; nil: another device, or one not connected.
  func vif(entry number: Int) throws(DevicePageError) -> Vif? {
    guard number >= 0, number < deviceCount else { return nil }
    let entry = table.part(from: number * entrySize, length: entrySize)
    guard entry.little16(Int(CHAOS_DEVICE_TYPE)) == CHAOS_TYPE_VIF,
      entry.little16(Int(CHAOS_DEVICE_STATE)) == CHAOS_STATE_CONNECTED
    else { return nil }
    do throws(VifDefect) {
      return try Vif(entry)
    } catch {
      throw .vif(Int(entry.little16(Int(CHAOS_DEVICE_INDEX))), error)
    }
  }
}

extension VifDefect: Error {}

/// One vif, as the device page describes it. Everything in it has been checked.
struct Vif: Equatable {
  /// Which of the guest's vifs it is.
  let slot: Int
  let port: UInt32
  /// Guest-physical address and size of the window.
  let window: UInt64
  let windowSize: Int
  let features: UInt64
  let receive: QueueLayout
  let transmit: QueueLayout
  /// Offset of the window's first byte for buffers.
  let buffers: Int
  var addresses: HostAddresses
  var ipv4Prefix: UInt8
  var ipv4Gateway: IPv4Address?
  var ipv6Prefix: UInt8

  /// Where one virtqueue lies, as offsets within the window.
  struct QueueLayout: Equatable {
    let size: Int
    let descriptors: Int
    let available: Int
    let used: Int

    fileprivate func fits(_ windowSize: Int) -> Bool {
      let descriptorsEnd = descriptors + 16 * size
      let availableEnd = available + 6 + 2 * size
      let usedEnd = used + 6 + 8 * size
      return descriptors % 16 == 0 && available % 2 == 0 && used % 4 == 0
        && descriptorsEnd <= windowSize && availableEnd <= windowSize && usedEnd <= windowSize
    }
  }

  /// VIRTIO_F_VERSION_1, VIRTIO_RING_F_EVENT_IDX and VIRTIO_NET_F_MRG_RXBUF: in force in every version 1 vif.
  private static var requiredFeatures: UInt64 { 1 << 32 | 1 << 29 | 1 << 15 }

  fileprivate init(_ entry: Bytes) throws(VifDefect) {
    slot = Int(entry.little16(Int(CHAOS_DEVICE_INDEX)))
    guard slot < CHAOS_MAX_VIFS else { throw .index }
    port = entry.little32(Int(CHAOS_DEVICE_PORT))
    guard port == UInt32(CHAOS_PORT_VIF0) + UInt32(slot) else { throw .port }

    let firstFrame = entry.little64(Int(CHAOS_DEVICE_FIRST_FRAME))
    let frameCount = entry.little32(Int(CHAOS_DEVICE_FRAME_COUNT))
    let stride = UInt64(CHAOS_VIF_WINDOW_STRIDE)
    guard firstFrame == UInt64(CHAOS_VIF_WINDOW_GFN) + UInt64(slot) * stride, frameCount > 0,
      UInt64(frameCount) <= stride
    else { throw .window }
    window = firstFrame << 12
    windowSize = Int(frameCount) << 12

    features = entry.little64(Int(CHAOS_VIF_FEATURES))
    guard features & Self.requiredFeatures == Self.requiredFeatures else { throw .features }

    receive = QueueLayout(
      size: Int(entry.little16(Int(CHAOS_VIF_RX_SIZE))),
      descriptors: Int(entry.little32(Int(CHAOS_VIF_RX_DESCRIPTORS))),
      available: Int(entry.little32(Int(CHAOS_VIF_RX_AVAILABLE))),
      used: Int(entry.little32(Int(CHAOS_VIF_RX_USED))))
    transmit = QueueLayout(
      size: Int(entry.little16(Int(CHAOS_VIF_TX_SIZE))),
      descriptors: Int(entry.little32(Int(CHAOS_VIF_TX_DESCRIPTORS))),
      available: Int(entry.little32(Int(CHAOS_VIF_TX_AVAILABLE))),
      used: Int(entry.little32(Int(CHAOS_VIF_TX_USED))))
    guard receive.size.isQueueSize, transmit.size.isQueueSize else { throw .queueSize }
    buffers = Int(entry.little32(Int(CHAOS_VIF_BUFFERS)))
    guard receive.fits(windowSize), transmit.fits(windowSize), buffers <= windowSize else {
      throw .rings
    }

    let given = Int32(entry.byte(Int(CHAOS_VIF_ADDRESSES)))
    addresses = HostAddresses(
      mac: entry.mac(Int(CHAOS_VIF_MAC)), mtu: Int(entry.little16(Int(CHAOS_VIF_MTU))),
      ipv4: given & CHAOS_ADDRESS_IPV4 != 0 ? entry.ipv4(Int(CHAOS_VIF_IPV4)) : nil,
      ipv6: given & CHAOS_ADDRESS_IPV6 != 0 ? entry.ipv6(Int(CHAOS_VIF_IPV6)) : nil)
    ipv4Prefix = entry.byte(Int(CHAOS_VIF_IPV4_PREFIX))
    ipv4Gateway =
      given & CHAOS_ADDRESS_IPV4_GATEWAY != 0 ? entry.ipv4(Int(CHAOS_VIF_IPV4_GATEWAY)) : nil
    ipv6Prefix = entry.byte(Int(CHAOS_VIF_IPV6_PREFIX))
  }
}

extension Vif {
  /// Whether an address is on the vif's own network.
  func isOnLink(_ target: IPv4Address) -> Bool {
    guard let own = addresses.ipv4 else { return false }
    let hostBits = 32 - min(UInt32(ipv4Prefix), 32)
    return UInt64(own.value ^ target.value) >> UInt64(hostBits) == 0
  }
}

extension Int {
  /// Whether a split virtqueue can have so many entries.
  fileprivate var isQueueSize: Bool { self > 0 && self <= 32_768 && self & (self - 1) == 0 }
}
