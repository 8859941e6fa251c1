import DevicePages

/// A guest's memory map: what `hvm_start_info` points at and XENMEM_set_memory_map takes. The numbers of both are those
/// of E820 (xen/arch-x86/hvm/start_info.h, xen/hvm/e820.h).
public struct MemoryMap: Equatable, Sendable {
  public enum Kind: UInt32, Sendable {
    case ram = 1  // XEN_HVM_MEMMAP_TYPE_RAM
    case reserved = 2  // XEN_HVM_MEMMAP_TYPE_RESERVED
    case acpi = 3  // XEN_HVM_MEMMAP_TYPE_ACPI: RAM again once the tables have been read
  }

  public struct Entry: Equatable, Sendable {
    /// Guest-physical bytes.
    public let range: Range<UInt64>
    public let kind: Kind

    /// Guest-physical, in bytes.
    public var address: UInt64 { range.lowerBound }
    /// In bytes.
    public var length: UInt64 { range.upperBound - range.lowerBound }
  }

  /// By address, none of them empty and no two overlapping.
  public let entries: [Entry]
}

extension MemoryPlan {
  /// The memory map of a guest that runs a kernel, as libxl lays it (libxl_x86.c, domain_construct_memmap): RAM from 0,
  /// the firmware region, the special pages, the rest of the RAM from 4 GiB on. The special pages are chaos's and lie in its
  /// special region, all of which is reserved; a kernel that knows them by the device page gets none of the firmware region.
  ///
  /// - Parameter firmware: the end of the lower RAM, or nothing of it; ``firmwareRegion(for:)``.
  func memoryMap(firmware: FirmwareRegion?) -> MemoryMap {
    var entries = [MemoryMap.Entry(range: Slots.specialRegion, kind: .reserved)]
    for var range in ram {
      if let taken = firmware?.range, taken.upperBound == range.upperBound {
        range = range.lowerBound..<taken.lowerBound
      }
      if !range.isEmpty { entries.append(MemoryMap.Entry(range: range, kind: .ram)) }
    }
    if let firmware {
      entries.append(MemoryMap.Entry(range: firmware.identityPageTable, kind: .reserved))
      entries.append(MemoryMap.Entry(range: firmware.acpi, kind: .acpi))
    }
    return MemoryMap(entries: entries.sorted { $0.address < $1.address })
  }
}
