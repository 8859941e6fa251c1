import Testing

@testable import Xen

struct CPUPolicyTests {
  private static func vendor(_ ebx: UInt32, _ edx: UInt32, _ ecx: UInt32) -> CPUPolicy.Leaf {
    CPUPolicy.Leaf(0, eax: 0xd, ebx: ebx, ecx: ecx, edx: edx)
  }
  private let intel = vendor(0x756e_6547, 0x4965_6e69, 0x6c65_746e)
  private let amd = vendor(0x6874_7541, 0x6974_6e65, 0x444d_4163)

  @Test(arguments: [(0, 2), (1, 2), (8, 16), (0x7f, 0xfe), (0x80, 0x80), (0xff, 0xff)])
  func aPackageHasTwiceAsManyIDs(count: UInt32, doubled: UInt32) {
    let leaf = CPUPolicy.Leaf(1, eax: 7, ebx: 0xab00_0800 | count << 16, ecx: 5, edx: 1)
    #expect(
      CPUPolicy(leaves: [intel, leaf]).withoutThreads.leaves == [
        CPUPolicy.Leaf(1, eax: 7, ebx: 0xab00_0800 | doubled << 16, ecx: 5, edx: 1 | 1 << 28)
      ])
  }

  @Test func cachesOfIntelAreSharedByNoThreads() {
    let caches = [
      // Level 1 data: one package of 8 cores, 2 threads share it.
      CPUPolicy.Leaf(4, subleaf: 0, eax: 7 << 26 | 1 << 14 | 0x121, ebx: 1, ecx: 2, edx: 3),
      CPUPolicy.Leaf(4, subleaf: 1, eax: 63 << 26 | 0x122, ebx: 1, ecx: 2, edx: 3),
      CPUPolicy.Leaf(4, subleaf: 2, eax: 0, ebx: 0, ecx: 0, edx: 0),
    ]
    #expect(
      CPUPolicy(leaves: [intel] + caches).withoutThreads.leaves == [
        CPUPolicy.Leaf(4, subleaf: 0, eax: 15 << 26 | 0x121, ebx: 1, ecx: 2, edx: 3)
      ])
    #expect(CPUPolicy(leaves: [amd] + caches).withoutThreads.leaves.isEmpty)
  }

  @Test(arguments: [
    // Threads less one and bits of an ID, before and after.
    (UInt32(0), UInt32(0), UInt32(1), UInt32(0)), (7, 3, 15, 4), (15, 7, 31, 7), (0x7f, 6, 0x7f, 6),
  ])
  func idsOfAMDGrow(threads: UInt32, bits: UInt32, after: UInt32, bitsAfter: UInt32) {
    let size = CPUPolicy.Leaf(0x8000_0008, eax: 1, ebx: 2, ecx: 0xf_0f00 | bits << 12 | threads, edx: 4)
    let wanted = CPUPolicy.Leaf(0x8000_0008, eax: 1, ebx: 2, ecx: 0xf_0f00 | bitsAfter << 12 | after, edx: 4)
    #expect(CPUPolicy(leaves: [amd, size]).withoutThreads.leaves == (size == wanted ? [] : [wanted]))
    #expect(CPUPolicy(leaves: [intel, size]).withoutThreads.leaves.isEmpty)
  }

  @Test func nothingTiesAGuestToItsHost() {
    let leaves = [
      CPUPolicy.Leaf(0x8000_0001, eax: 0, ebx: 0, ecx: 0b111, edx: 9),
      CPUPolicy.Leaf(0x8000_0007, eax: 0, ebx: 0, ecx: 0, edx: 0x1ff),
      CPUPolicy.Leaf(7, subleaf: 0, eax: 1, ebx: 1, ecx: 1, edx: 1),
    ]
    #expect(
      CPUPolicy(leaves: [amd] + leaves).withoutThreads.leaves == [
        CPUPolicy.Leaf(0x8000_0001, eax: 0, ebx: 0, ecx: 0b101, edx: 9),
        CPUPolicy.Leaf(0x8000_0007, eax: 0, ebx: 0, ecx: 0, edx: 0xff),
      ])
  }
}
