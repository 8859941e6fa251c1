/// A PVH kernel as the ELF file describes it: what to load where, and where to start.
///
/// Values come from an untrusted file and are checked: every segment's file range lies in the file, every load
/// address range lies below 4 GiB, no two overlap, and the entry point lies in a segment.
public struct KernelImage: Equatable, Sendable {
  /// A PT_LOAD segment.
  public struct Segment: Equatable, Sendable {
    /// Guest-physical address, in bytes.
    public let address: UInt64
    public let fileOffset: Int
    /// Bytes taken from the file.
    public let fileSize: Int
    /// Bytes in memory; those beyond `fileSize` are zero.
    public let memorySize: UInt64

    public var range: Range<UInt64> { address..<address + memorySize }
  }

  /// What an image built for the device page says of itself (ELF note "chaos", docs/device-page.md).
  public struct Runtime: Hashable, Sendable {
    /// The device page version it speaks.
    public let abiVersion: UInt32
    /// virtio-net offload bits it can take.
    public let vifFeatures: UInt64
  }

  public let segments: [Segment]
  /// Guest-physical address of the first instruction (XEN_ELFNOTE_PHYS32_ENTRY).
  public let entry: UInt32
  /// Nil for a kernel that knows nothing of the device page.
  public let runtime: Runtime?

  /// The lowest address after every segment.
  public var end: UInt64 { segments.map(\.range.upperBound).max() ?? 0 }
}

/// Why a file is not a PVH kernel that can be loaded.
public enum KernelImageError: Error, Equatable, CustomStringConvertible {
  case notELF
  case unsupported(String)
  case malformed(String)
  case noPVHEntry
  /// It has notes for Xen, but none that says where a PVH guest starts.
  case paravirtual
  /// A Linux bzImage that the ELF file cannot be taken out of.
  case bzImage(String)
  /// The ELF file is packed, and does not come out.
  case unpacking(KernelPacking.Format, String)
  /// More bytes come out than are taken.
  case tooLarge(limit: Int)
  /// Not the image's fault.
  case unreadable(ImageReadError)

  public var description: String {
    switch self {
    case .notELF: "not an ELF file"
    case .unsupported(let what): "unsupported ELF file: \(what)"
    case .malformed(let what): "malformed ELF file: \(what)"
    case .unreadable(let error): error.description
    case .bzImage(let problem): "malformed bzImage: \(problem)"
    case .unpacking(let format, let problem): "cannot unpack \(format) data: \(problem)"
    case .tooLarge(let limit): "unpacks to more than \(limit >> 20) MiB"
    case .paravirtual: "a PV kernel, without an entry for PVH (no XEN_ELFNOTE_PHYS32_ENTRY note)"
    case .noPVHEntry: "ELF file without a PVH entry (no XEN_ELFNOTE_PHYS32_ENTRY note)"
    }
  }
}
