import Xen

/// A run of virtual addresses that shows a run of guest-physical ones. Bytes, in whole pages.
public struct VirtualMapping: Equatable, Sendable {
  public var virtual, physical, length: UInt64

  public init(virtual: UInt64, physical: UInt64, length: UInt64) {
    self.virtual = virtual
    self.physical = physical
    self.length = length
  }

  var isIdentity: Bool { virtual == physical }
}

/// The page tables of a vCPU in long mode (AMD64 manual, volume 2, chapter 5), which the guest made and which may hold
/// anything: tables that contain themselves, or name frames that are not there.
public struct PageTables: Sendable {
  /// Guest frame of the topmost.
  private let root: UInt64
  /// 4, or 5 with LA57.
  private let levels: Int

  /// Nil where the vCPU does not translate addresses, or not in long mode.
  public init?(_ vcpu: VCPUState) {
    let pagingAndLongMode = vcpu.cr0 & (1 << 31) != 0 && vcpu.efer & (1 << 10) != 0
    guard pagingAndLongMode else { return nil }
    root = (vcpu.cr3 & Self.addressBits) >> 12
    levels = vcpu.cr4 & (1 << 12) != 0 ? 5 : 4
  }

  private static let addressBits: UInt64 = 0x000f_ffff_ffff_f000

  /// What can be looked at: tables, and runs of addresses that come of it.
  public struct Limit: Sendable {
    public var tables = 32_768
    public var mappings = 1 << 20

    public init(tables: Int = 32_768, mappings: Int = 1 << 20) {
      self.tables = tables
      self.mappings = mappings
    }
  }

  /// What the tables map, in the order of virtual addresses, neighbours as one. Nil when that is more than the limit.
  ///
  /// - Parameter read: a guest frame's 4 KiB; nil where the guest has none.
  public func mappings<Failure>(
    limit: Limit = Limit(), read: (UInt64) throws(Failure) -> [UInt8]?
  ) throws(Failure) -> [VirtualMapping]? {
    var walk = Walk(limit: limit, tables: limit.tables)
    try walk.visit(root, level: levels, virtual: 0, read)
    guard walk.tables >= 0, walk.found.count <= limit.mappings else { return nil }
    let sign = UInt64(1) << UInt64(levels * 9 + 11)
    return walk.found.map { mapping in
      // Canonical: the bits above those that are translated are the highest of them.
      VirtualMapping(
        virtual: mapping.virtual & sign == 0 ? mapping.virtual : mapping.virtual | (0 &- (sign << 1)),
        physical: mapping.physical, length: mapping.length)
    }
  }

  private struct Walk {
    let limit: Limit
    /// That may yet be read; below 0: there were more.
    var tables: Int
    var found: [VirtualMapping] = []

    mutating func visit<Failure>(
      _ table: UInt64, level: Int, virtual: UInt64, _ read: (UInt64) throws(Failure) -> [UInt8]?
    ) throws(Failure) {
      tables -= 1
      guard tables >= 0, found.count <= limit.mappings, let bytes = try read(table) else { return }
      let size = UInt64(1) << UInt64(level * 9 + 3)
      for place in 0..<512 {
        let entry = UInt64(
          littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place * 8, as: UInt64.self) })
        guard entry & 1 != 0 else { continue }
        let address = virtual | UInt64(place) * size
        let isPage = level == 1 || (level <= 3 && entry & (1 << 7) != 0)
        if isPage {
          add(
            VirtualMapping(virtual: address, physical: entry & PageTables.addressBits & ~(size - 1), length: size))
        } else {
          try visit((entry & PageTables.addressBits) >> 12, level: level - 1, virtual: address, read)
        }
      }
    }

    private mutating func add(_ mapping: VirtualMapping) {
      if let last = found.last, last.virtual + last.length == mapping.virtual,
        last.physical + last.length == mapping.physical
      {
        found[found.count - 1].length += mapping.length
      } else {
        found.append(mapping)
      }
    }
  }
}
