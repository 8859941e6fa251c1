import CDevicePage
import DevicePages
import Testing

@Suite struct SlotsTests {
  @Test func portsFollowTheSlots() {
    let ports = [Slots.consolePort, Slots.powerctlPort] + (0..<Slots.maxVifs).map(Slots.port(vif:))
    #expect(ports == Array(1...17))
    #expect(Slots.portCount == ports.count)
  }

  @Test func framesLieInTheSpecialRegionApartFromEachOther() {
    let special = [
      Slots.startInfoFrame, Slots.devicePageFrame, Slots.consoleFrame, Slots.powerctlFrame,
      Slots.sharedInfoFrame, Slots.grantTableFrame,
    ]
    #expect(Set(special).count == special.count)
    var ranges = special.map { $0..<$0 + 1 }
    let largest = UInt64(VifRings.windowKiB.upperBound / 4)
    ranges += (0..<Slots.maxVifs).map { Slots.windowFrame(vif: $0)..<Slots.windowFrame(vif: $0) + largest }
    ranges.sort { $0.lowerBound < $1.lowerBound }
    for (lower, upper) in zip(ranges, ranges.dropFirst()) { #expect(lower.upperBound <= upper.lowerBound) }
    #expect(ranges[0].lowerBound << 12 >= Slots.specialRegion.lowerBound)
    #expect(ranges[ranges.count - 1].upperBound << 12 <= Slots.specialRegion.upperBound)
    #expect(Slots.specialRegion.upperBound <= 1 << 32)
  }
}

@Suite struct VifRingsTests {
  /// Byte ranges of the six parts and of the buffers, as virtio 1.2 section 2.7 sizes them.
  private func parts(_ rings: VifRings, window: UInt32) -> [(range: Range<UInt32>, alignment: UInt32)] {
    let receive = UInt32(rings.receiveSize)
    let transmit = UInt32(rings.transmitSize)
    return [
      (rings.receiveDescriptors..<rings.receiveDescriptors + 16 * receive, 16),
      (rings.receiveAvailable..<rings.receiveAvailable + 6 + 2 * receive, 2),
      (rings.receiveUsed..<rings.receiveUsed + 6 + 8 * receive, 4),
      (rings.transmitDescriptors..<rings.transmitDescriptors + 16 * transmit, 16),
      (rings.transmitAvailable..<rings.transmitAvailable + 6 + 2 * transmit, 2),
      (rings.transmitUsed..<rings.transmitUsed + 6 + 8 * transmit, 4),
      (rings.buffers..<window, 1),
    ]
  }

  @Test func everyWindowHoldsItsRingsApartAndAligned() {
    for kibibytes in stride(from: 64, through: 16384, by: 4) {
      let rings = VifRings(windowFrames: kibibytes / 4)
      let window = UInt32(kibibytes) << 10
      let parts = parts(rings, window: window)
      let isSound =
        zip(parts, parts.dropFirst()).allSatisfy { $0.range.upperBound <= $1.range.lowerBound }
        && parts.allSatisfy { $0.range.lowerBound % $0.alignment == 0 && $0.range.upperBound <= window }
        && rings.receiveSize.nonzeroBitCount == 1 && rings.transmitSize.nonzeroBitCount == 1
      #expect(isSound, "\(kibibytes) KiB: \(rings)")
      // A packet of a 1,500-byte MTU for every entry of the queues would be best; half the window must do.
      #expect(rings.buffers <= window / 2, "\(kibibytes) KiB: \(rings)")
    }
  }

  @Test(arguments: [(64, 64), (124, 64), (128, 128), (252, 128), (256, 256), (16384, 256)])
  func queuesGrowWithTheWindow(kibibytes: Int, entries: UInt16) {
    let rings = VifRings(windowFrames: kibibytes / 4)
    #expect(rings.receiveSize == entries && rings.transmitSize == entries)
  }

  /// Guests restored from a snapshot find their rings where they were: the usual layout does not move.
  @Test func theUsualWindowIsLaidOutSo() {
    #expect(
      VifRings(windowFrames: 64)
        == VifRings(
          receiveSize: 256, transmitSize: 256, receiveDescriptors: 0, receiveAvailable: 0x1000,
          receiveUsed: 0x1240, transmitDescriptors: 0x2000, transmitAvailable: 0x3000, transmitUsed: 0x3240,
          buffers: 0x4000))
  }
}

@Suite struct VifFeaturesTests {
  private let always: UInt64 = 1 << 32 | 1 << 29 | 1 << 15

  @Test func ringFeaturesAreAlwaysInForce() {
    #expect(VifFeatures.inForce(declared: 0).rawValue == always)
    #expect(VifFeatures.inForce(declared: .max) == VifFeatures.always.union(.offloads))
  }

  @Test func unknownBitsAreDropped() {
    // VIRTIO_NET_F_MAC, _CTRL_VQ, _MQ and VIRTIO_F_RING_PACKED would change the rings or need a control queue.
    #expect(VifFeatures.inForce(declared: 1 << 5 | 1 << 17 | 1 << 22 | 1 << 34).rawValue == always)
  }

  private static let segmentation: [(declared: VifFeatures, offloads: VifFeatures)] = [
    ([.guestTSO4, .guestTSO6, .guestECN], []),
    ([.hostTSO4, .hostTSO6, .hostECN], []),
    ([.guestChecksum, .guestTSO4, .hostTSO4], [.guestChecksum, .guestTSO4]),
    ([.checksum, .guestTSO4, .hostTSO4], [.checksum, .hostTSO4]),
    ([.checksum, .guestChecksum, .guestTSO6, .hostTSO6], [.checksum, .guestChecksum, .guestTSO6, .hostTSO6]),
  ]

  @Test(arguments: segmentation)
  func segmentationNeedsTheChecksumOffload(declared: VifFeatures, offloads: VifFeatures) {
    #expect(VifFeatures.inForce(declared: declared.rawValue) == offloads.union(.always))
  }

  @Test func featuresHaveVirtiosNumbers() {
    let bits: [VifFeatures] = [
      .checksum, .guestChecksum, .guestTSO4, .guestTSO6, .guestECN, .hostTSO4, .hostTSO6, .hostECN,
      .mergeableBuffers, .eventIndex, .version1,
    ]
    #expect(bits.map(\.rawValue.trailingZeroBitCount) == [0, 1, 7, 8, 9, 11, 12, 13, 15, 29, 32])
  }
}
