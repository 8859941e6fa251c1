import Backends
import DevicePages
import DomainBuilder
import ImageStore

/// All that a shell has fixed before it knows whose it will be. Two creates that ask for the same flavour can
/// take the same shell.
public struct Flavour: Hashable, Sendable {
  /// All of the guest's memory, windows and special pages included.
  public var memoryMiB: Int
  public var vcpus: Int
  /// Number of vifs, 0...15.
  public var vifs: Int
  /// Size of each vif's window.
  public var windowKiB: Int
  /// The image loaded ahead of time; nil for a blank shell.
  public var image: HotImage?

  /// What a hot shell has loaded.
  public struct HotImage: Hashable, Sendable {
    /// The kernel's digest; it decides the runtime ABI and the offloads too.
    public var kernel: ImageDigest
    public var ramdisk: ImageDigest?

    public init(kernel: ImageDigest, ramdisk: ImageDigest? = nil) {
      self.kernel = kernel
      self.ramdisk = ramdisk
    }
  }

  public static let defaultWindowKiB = 256

  public init(
    memoryMiB: Int, vcpus: Int, vifs: Int, windowKiB: Int = Self.defaultWindowKiB, image: HotImage? = nil
  ) {
    self.memoryMiB = memoryMiB
    self.vcpus = vcpus
    self.vifs = vifs
    self.windowKiB = windowKiB
    self.image = image
  }

  /// The same without an image.
  public var blank: Flavour {
    var copy = self
    copy.image = nil
    return copy
  }

  public var windowFrames: Int { windowKiB / 4 }
  /// 4 KiB pages the domain may own.
  public var pages: Int { memoryMiB * 256 }

  /// Pages the hypervisor keeps for the domain's page tables. Enough to map every 4 KiB page of its RAM by
  /// itself (a table maps 2 MiB, a table of tables 1 GiB), plus the fixed levels and the tables of the special
  /// region.
  public var pagingPoolPages: Int { pagingPoolPages(addedVifs: 0) }

  /// The same with the tables of windows beyond the flavour's.
  func pagingPoolPages(addedVifs: Int) -> Int {
    48 + memoryMiB / 2 + memoryMiB / 1024 + vifs + addedVifs + 4 * vcpus
  }

  /// A vif of the flavour's window size, as the back-end is told of it.
  func vif(slot: Int, features: VifFeatures) -> ControlProtocol.Vif {
    ControlProtocol.Vif(slot: UInt8(slot), windowFrames: UInt32(windowFrames), features: features.rawValue)
  }

  /// Nil when the windows leave no room for RAM.
  public var memoryPlan: MemoryPlan? { MemoryPlan(pages: pages, vifs: vifs, windowFrames: windowFrames) }

  /// What the host gives up for one such domain, in pages: its own, its page tables, and what the hypervisor
  /// allocates for a domain and each vCPU (about 0.2 MiB, rounded up).
  public var hostPages: Int { pages + pagingPoolPages + 64 + 16 * vcpus }
}

/// How many shells of a flavour to keep.
public struct Watermarks: Equatable, Sendable {
  /// Refilling starts when fewer are ready.
  public var low: Int
  /// Refilling stops at this many.
  public var high: Int

  public init(low: Int, high: Int) {
    self.low = low
    self.high = high
  }
}
