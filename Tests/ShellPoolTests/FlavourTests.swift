import DevicePages
import ImageStore
import Testing

@testable import ShellPool

@Suite struct FlavourTests {
  private let digest = ImageDigest(String(repeating: "0a", count: 32))!

  @Test func pagesAndFramesAre4KiB() {
    let flavour = Flavour(memoryMiB: 8, vcpus: 1, vifs: 2)
    #expect(flavour.windowKiB == 256)
    #expect(flavour.windowFrames == 64)
    #expect(flavour.pages == 2048)
  }

  /// Memory, vCPUs, vifs; paging pool and all the host gives up, in pages.
  @Test(arguments: [
    (1, 1, 0, 52, 388),
    (8, 1, 1, 57, 2185),
    (8, 4, 15, 83, 2259),
    (4096, 2, 1, 2109, 1_050_781),
  ])
  func theHostGivesUpMoreThanTheGuestGets(memory: Int, vcpus: Int, vifs: Int, paging: Int, host: Int) {
    let flavour = Flavour(memoryMiB: memory, vcpus: vcpus, vifs: vifs)
    #expect(flavour.pagingPoolPages == paging)
    #expect(flavour.hostPages == host)
  }

  /// A page table maps 512 pages; the pool must map all RAM in 4 KiB pages and every window besides.
  @Test(arguments: [1, 8, 64, 1024, 65536], [0, 1, 15])
  func thePagingPoolMapsEveryPage(memory: Int, vifs: Int) {
    let flavour = Flavour(memoryMiB: memory, vcpus: 1, vifs: vifs)
    let leaves = (flavour.pages + 511) / 512 + vifs + 1
    let upper = (leaves + 511) / 512 + 3
    #expect(flavour.pagingPoolPages >= leaves + upper)
  }

  @Test func thePlanLeavesTheWindowsOut() throws {
    let plan = try #require(Flavour(memoryMiB: 8, vcpus: 1, vifs: 2).memoryPlan)
    #expect(plan.ram == [0..<UInt64(2048 - 2 * 64 - Slots.specialFrameCount) << 12])
    #expect(Flavour(memoryMiB: 1, vcpus: 1, vifs: 4).memoryPlan == nil)
    #expect(Flavour(memoryMiB: 16, vcpus: 1, vifs: 1, windowKiB: 16384).memoryPlan == nil)
  }

  @Test func aBlankFlavourHasNoImage() {
    let hot = Flavour(memoryMiB: 8, vcpus: 1, vifs: 1, image: Flavour.HotImage(kernel: digest, ramdisk: digest))
    #expect(hot != hot.blank)
    #expect(hot.blank == Flavour(memoryMiB: 8, vcpus: 1, vifs: 1))
    #expect(hot.blank.blank == hot.blank)
  }
}
