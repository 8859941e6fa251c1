import DevicePages
import Xen

/// How a guest's memory is laid out: RAM from 0, split around the special region when there is more than
/// 3.5 GiB of it, and above the region's frames.
public struct MemoryPlan: Equatable, Sendable {
  /// RAM in guest-physical bytes; one range, or two for large guests.
  public let ram: [Range<UInt64>]

  /// - Parameters:
  ///   - pages: all 4 KiB pages the guest may own.
  ///   - windowFrames: frames of each vif's window.
  /// - Returns: nil when nothing is left for RAM.
  public init?(pages: Int, vifs: Int, windowFrames: Int) {
    let special = Slots.specialFrameCount + vifs * windowFrames
    guard pages > special else { return nil }
    let bytes = UInt64(pages - special) << 12
    let hole = Slots.specialRegion
    if bytes <= hole.lowerBound {
      ram = [0..<bytes]
    } else {
      // Everything from the region to 4 GiB stays free of RAM: the local APIC is there too.
      let above: UInt64 = 1 << 32
      ram = [0..<hole.lowerBound, above..<above + bytes - hole.lowerBound]
    }
  }

  /// Extents of one order: a hypercall's worth.
  public struct Batch: Equatable, Sendable {
    /// Each extent is 2^order frames long.
    public let order: Int
    public let extents: [GuestFrame]
  }

  /// What to populate: as much as possible in 2 MiB pages, the rest in ever smaller extents, so that an odd
  /// size costs a handful of hypercalls.
  public var batches: [Batch] {
    var byOrder: [Int: [GuestFrame]] = [:]
    for range in ram {
      var frame = range.lowerBound >> 12
      let end = range.upperBound >> 12
      for order in [9, 6, 3, 0] {
        let size = UInt64(1) << UInt64(order)
        while end - frame >= size {
          byOrder[order, default: []].append(GuestFrame(rawValue: frame))
          frame += size
        }
      }
    }
    return byOrder.sorted { $0.key > $1.key }.flatMap { order, extents in
      stride(from: 0, to: extents.count, by: 512).map {
        Batch(order: order, extents: Array(extents[$0..<min($0 + 512, extents.count)]))
      }
    }
  }

  /// Whether a range of guest-physical bytes is RAM altogether.
  public func contains(_ range: Range<UInt64>) -> Bool {
    ram.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }
  }

  /// What a kernel gets that does not know the device page: the end of the RAM below the special region. Nil for
  /// images that speak the device page, and where there is no room.
  public func firmwareRegion(for kernel: KernelImage) -> FirmwareRegion? {
    guard kernel.runtime == nil, let low = ram.first, low.upperBound >= FirmwareRegion.size else { return nil }
    return FirmwareRegion(endingAt: low.upperBound)
  }

  /// The frame of the start info page for a kernel: the ABI's for images that speak the device page. Others get it
  /// in RAM right after the kernel, because Linux reads it through an early map of the first GiB only. Nil when
  /// there is no RAM left for it and the firmware region behind it.
  public func startInfoFrame(for kernel: KernelImage) -> UInt64? {
    if kernel.runtime != nil { return Slots.startInfoFrame }
    let frame = (kernel.end + 0xfff) >> 12
    guard let firmware = firmwareRegion(for: kernel), (frame + 1) << 12 <= firmware.range.lowerBound else {
      return nil
    }
    return frame
  }

  /// The lowest address a ramdisk may have beside a kernel.
  private func floor(above kernel: KernelImage) -> UInt64 {
    let frame = startInfoFrame(for: kernel) ?? 0
    return frame == Slots.startInfoFrame ? kernel.end : max(kernel.end, (frame + 1) << 12)
  }

  /// Where a ramdisk of `size` bytes goes: as high as possible in the RAM below the special region, on a page
  /// boundary and clear of the kernel and the firmware region, as Linux expects it. Nil when it does not fit.
  public func ramdiskAddress(size: UInt64, kernel: KernelImage) -> UInt64? {
    guard let top = firmwareRegion(for: kernel)?.range.lowerBound ?? ram.first?.upperBound, size <= top else {
      return nil
    }
    let address = (top - size) & ~0xfff
    return address >= floor(above: kernel) ? address : nil
  }
}
