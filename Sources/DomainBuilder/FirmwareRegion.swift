/// What a kernel that does not know the device page has at the end of its RAM below 4 GiB: a page table for processors
/// that cannot run a guest without paging, then the ACPI tables.
public struct FirmwareRegion: Equatable, Sendable {
  /// In bytes.
  public static let size = pageSize + ACPITables.regionSize
  private static let pageSize: UInt64 = 0x1000

  /// All of it, in guest-physical bytes.
  public let range: Range<UInt64>

  /// - Parameter end: a page's guest-physical address, not less than ``size``.
  public init(endingAt end: UInt64) { range = end - Self.size..<end }

  /// The page that HVM_PARAM_IDENT_PT names. Xen reads it as long as the guest runs.
  public var identityPageTable: Range<UInt64> { range.lowerBound..<range.lowerBound + Self.pageSize }
  public var acpi: Range<UInt64> { identityPageTable.upperBound..<range.upperBound }

  /// A page directory without PAE that maps each of the 1,024 superpages of 4 MiB onto itself: present, writable,
  /// for user mode too, accessed, dirty, 4 MiB (Intel SDM volume 3, 4.3), as libxl lays it (Xen,
  /// tools/libs/guest/xg_dom_x86.c).
  public static var identityPageTableBytes: [UInt8] {
    (UInt32(0)..<1024).flatMap { number in
      withUnsafeBytes(of: (number << 22 | 0xe7).littleEndian) { Array($0) }
    }
  }
}
