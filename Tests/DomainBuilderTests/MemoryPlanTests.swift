import DevicePages
import Testing
import Xen

@testable import DomainBuilder

@Suite struct MemoryPlanTests {
  private static func plan(_ mebibytes: Int, vifs: Int = 0, windowKiB: Int = 256) -> MemoryPlan? {
    MemoryPlan(pages: mebibytes * 256, vifs: vifs, windowFrames: windowKiB / 4)
  }

  /// Whether the extents of a plan are the plan's RAM, each frame once and each extent aligned to its size.
  private func coversItsRAM(_ plan: MemoryPlan) -> Bool {
    var extents: [Range<UInt64>] = []
    for batch in plan.batches {
      let size = UInt64(1) << UInt64(batch.order)
      guard batch.extents.count <= 512, !batch.extents.isEmpty else { return false }
      for frame in batch.extents {
        guard frame.rawValue % size == 0 else { return false }
        extents.append(frame.rawValue..<frame.rawValue + size)
      }
    }
    extents.sort { $0.lowerBound < $1.lowerBound }
    var joined: [Range<UInt64>] = []
    for extent in extents {
      if let last = joined.last, last.upperBound == extent.lowerBound {
        joined[joined.count - 1] = last.lowerBound..<extent.upperBound
      } else {
        guard joined.last.map({ $0.upperBound < extent.lowerBound }) ?? true else { return false }
        joined.append(extent)
      }
    }
    return joined == plan.ram.map { $0.lowerBound >> 12..<$0.upperBound >> 12 }
  }

  @Test(arguments: [(1, 0), (2, 0), (3, 1), (8, 1), (8, 15), (64, 2), (4096, 1), (5000, 3), (100_000, 15)])
  func ramAndWindowsAndSpecialPagesAreAllTheGuestOwns(mebibytes: Int, vifs: Int) throws {
    let plan = try #require(Self.plan(mebibytes, vifs: vifs))
    let ram = plan.ram.reduce(0) { $0 + $1.count } >> 12
    #expect(ram + vifs * 64 + Slots.specialFrameCount == mebibytes * 256)
    #expect(plan.ram.allSatisfy { !$0.overlaps(Slots.specialRegion) })
    #expect(coversItsRAM(plan))
  }

  @Test func aMiBIsSmallExtents() throws {
    let plan = try #require(Self.plan(1))
    #expect(plan.ram == [0..<0xf_c000])
    #expect(plan.batches.map(\.order) == [6, 3, 0])
    #expect(
      plan.batches.map { $0.extents.map(\.rawValue) }
        == [[0, 64, 128], [192, 200, 208, 216, 224, 232, 240], [248, 249, 250, 251]])
  }

  @Test func threeMiBWithAWindowKeepA2MiBPage() throws {
    let plan = try #require(Self.plan(3, vifs: 1))
    #expect(plan.ram == [0..<0x2b_c000])
    #expect(plan.batches.map(\.order) == [9, 6, 3, 0])
    #expect(plan.batches[0].extents == [GuestFrame(rawValue: 0)])
  }

  @Test func extentsComeInHypercallsOf512() throws {
    let plan = try #require(Self.plan(4096))
    #expect(plan.batches.filter { $0.order == 9 }.map { $0.extents.count } == [512, 512, 512, 511])
  }

  @Test func ramIsSplitAroundTheRegion() throws {
    let plan = try #require(Self.plan(5000))
    let hole = Slots.specialRegion.lowerBound
    #expect(plan.ram == [0..<hole, 1 << 32..<(1 << 32) + (5000 << 20) - 0x4000 - hole])
    #expect(plan.contains(0..<hole) && !plan.contains(hole - 1..<hole + 1))
    #expect(plan.contains(1 << 32..<(1 << 32) + 1) && !plan.contains(hole..<1 << 32))
    // 3.5 GiB to the page is the most that stays in one piece.
    let largest = try #require(MemoryPlan(pages: 0xe0000 + 4, vifs: 0, windowFrames: 0))
    #expect(largest.ram == [0..<hole])
    let larger = try #require(MemoryPlan(pages: 0xe0000 + 5, vifs: 0, windowFrames: 0))
    #expect(larger.ram == [0..<hole, 1 << 32..<(1 << 32) + 4096])
    #expect(coversItsRAM(larger))
  }

  @Test func windowsMustLeaveRoomForRAM() {
    #expect(Self.plan(3, vifs: 15) == nil)
    #expect(Self.plan(1, vifs: 1, windowKiB: 1024) == nil)
    #expect(MemoryPlan(pages: 4, vifs: 0, windowFrames: 64) == nil)
    #expect(MemoryPlan(pages: 5, vifs: 0, windowFrames: 64)?.ram == [0..<4096])
    #expect(MemoryPlan(pages: 0, vifs: 0, windowFrames: 64) == nil)
  }

  /// A kernel that ends at `end`; one that speaks the device page finds its start info at the ABI's frame.
  private func kernel(end: UInt64, speaksDevicePage: Bool = true) -> KernelImage {
    KernelImage(
      segments: [.init(address: 0, fileOffset: 0, fileSize: 0, memorySize: end)], entry: 0,
      runtime: speaksDevicePage ? .init(abiVersion: 1, vifFeatures: 0) : nil)
  }

  @Test func theRamdiskGoesAsHighAsItCan() throws {
    let plan = try #require(Self.plan(8))
    let top: UInt64 = 0x80_0000 - 0x4000
    let small = kernel(end: 0x20_0000)
    #expect(plan.ramdiskAddress(size: 1, kernel: small) == top - 0x1000)
    #expect(plan.ramdiskAddress(size: 0x1000, kernel: small) == top - 0x1000)
    #expect(plan.ramdiskAddress(size: 0x1001, kernel: small) == top - 0x2000)
    #expect(plan.ramdiskAddress(size: 0x1000, kernel: kernel(end: top - 0x1000)) == top - 0x1000)
    #expect(plan.ramdiskAddress(size: 0x1000, kernel: kernel(end: top - 0xfff)) == nil)
    #expect(plan.ramdiskAddress(size: top, kernel: kernel(end: 0)) == 0)
    #expect(plan.ramdiskAddress(size: top + 1, kernel: kernel(end: 0)) == nil)
    #expect(plan.ramdiskAddress(size: .max, kernel: kernel(end: 0)) == nil)
    // Below the region even when there is RAM above it.
    #expect(try #require(Self.plan(5000)).ramdiskAddress(size: 0x1000, kernel: small) == 0xdfff_f000)
  }

  @Test func kernelsThatDoNotKnowTheRegionFindTheStartInfoInRAM() throws {
    let plan = try #require(Self.plan(8))
    let top: UInt64 = 0x80_0000 - 0x4000
    #expect(plan.startInfoFrame(for: kernel(end: 0x20_0001)) == Slots.startInfoFrame)
    #expect(plan.startInfoFrame(for: kernel(end: 0x20_0001, speaksDevicePage: false)) == 0x201)
    #expect(plan.startInfoFrame(for: kernel(end: 0x20_0000, speaksDevicePage: false)) == 0x200)
    // Between the kernel and the firmware region.
    let firmware = top - FirmwareRegion.size
    #expect(plan.startInfoFrame(for: kernel(end: firmware - 0x1000, speaksDevicePage: false)) == firmware >> 12 - 1)
    for end in [firmware - 0xfff, firmware, top, top + 0x4000, 1 << 32] {
      #expect(plan.startInfoFrame(for: kernel(end: end, speaksDevicePage: false)) == nil)
    }
    // The ramdisk stays clear of both.
    let tight = kernel(end: firmware - 0x2000, speaksDevicePage: false)
    #expect(plan.ramdiskAddress(size: 0x1000, kernel: tight) == firmware - 0x1000)
    #expect(plan.ramdiskAddress(size: 0x1001, kernel: tight) == nil)
    let info = StartInfo(plan: plan, commandLine: "x", ramdisk: nil, frame: 0x201).encoded()
    #expect(Array(info[24..<32]) == [0x00, 0x18, 0x20, 0, 0, 0, 0, 0], "the command line is in the same page")
  }
}

@Suite struct MemoryMapTests {
  private func kernel(speaksDevicePage: Bool) -> KernelImage {
    KernelImage(
      segments: [.init(address: 0, fileOffset: 0, fileSize: 0, memorySize: 0x1000)], entry: 0,
      runtime: speaksDevicePage ? .init(abiVersion: 1, vifFeatures: 0) : nil)
  }

  private func entries(mebibytes: Int, speaksDevicePage: Bool) throws -> [String] {
    let plan = try #require(MemoryPlan(pages: mebibytes * 256, vifs: 0, windowFrames: 0))
    return plan.memoryMap(firmware: plan.firmwareRegion(for: kernel(speaksDevicePage: speaksDevicePage))).entries
      .map {
        "\(String($0.address, radix: 16))+\(String($0.length, radix: 16)) \($0.kind)"
      }
  }

  @Test func aKernelOfItsOwnHasACPITablesAtTheEndOfLowRAM() throws {
    #expect(
      try entries(mebibytes: 8, speaksDevicePage: false)
        == ["0+7f9000 ram", "7f9000+1000 reserved", "7fa000+2000 acpi", "e0000000+10000000 reserved"])
    #expect(
      try entries(mebibytes: 5000, speaksDevicePage: false)
        == [
          "0+dfffd000 ram", "dfffd000+1000 reserved", "dfffe000+2000 acpi", "e0000000+10000000 reserved",
          "100000000+587fc000 ram",
        ])
  }

  @Test func anImageThatSpeaksTheDevicePageHasNone() throws {
    #expect(
      try entries(mebibytes: 8, speaksDevicePage: true) == ["0+7fc000 ram", "e0000000+10000000 reserved"])
    #expect(
      try entries(mebibytes: 5000, speaksDevicePage: true)
        == ["0+e0000000 ram", "e0000000+10000000 reserved", "100000000+587fc000 ram"])
    let plan = try #require(MemoryPlan(pages: 2048, vifs: 0, windowFrames: 0))
    #expect(plan.firmwareRegion(for: kernel(speaksDevicePage: true)) == nil)
  }

  @Test func theSmallestGuestIsTablesAltogether() throws {
    for (pages, region) in [(6, nil), (7, 0..<0x3000)] as [(Int, Range<UInt64>?)] {
      let plan = try #require(MemoryPlan(pages: pages, vifs: 0, windowFrames: 0))
      #expect(plan.firmwareRegion(for: kernel(speaksDevicePage: false))?.range == region)
      #expect(plan.startInfoFrame(for: kernel(speaksDevicePage: false)) == nil)
    }
    let plan = try #require(MemoryPlan(pages: 7, vifs: 0, windowFrames: 0))
    let map = plan.memoryMap(firmware: plan.firmwareRegion(for: kernel(speaksDevicePage: false)))
    #expect(map.entries.map(\.kind) == [.reserved, .acpi, .reserved])
  }
}

@Suite struct FirmwareRegionTests {
  @Test func thePageTableMapsEverySuperpageOntoItself() {
    let bytes = FirmwareRegion.identityPageTableBytes
    #expect(bytes.count == 4096)
    for number in [0, 1, 2, 896, 1023] {
      let entry = bytes[4 * number..<4 * number + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      #expect(entry == UInt32(number) << 22 | 0xe7)
    }
  }

  @Test func thePartsLieOneAfterAnother() {
    let region = FirmwareRegion(endingAt: 0x80_0000)
    #expect(region.range == 0x7f_d000..<0x80_0000)
    #expect(region.identityPageTable == 0x7f_d000..<0x7f_e000)
    #expect(region.acpi == 0x7f_e000..<0x80_0000)
  }
}

/// Offsets of xen/arch-x86/hvm/start_info.h.
@Suite struct StartInfoTests {
  private func page(_ parts: [(offset: Int, bytes: [UInt8])]) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: 4096)
    for (offset, bytes) in parts { page.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
    return page
  }

  @Test func anInfoWithARamdiskIsTheseBytes() throws {
    let plan = try #require(MemoryPlan(pages: 2048, vifs: 0, windowFrames: 0))
    let info = StartInfo(plan: plan, commandLine: "a=b", ramdisk: 0x70_0000..<0x70_1234)
    let expected = page([
      (
        0,
        [
          0x78, 0xc5, 0x6e, 0x33,  // XEN_HVM_START_MAGIC_VALUE
          0x01, 0, 0, 0,  // version
          0, 0, 0, 0,  // flags
          0x01, 0, 0, 0,  // nr_modules
          0x40, 0, 0, 0xe0, 0, 0, 0, 0,  // modlist_paddr
          0, 0x08, 0, 0xe0, 0, 0, 0, 0,  // cmdline_paddr
          0, 0, 0, 0, 0, 0, 0, 0,  // rsdp_paddr
          0x80, 0, 0, 0xe0, 0, 0, 0, 0,  // memmap_paddr
          0x02, 0, 0, 0, 0, 0, 0, 0,  // memmap_entries, reserved
        ]
      ),
      (
        64,  // hvm_modlist_entry: paddr, size, cmdline_paddr, reserved
        [0, 0, 0x70, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0]
      ),
      (
        128,  // hvm_memmap_table_entry: addr, size, type, reserved
        [
          0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
          0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        ]
      ),
      (2048, Array("a=b".utf8)),
    ])
    let encoded = info.encoded()
    #expect(encoded.count == 4096)
    #expect(encoded.indices.filter { encoded[$0] != expected[$0] } == [])
  }

  @Test func aKernelOfItsOwnIsToldOfTheACPITables() throws {
    let plan = try #require(MemoryPlan(pages: 2048, vifs: 0, windowFrames: 0))
    let info = StartInfo(
      plan: plan, commandLine: "", ramdisk: nil, frame: 0x201, firmware: FirmwareRegion(endingAt: 0x7f_c000))
    let encoded = info.encoded()
    #expect(Array(encoded[32..<40]) == [0, 0xa0, 0x7f, 0, 0, 0, 0, 0])
    #expect(encoded[48] == 4)
    #expect(Array(encoded[176..<200]) == little(UInt64(0x7f_a000)) + little(UInt64(0x2000)) + little(UInt64(3)))
  }

  @Test func aLargeGuestHasRAMOnBothSidesOfTheRegion() throws {
    let plan = try #require(MemoryPlan(pages: 5000 * 256, vifs: 0, windowFrames: 0))
    let info = StartInfo(plan: plan, commandLine: "", ramdisk: nil)
    #expect(info.map.entries.map(\.kind) == [.ram, .reserved, .ram])
    #expect(info.map.entries.map(\.address) == [0, 0xe000_0000, 1 << 32])
    let encoded = info.encoded()
    #expect(Array(encoded[12..<24]) == [UInt8](repeating: 0, count: 12))  // no modules, no list of them
    #expect(encoded[48] == 3)
  }

  @Test func theLongestCommandLineEndsWithNUL() throws {
    let plan = try #require(MemoryPlan(pages: 2048, vifs: 0, windowFrames: 0))
    let line = String(repeating: "x", count: Slots.commandLineBytes)
    let encoded = StartInfo(plan: plan, commandLine: line, ramdisk: nil).encoded()
    #expect(Array(encoded[2048..<3072]) == Array(line.utf8))
    #expect(encoded[3072] == 0)
    let field = StartInfo.commandLineField("hi")
    #expect(field.offset == 2048 && field.bytes == [0x68, 0x69, 0])
  }
}
