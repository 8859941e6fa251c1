import CXen

/// What CPUID tells a domain, or some of it (xen_cpuid_leaf_t, xen/include/public/arch-x86/xen.h). Which features it
/// has is Xen's own choice for the host; the topology is the toolstack's.
public struct CPUPolicy: Equatable, Sendable {
  public struct Leaf: Equatable, Sendable {
    /// %eax, and %ecx or nil for a leaf that has no subleaves.
    public let number: UInt32
    public let subleaf: UInt32?
    public var eax, ebx, ecx, edx: UInt32

    public init(_ number: UInt32, subleaf: UInt32? = nil, eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
      self.number = number
      self.subleaf = subleaf
      self.eax = eax
      self.ebx = ebx
      self.ecx = ecx
      self.edx = edx
    }
  }

  public let leaves: [Leaf]

  public init(leaves: [Leaf]) { self.leaves = leaves }

  private func leaf(_ number: UInt32) -> Leaf? { leaves.first { $0.number == number } }

  /// The leaves that change when each vCPU is to be a core without threads, with APIC ID 2 n for vCPU n as Xen has it,
  /// and no feature that ties the guest to this host. It is what libxl does to Xen's default policy (Xen,
  /// tools/libs/guest/xg_cpuid_x86.c, xc_cpuid_apply_policy).
  public var withoutThreads: CPUPolicy {
    let vendor = leaf(0).map { [$0.ebx, $0.edx, $0.ecx] }
    var changed: [Leaf] = []
    for var leaf in leaves {
      let before = leaf
      switch leaf.number {
      case 1: leaf.doubleLogicalProcessors()
      case 4 where vendor == Self.intel: leaf.doubleCores()
      case 0x8000_0001 where vendor != nil: leaf.ecx &= ~Bits.legacyMultiprocessing
      case 0x8000_0007: leaf.edx &= ~Bits.invariantTSC
      case 0x8000_0008 where vendor == Self.amd || vendor == Self.hygon: leaf.doubleIDs()
      default: continue
      }
      if leaf != before { changed.append(leaf) }
    }
    return CPUPolicy(leaves: changed)
  }

  /// What leaf 0 has in %ebx, %edx, %ecx.
  private static let intel = words("GenuineIntel")
  private static let amd = words("AuthenticAMD")
  private static let hygon = words("HygonGenuine")

  private static func words(_ vendor: StaticString) -> [UInt32] {
    vendor.withUTF8Buffer { text in
      (0..<3).map { word in (0..<4).reduce(0) { $0 | UInt32(text[4 * word + $1]) << (8 * UInt32($1)) } }
    }
  }

  fileprivate enum Bits {
    /// HTT, leaf 1 %edx: the count of logical processors is valid.
    static let multithreading: UInt32 = 1 << 28
    /// CmpLegacy, leaf 0x80000001 %ecx.
    static let legacyMultiprocessing: UInt32 = 1 << 1
    /// Leaf 0x80000007 %edx. A guest with it could go to no host of another frequency.
    static let invariantTSC: UInt32 = 1 << 8
  }
}

extension CPUPolicy.Leaf {
  /// Leaf 1: %ebx[23:16] is how many APIC IDs a package has.
  fileprivate mutating func doubleLogicalProcessors() {
    edx |= CPUPolicy.Bits.multithreading
    let count = ebx >> 16 & 0xff
    let doubled = count == 0 ? 2 : count & 0x80 == 0 ? 2 * count : count
    ebx = ebx & ~0x00ff_0000 | doubled << 16
  }

  /// Intel's leaf 4, a cache each: %eax[31:26] is the cores of a package less one, %eax[25:14] the threads that share
  /// the cache less one, %eax[4:0] the cache's kind or 0.
  fileprivate mutating func doubleCores() {
    guard eax & 0x1f != 0 else { return }
    let cores = ((eax >> 26) << 1 | 1) & 0x3f
    eax = (eax & 0x3fff) | (cores << 26)
  }

  /// AMD's leaf 0x80000008: %ecx[7:0] is the threads of a package less one, %ecx[15:12] the bits of an APIC ID that
  /// number them, or 0. More than 7 of these some systems do not take.
  fileprivate mutating func doubleIDs() {
    let threads = ecx & 0xff
    let bits = ecx >> 12 & 0xf
    guard threads < 0x7f else { return }
    let wider = bits != 0 && bits < 7 ? bits + 1 : bits
    ecx = ecx & ~0xf0ff | wider << 12 | threads << 1 | 1
  }
}

extension CPUPolicy.Leaf {
  init(_ raw: cxen_cpuid_leaf) {
    self.init(
      raw.leaf, subleaf: raw.subleaf == cxen_no_subleaf ? nil : raw.subleaf, eax: raw.a, ebx: raw.b, ecx: raw.c,
      edx: raw.d)
  }

  var raw: cxen_cpuid_leaf {
    cxen_cpuid_leaf(leaf: number, subleaf: subleaf ?? cxen_no_subleaf, a: eax, b: ebx, c: ecx, d: edx)
  }
}
