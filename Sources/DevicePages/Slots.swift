import CDevicePage

/// Places fixed by the ABI: guest frames and event-channel ports as a function of the slot. Plain numbers,
/// because this room knows no hypervisor.
public enum Slots {
  public static let startInfoFrame = UInt64(CHAOS_START_INFO_GFN)
  public static let devicePageFrame = UInt64(CHAOS_DEVICE_PAGE_GFN)
  public static let consoleFrame = UInt64(CHAOS_CONSOLE_GFN)
  public static let powerctlFrame = UInt64(CHAOS_POWERCTL_GFN)
  public static let sharedInfoFrame = UInt64(CHAOS_SHARED_INFO_GFN)
  public static let grantTableFrame = UInt64(CHAOS_GRANT_TABLE_GFN)

  /// The special region in guest-physical bytes: reserved in the memory map, never RAM.
  public static let specialRegion =
    UInt64(CHAOS_SPECIAL_REGION_GPA)..<UInt64(CHAOS_SPECIAL_REGION_GPA) + UInt64(CHAOS_SPECIAL_REGION_SIZE)

  public static let consolePort = UInt32(CHAOS_PORT_CONSOLE)
  public static let powerctlPort = UInt32(CHAOS_PORT_POWERCTL)
  public static let maxVifs = Int(CHAOS_MAX_VIFS)
  /// Ports allocated for every guest, in order from 1: console, powerctl and every vif slot.
  public static let portCount = 2 + maxVifs

  /// The guest's port of vif `slot` (0..<``maxVifs``).
  public static func port(vif slot: Int) -> UInt32 { UInt32(CHAOS_PORT_VIF0) + UInt32(slot) }

  /// The first frame of vif `slot`'s window.
  public static func windowFrame(vif slot: Int) -> UInt64 {
    UInt64(CHAOS_VIF_WINDOW_GFN) + UInt64(slot) * UInt64(CHAOS_VIF_WINDOW_STRIDE)
  }

  /// 4 KiB frames a guest has besides its RAM and windows: start info, device page, console, powerctl.
  /// (shared_info and the grant table are the hypervisor's own pages.)
  public static let specialFrameCount = 4

  public static let nameBytes = Int(CHAOS_NAME_MAX)
  public static let commandLineBytes = Int(CHAOS_COMMAND_LINE_MAX)
}

/// Where a vif's two virtio queues lie in its window: byte offsets from the window's start
/// (virtio 1.x section 2.7: descriptors 16-byte aligned, available 2, used 4).
public struct VifRings: Equatable, Sendable {
  /// Entries in each queue, a power of two.
  public var receiveSize, transmitSize: UInt16
  public var receiveDescriptors, receiveAvailable, receiveUsed: UInt32
  public var transmitDescriptors, transmitAvailable, transmitUsed: UInt32
  /// The first byte that buffers may use.
  public var buffers: UInt32

  public init(
    receiveSize: UInt16, transmitSize: UInt16, receiveDescriptors: UInt32, receiveAvailable: UInt32,
    receiveUsed: UInt32, transmitDescriptors: UInt32, transmitAvailable: UInt32, transmitUsed: UInt32,
    buffers: UInt32
  ) {
    self.receiveSize = receiveSize
    self.transmitSize = transmitSize
    self.receiveDescriptors = receiveDescriptors
    self.receiveAvailable = receiveAvailable
    self.receiveUsed = receiveUsed
    self.transmitDescriptors = transmitDescriptors
    self.transmitAvailable = transmitAvailable
    self.transmitUsed = transmitUsed
    self.buffers = buffers
  }

  /// Window sizes that can be laid out, in KiB.
  public static let windowKiB = 64...16384

  /// The layout chaos gives a window of `windowFrames` 4 KiB frames: 256 entries a queue from 256 KiB on,
  /// fewer in smaller windows so that most of the window stays for buffers.
  public init(windowFrames: Int) {
    let size: UInt16 = windowFrames >= 64 ? 256 : windowFrames >= 32 ? 128 : 64
    let entries = UInt32(size)
    let available = 16 * entries
    let used = (available + 6 + 2 * entries + 63) & ~63
    let queue = (used + 6 + 8 * entries + 2047) & ~2047
    self.init(
      receiveSize: size, transmitSize: size, receiveDescriptors: 0, receiveAvailable: available,
      receiveUsed: used, transmitDescriptors: queue, transmitAvailable: queue + available,
      transmitUsed: queue + used, buffers: 2 * queue)
  }
}

/// virtio-net feature bits chaos knows (virtio 1.2, sections 5.1.3 and 6).
public struct VifFeatures: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static let checksum = VifFeatures(rawValue: 1 << 0)
  public static let guestChecksum = VifFeatures(rawValue: 1 << 1)
  public static let guestTSO4 = VifFeatures(rawValue: 1 << 7)
  public static let guestTSO6 = VifFeatures(rawValue: 1 << 8)
  public static let guestECN = VifFeatures(rawValue: 1 << 9)
  public static let hostTSO4 = VifFeatures(rawValue: 1 << 11)
  public static let hostTSO6 = VifFeatures(rawValue: 1 << 12)
  public static let hostECN = VifFeatures(rawValue: 1 << 13)
  public static let mergeableBuffers = VifFeatures(rawValue: 1 << 15)
  public static let eventIndex = VifFeatures(rawValue: 1 << 29)
  public static let version1 = VifFeatures(rawValue: 1 << 32)

  /// In force on every vif.
  public static let always: VifFeatures = [.version1, .eventIndex, .mergeableBuffers]

  /// What an image may add by its ELF note.
  public static let offloads: VifFeatures = [
    .checksum, .guestChecksum, .guestTSO4, .guestTSO6, .guestECN, .hostTSO4, .hostTSO6, .hostECN,
  ]

  /// The bits in force for an image that declares `declared`: segmentation only together with the checksum
  /// offload it needs (virtio 1.2, section 5.1.3.1), unknown bits dropped.
  public static func inForce(declared: UInt64) -> VifFeatures {
    var offloads = VifFeatures(rawValue: declared).intersection(.offloads)
    if !offloads.contains(.guestChecksum) { offloads.subtract([.guestTSO4, .guestTSO6, .guestECN]) }
    if !offloads.contains(.checksum) { offloads.subtract([.hostTSO4, .hostTSO6, .hostECN]) }
    return offloads.union(.always)
  }
}
