import DevicePages

/// The PVH start info page: hvm_start_info version 1 with its module list, memory map and command line, all in
/// one frame (xen/arch-x86/hvm/start_info.h).
public struct StartInfo: Equatable, Sendable {
  public var commandLine: String
  /// The ramdisk in guest-physical bytes.
  public var ramdisk: Range<UInt64>?
  public var map: MemoryMap
  /// Guest-physical address of the RSDP; nil for a guest without ACPI.
  public var rsdp: UInt64?
  /// Where the page is: the ABI's frame for images that know it, RAM for kernels that do not.
  public var frame: UInt64

  /// - Parameters:
  ///   - frame: guest frame number of the page; ``MemoryPlan/startInfoFrame(for:)``.
  ///   - firmware: where the ACPI tables are; ``MemoryPlan/firmwareRegion(for:)``.
  public init(
    plan: MemoryPlan, commandLine: String, ramdisk: Range<UInt64>?, frame: UInt64 = Slots.startInfoFrame,
    firmware: FirmwareRegion? = nil
  ) {
    self.frame = frame
    self.commandLine = commandLine
    self.ramdisk = ramdisk
    map = plan.memoryMap(firmware: firmware)
    rsdp = firmware?.acpi.lowerBound
  }

  private enum Offset {
    static let modules = 64
    static let map = 128
    /// The command line has the page's second half to itself: hot shells rewrite it alone.
    static let commandLine = 2048
  }

  /// The page's 4,096 bytes.
  public func encoded() -> [UInt8] {
    let base = frame << 12
    var page = [UInt8](repeating: 0, count: 4096)
    func put(_ value: some FixedWidthInteger, _ offset: Int) {
      withUnsafeBytes(of: value.littleEndian) { raw in
        for (index, byte) in raw.enumerated() { page[offset + index] = byte }
      }
    }
    put(UInt32(0x336e_c578), 0)  // XEN_HVM_START_MAGIC_VALUE
    put(UInt32(1), 4)  // version
    put(UInt32(ramdisk == nil ? 0 : 1), 12)  // nr_modules
    put(ramdisk == nil ? UInt64(0) : base + UInt64(Offset.modules), 16)
    put(base + UInt64(Offset.commandLine), 24)
    put(rsdp ?? 0, 32)  // rsdp_paddr
    put(base + UInt64(Offset.map), 40)
    put(UInt32(map.entries.count), 48)
    if let ramdisk {
      put(ramdisk.lowerBound, Offset.modules)
      put(UInt64(ramdisk.count), Offset.modules + 8)
    }
    for (number, entry) in map.entries.enumerated() {
      put(entry.address, Offset.map + 24 * number)
      put(entry.length, Offset.map + 24 * number + 8)
      put(entry.kind.rawValue, Offset.map + 24 * number + 16)
    }
    let field = Self.commandLineField(commandLine)
    page.replaceSubrange(field.offset..<field.offset + field.bytes.count, with: field.bytes)
    return page
  }

  /// The NUL-terminated command line and its place in the page.
  public static func commandLineField(_ commandLine: String) -> (offset: Int, bytes: [UInt8]) {
    precondition(commandLine.utf8.count <= Slots.commandLineBytes)
    return (Offset.commandLine, Array(commandLine.utf8) + [0])
  }
}
