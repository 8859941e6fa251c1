import CDevicePage
import DevicePages
import NetworkAddresses
import Testing

@Suite struct EncodingTests {
  /// The layout in numbers, written down a second time: an ABI that guests are built against does not move.
  @Test func aSmallPageIsTheseBytes() {
    let small = DevicePage(
      generation: 4, clockOffset: -2,
      identity: DevicePage.Identity(
        uuid: Array(0xa0...0xaf), created: 0x0102_0304_0506_0708, imageDigest: Array(0x10...0x2f),
        name: "web", commandLine: "a=b!", vcpus: 1, memoryKiB: 8192),
      devices: [
        DevicePage.Device(
          kind: .vif, index: 1, state: .connected, port: 4, firstFrame: 0xe2000, frameCount: 64,
          vif: DevicePage.Vif(
            mac: MACAddress("02:ca:fe:00:00:05")!, mtu: 1450, features: 0x1_2000_8003,
            rings: VifRings(windowFrames: 64), ipv4: IPv4Interface("10.7.0.2/24"),
            ipv6Gateway: IPv6Address("fd00::1")))
      ])
    let expected = page([
      (
        0,
        [
          0x43, 0x48, 0x44, 0x50,  // "CHDP"
          0x01, 0, 0x01, 0,  // version 1, one device
          0x88, 0x0d, 0, 0,  // 3464 bytes in use
          0x04, 0, 0, 0,  // generation
          0x00, 0x01, 0, 0,  // device table at 256
          0x80, 0, 0, 0,  // of 128-byte entries
          0x80, 0x09, 0, 0,  // command line at 2432
          0x00, 0x20, 0, 0,  // 8192 KiB
          0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  // clock offset -2
          0x04, 0x00, 0x0e, 0, 0, 0, 0, 0,  // shared_info
          0x00, 0x00, 0x0e, 0, 0, 0, 0, 0,  // start info
          0x05, 0x00, 0x0e, 0, 0, 0, 0, 0,  // grant table
        ]
      ),
      (64, Array(0xa0...0xaf)),
      (80, [8, 7, 6, 5, 4, 3, 2, 1]),
      (88, Array(0x10...0x2f)),
      (120, [3, 0, 4, 0, 1, 0, 0, 0]),  // lengths of name and command line, vCPUs
      (128, Array("web".utf8)),
      (
        256,
        [
          0x03, 0, 0x01, 0,  // vif 1
          0x01, 0, 0, 0,  // connected
          0x04, 0, 0, 0,  // port
          0, 0, 0, 0,  // not granted
          0x00, 0x20, 0x0e, 0, 0, 0, 0, 0,  // window's first frame
          0x40, 0, 0, 0, 0, 0, 0, 0,  // 64 frames
          0x02, 0xca, 0xfe, 0, 0, 0x05,  // MAC
          0xaa, 0x05,  // MTU 1450
          0x03, 0x80, 0, 0x20, 0x01, 0, 0, 0,  // checksums, MRG_RXBUF, EVENT_IDX, VERSION_1
          0x00, 0x01, 0x00, 0x01,  // 256 entries each
          0, 0, 0, 0, 0x00, 0x10, 0, 0, 0x40, 0x12, 0, 0,  // receive
          0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0, 0x40, 0x32, 0, 0,  // transmit
          0x00, 0x40, 0, 0,  // buffers
          0x09, 24, 0, 0,  // IPv4 and an IPv6 gateway; prefix lengths
          10, 7, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,
          0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
          0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        ]
      ),
      (2432, Array("a=b!".utf8)),
    ])
    let encoded = small.encoded()
    #expect(encoded.count == 4096)
    #expect(encoded.indices.filter { encoded[$0] != expected[$0] } == [])
  }

  /// A little-endian field of a page.
  private func field(_ page: [UInt8], _ offset: Int32, _ length: Int, entry: Int? = nil) -> UInt64 {
    let table = entry.map { Int(CHAOS_DEVICE_TABLE) + $0 * Int(CHAOS_DEVICE_ENTRY_SIZE) } ?? 0
    return page[(table + Int(offset))...].prefix(length).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  @Test func headerAndIdentityStandWhereTheHeaderFileSays() {
    let bytes = samplePage.encoded()
    #expect(field(bytes, CHAOS_HEADER_MAGIC, 4) == UInt64(CHAOS_PAGE_MAGIC))
    #expect(field(bytes, CHAOS_HEADER_VERSION, 2) == UInt64(CHAOS_PAGE_VERSION))
    #expect(field(bytes, CHAOS_HEADER_DEVICE_COUNT, 2) == 4)
    #expect(field(bytes, CHAOS_HEADER_LENGTH, 4) == UInt64(CHAOS_PAGE_LENGTH))
    #expect(field(bytes, CHAOS_HEADER_GENERATION, 4) == 6)
    #expect(field(bytes, CHAOS_HEADER_DEVICE_TABLE, 4) == UInt64(CHAOS_DEVICE_TABLE))
    #expect(field(bytes, CHAOS_HEADER_DEVICE_ENTRY_SIZE, 4) == UInt64(CHAOS_DEVICE_ENTRY_SIZE))
    #expect(field(bytes, CHAOS_HEADER_COMMAND_LINE, 4) == UInt64(CHAOS_COMMAND_LINE))
    #expect(field(bytes, CHAOS_HEADER_MEMORY_KIB, 4) == 8192)
    #expect(field(bytes, CHAOS_HEADER_CLOCK_OFFSET, 8) == UInt64.max - 1)
    #expect(field(bytes, CHAOS_HEADER_SHARED_INFO, 8) == UInt64(CHAOS_SHARED_INFO_GFN))
    #expect(field(bytes, CHAOS_HEADER_START_INFO, 8) == UInt64(CHAOS_START_INFO_GFN))
    #expect(field(bytes, CHAOS_HEADER_GRANT_TABLE, 8) == UInt64(CHAOS_GRANT_TABLE_GFN))
    #expect(Array(bytes[Int(CHAOS_IDENTITY_UUID)...].prefix(16)) == samplePage.identity.uuid)
    #expect(field(bytes, CHAOS_IDENTITY_CREATED, 8) == 0x0102_0304_0506_0708)
    #expect(Array(bytes[Int(CHAOS_IDENTITY_IMAGE_DIGEST)...].prefix(32)) == samplePage.identity.imageDigest)
    #expect(field(bytes, CHAOS_IDENTITY_NAME_LENGTH, 2) == 4)
    #expect(field(bytes, CHAOS_IDENTITY_COMMAND_LENGTH, 2) == 7)
    #expect(field(bytes, CHAOS_IDENTITY_VCPUS, 4) == 2)
    #expect(Array(bytes[Int(CHAOS_IDENTITY_NAME)...].prefix(5)) == Array("fw-1\0".utf8))
    #expect(Array(bytes[Int(CHAOS_COMMAND_LINE)...].prefix(8)) == Array("role=é\0".utf8))
  }

  @Test func devicesStandWhereTheHeaderFileSays() {
    let bytes = samplePage.encoded()
    #expect((0..<5).map { field(bytes, CHAOS_DEVICE_TYPE, 2, entry: $0) } == [1, 2, 3, 3, 0])
    #expect((0..<4).map { field(bytes, CHAOS_DEVICE_INDEX, 2, entry: $0) } == [0, 0, 0, 2])
    #expect((0..<4).map { field(bytes, CHAOS_DEVICE_STATE, 2, entry: $0) } == [1, 1, 1, 2])
    #expect((0..<4).map { field(bytes, CHAOS_DEVICE_PORT, 4, entry: $0) } == [1, 2, 3, 5])
    #expect((0..<4).map { field(bytes, CHAOS_DEVICE_GRANT, 4, entry: $0) } == [0, 0, 9, 0])
    #expect(
      (0..<4).map { field(bytes, CHAOS_DEVICE_FIRST_FRAME, 8, entry: $0) }
        == [
          UInt64(CHAOS_CONSOLE_GFN), UInt64(CHAOS_POWERCTL_GFN), UInt64(CHAOS_VIF_WINDOW_GFN),
          UInt64(CHAOS_VIF_WINDOW_GFN + 2 * CHAOS_VIF_WINDOW_STRIDE),
        ])
    #expect((0..<4).map { field(bytes, CHAOS_DEVICE_FRAME_COUNT, 4, entry: $0) } == [1, 1, 64, 16])
  }

  @Test func vifFieldsStandWhereTheHeaderFileSays() {
    let bytes = samplePage.encoded()
    func vif(_ offset: Int32, _ length: Int) -> UInt64 { field(bytes, offset, length, entry: 2) }
    func octets(_ offset: Int32, _ length: Int) -> [UInt8] {
      Array(bytes[(Int(CHAOS_DEVICE_TABLE + 2 * CHAOS_DEVICE_ENTRY_SIZE + offset))...].prefix(length))
    }
    let rings = VifRings(windowFrames: 64)
    #expect(octets(CHAOS_VIF_MAC, 6) == [0x02, 0xca, 0xfe, 0, 0, 5])
    #expect(vif(CHAOS_VIF_MTU, 2) == 1450)
    #expect(vif(CHAOS_VIF_FEATURES, 8) == 0x1_2000_8003)
    #expect(vif(CHAOS_VIF_RX_SIZE, 2) == UInt64(rings.receiveSize))
    #expect(vif(CHAOS_VIF_TX_SIZE, 2) == UInt64(rings.transmitSize))
    #expect(vif(CHAOS_VIF_RX_DESCRIPTORS, 4) == UInt64(rings.receiveDescriptors))
    #expect(vif(CHAOS_VIF_RX_AVAILABLE, 4) == UInt64(rings.receiveAvailable))
    #expect(vif(CHAOS_VIF_RX_USED, 4) == UInt64(rings.receiveUsed))
    #expect(vif(CHAOS_VIF_TX_DESCRIPTORS, 4) == UInt64(rings.transmitDescriptors))
    #expect(vif(CHAOS_VIF_TX_AVAILABLE, 4) == UInt64(rings.transmitAvailable))
    #expect(vif(CHAOS_VIF_TX_USED, 4) == UInt64(rings.transmitUsed))
    #expect(vif(CHAOS_VIF_BUFFERS, 4) == UInt64(rings.buffers))
    #expect(vif(CHAOS_VIF_ADDRESSES, 1) == 15)
    #expect(vif(CHAOS_VIF_IPV4_PREFIX, 1) == 24)
    #expect(vif(CHAOS_VIF_IPV6_PREFIX, 1) == 64)
    #expect(octets(CHAOS_VIF_IPV4, 4) == [10, 7, 0, 2])
    #expect(octets(CHAOS_VIF_IPV4_GATEWAY, 4) == [10, 7, 0, 1])
    #expect(octets(CHAOS_VIF_IPV6, 16) == [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    #expect(octets(CHAOS_VIF_IPV6_GATEWAY, 16) == [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
  }

  @Test func theLargestPageFits() throws {
    var page = samplePage
    page.identity.name = String(repeating: "n", count: Int(CHAOS_NAME_MAX))
    page.identity.commandLine = String(repeating: "c", count: Int(CHAOS_COMMAND_LINE_MAX))
    let vif = page.devices[2]
    page.devices.removeLast(2)
    for slot in 0..<Slots.maxVifs {
      var device = vif
      device.index = UInt16(slot)
      device.port = Slots.port(vif: slot)
      device.firstFrame = Slots.windowFrame(vif: slot)
      page.devices.append(device)
    }
    #expect(page.devices.count == Int(CHAOS_DEVICE_MAX))
    let bytes = page.encoded()
    #expect(bytes[(Int(CHAOS_PAGE_LENGTH))...].allSatisfy { $0 == 0 })
    #expect(bytes[Int(CHAOS_COMMAND_LINE + CHAOS_COMMAND_LINE_MAX)] == 0)
    #expect(try DevicePage(decoding: bytes) == page)
  }

  @Test func partsDoNotOverlap() {
    #expect(CHAOS_IDENTITY_NAME + CHAOS_NAME_MAX < CHAOS_DEVICE_TABLE)
    #expect(CHAOS_DEVICE_TABLE + CHAOS_DEVICE_MAX * CHAOS_DEVICE_ENTRY_SIZE == CHAOS_COMMAND_LINE)
    #expect(CHAOS_COMMAND_LINE + CHAOS_COMMAND_LINE_MAX < CHAOS_PAGE_LENGTH)
    #expect(CHAOS_PAGE_LENGTH <= DevicePage.size)
    #expect(CHAOS_VIF_IPV6_GATEWAY + 16 == CHAOS_DEVICE_ENTRY_SIZE)
    #expect(CHAOS_DEVICE_MAX == 2 + CHAOS_MAX_VIFS)
  }
}
