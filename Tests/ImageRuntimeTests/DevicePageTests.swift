import CDevicePage
import Testing

@testable import ImageProtocols

/// A page with one vif in slot 1, as a toolstack lays it.
private func soundPage() -> Memory {
  let memory = Memory([], capacity: 4096)
  for offset in 0..<4096 { memory.bytes.setByte(offset, 0) }
  memory.put32(CHAOS_HEADER_MAGIC, UInt32(CHAOS_PAGE_MAGIC))
  memory.put16(CHAOS_HEADER_VERSION, 1)
  memory.put16(CHAOS_HEADER_DEVICE_COUNT, 3)
  memory.put32(CHAOS_HEADER_LENGTH, UInt32(CHAOS_PAGE_LENGTH))
  memory.put32(CHAOS_HEADER_GENERATION, 6)
  memory.put32(CHAOS_HEADER_DEVICE_TABLE, UInt32(CHAOS_DEVICE_TABLE))
  memory.put32(CHAOS_HEADER_DEVICE_ENTRY_SIZE, UInt32(CHAOS_DEVICE_ENTRY_SIZE))
  memory.put32(CHAOS_HEADER_COMMAND_LINE, UInt32(CHAOS_COMMAND_LINE))
  memory.put16(CHAOS_IDENTITY_NAME_LENGTH, 3)
  memory.put(CHAOS_IDENTITY_NAME, Array("web".utf8))
  memory.put16(CHAOS_IDENTITY_COMMAND_LENGTH, 4)
  memory.put(CHAOS_COMMAND_LINE, Array("a=b!".utf8))
  memory.put16(entry(0) + CHAOS_DEVICE_TYPE, UInt16(CHAOS_TYPE_CONSOLE))
  memory.put16(entry(1) + CHAOS_DEVICE_TYPE, UInt16(CHAOS_TYPE_POWERCTL))

  let vif = entry(2)
  memory.put16(vif + CHAOS_DEVICE_TYPE, UInt16(CHAOS_TYPE_VIF))
  memory.put16(vif + CHAOS_DEVICE_INDEX, 1)
  memory.put16(vif + CHAOS_DEVICE_STATE, UInt16(CHAOS_STATE_CONNECTED))
  memory.put32(vif + CHAOS_DEVICE_PORT, 4)
  memory.put32(vif + CHAOS_DEVICE_FIRST_FRAME, 0xe2000)
  memory.put32(vif + CHAOS_DEVICE_FRAME_COUNT, 64)
  memory.put(vif + CHAOS_VIF_MAC, [2, 0xca, 0xfe, 0, 0, 5])
  memory.put16(vif + CHAOS_VIF_MTU, 1500)
  memory.put(vif + CHAOS_VIF_FEATURES, [3, 0x80, 0, 0x20, 1, 0, 0, 0])
  memory.put16(vif + CHAOS_VIF_RX_SIZE, 64)
  memory.put16(vif + CHAOS_VIF_TX_SIZE, 32)
  memory.put32(vif + CHAOS_VIF_RX_AVAILABLE, 0x400)
  memory.put32(vif + CHAOS_VIF_RX_USED, 0x800)
  memory.put32(vif + CHAOS_VIF_TX_DESCRIPTORS, 0x1000)
  memory.put32(vif + CHAOS_VIF_TX_AVAILABLE, 0x1400)
  memory.put32(vif + CHAOS_VIF_TX_USED, 0x1800)
  memory.put32(vif + CHAOS_VIF_BUFFERS, 0x2000)
  memory.put(vif + CHAOS_VIF_ADDRESSES, [UInt8(CHAOS_ADDRESS_IPV4), 24])
  memory.put(vif + CHAOS_VIF_IPV4, [10, 7, 0, 2])
  return memory
}

private func entry(_ number: Int32) -> Int32 {
  CHAOS_DEVICE_TABLE + number * CHAOS_DEVICE_ENTRY_SIZE
}

extension Memory {
  fileprivate func put(_ offset: Int32, _ contents: [UInt8]) {
    for (index, byte) in contents.enumerated() { bytes.setByte(Int(offset) + index, byte) }
  }
  fileprivate func put16(_ offset: Int32, _ value: UInt16) {
    bytes.setBig16(Int(offset), value.byteSwapped)
  }
  fileprivate func put32(_ offset: Int32, _ value: UInt32) {
    bytes.setBig32(Int(offset), value.byteSwapped)
  }
}

@Suite struct DevicePageTests {
  @Test(arguments: [(0, true), (8, true), (9, false), (32, false), (255, false)] as [(UInt8, Bool)])
  func prefixSaysWhoIsNear(prefix: UInt8, isNear: Bool) throws {
    let memory = soundPage()
    let given = CHAOS_ADDRESS_IPV4 | CHAOS_ADDRESS_IPV4_GATEWAY
    memory.put(entry(2) + CHAOS_VIF_ADDRESSES, [UInt8(given), prefix])
    memory.put(entry(2) + CHAOS_VIF_IPV4_GATEWAY, [10, 7, 0, 1])
    let vif = try #require(try DevicePage(memory.bytes).vif(entry: 2))
    #expect(vif.isOnLink(IPv4Address(value: 0x0aff_0001)) == isNear)
    #expect(vif.isOnLink(IPv4Address(value: 0x0a07_0002)))
    #expect(vif.ipv4Gateway == IPv4Address(value: 0x0a07_0001))
  }

  @Test func soundPageIsRead() throws {
    let memory = soundPage()
    let page = try DevicePage(memory.bytes)
    #expect(page.generation == 6)
    #expect(page.name.count == 3 && page.name.byte(0) == UInt8(ascii: "w"))
    #expect(page.commandLine.count == 4 && page.commandLine.byte(3) == UInt8(ascii: "!"))
    #expect(page.deviceCount == 3)
    #expect(try page.vif(entry: 0) == nil)
    #expect(try page.vif(entry: 1) == nil)
    #expect(try page.vif(entry: 3) == nil)
    #expect(try page.vif(entry: -1) == nil)
    let vif = try #require(try page.vif(entry: 2))
    #expect(vif.slot == 1)
    #expect(vif.port == 4)
    #expect(vif.window == 0xe200_0000)
    #expect(vif.windowSize == 256 * 1024)
    #expect(vif.features == 1 << 32 | 1 << 29 | 1 << 15 | 3)
    #expect(vif.receive.size == 64 && vif.receive.used == 0x800)
    #expect(vif.transmit.size == 32 && vif.transmit.descriptors == 0x1000)
    #expect(vif.buffers == 0x2000)
    #expect(vif.addresses.mac == guest.mac)
    #expect(vif.addresses.ipv4 == guest.ipv4)
    #expect(vif.addresses.ipv6 == nil)
    #expect(vif.ipv4Prefix == 24)
    #expect(vif.ipv4Gateway == nil)
    #expect(vif.isOnLink(IPv4Address(value: 0x0a07_00ff)))
    #expect(!vif.isOnLink(IPv4Address(value: 0x0a07_0100)))
  }

  @Test func vifThatIsNotConnectedIsNotThere() throws {
    for state in [CHAOS_STATE_ABSENT, CHAOS_STATE_CLOSING, 9] {
      let memory = soundPage()
      memory.put16(entry(2) + CHAOS_DEVICE_STATE, UInt16(state))
      #expect(try DevicePage(memory.bytes).vif(entry: 2) == nil)
    }
  }

  private func expectRefused(_ error: DevicePageError, _ spoil: (Memory) -> Void) {
    let memory = soundPage()
    spoil(memory)
    #expect(throws: error) {
      let page = try DevicePage(memory.bytes)
      _ = try page.vif(entry: 2)
    }
  }

  @Test func wrongHeadersAreRefused() {
    expectRefused(.magic(0xffff_ffff)) { $0.put32(CHAOS_HEADER_MAGIC, .max) }
    expectRefused(.version(2)) { $0.put16(CHAOS_HEADER_VERSION, 2) }
    expectRefused(.length(3463)) { $0.put32(CHAOS_HEADER_LENGTH, 3463) }
    expectRefused(.length(4097)) { $0.put32(CHAOS_HEADER_LENGTH, 4097) }
    expectRefused(.name) { $0.put16(CHAOS_IDENTITY_NAME_LENGTH, 64) }
    expectRefused(.commandLine) { $0.put16(CHAOS_IDENTITY_COMMAND_LENGTH, 1025) }
    expectRefused(.commandLine) { $0.put32(CHAOS_HEADER_COMMAND_LINE, 3461) }
    expectRefused(.commandLine) { $0.put32(CHAOS_HEADER_COMMAND_LINE, .max) }
    expectRefused(.deviceTable) { $0.put16(CHAOS_HEADER_DEVICE_COUNT, 18) }
    expectRefused(.deviceTable) { $0.put32(CHAOS_HEADER_DEVICE_ENTRY_SIZE, 127) }
    expectRefused(.deviceTable) { $0.put32(CHAOS_HEADER_DEVICE_ENTRY_SIZE, .max) }
    expectRefused(.deviceTable) { $0.put32(CHAOS_HEADER_DEVICE_TABLE, 3464 - 383) }
    expectRefused(.deviceTable) { $0.put32(CHAOS_HEADER_DEVICE_TABLE, .max) }
  }

  @Test func wrongVifsAreRefused() {
    let vif = entry(2)
    expectRefused(.vif(15, .index)) { $0.put16(vif + CHAOS_DEVICE_INDEX, 15) }
    expectRefused(.vif(1, .port)) { $0.put32(vif + CHAOS_DEVICE_PORT, 5) }
    expectRefused(.vif(1, .window)) { $0.put32(vif + CHAOS_DEVICE_FIRST_FRAME, 0x100) }
    expectRefused(.vif(1, .window)) { $0.put32(vif + CHAOS_DEVICE_FIRST_FRAME + 4, 1) }
    expectRefused(.vif(1, .window)) { $0.put32(vif + CHAOS_DEVICE_FRAME_COUNT, 0) }
    expectRefused(.vif(1, .window)) { $0.put32(vif + CHAOS_DEVICE_FRAME_COUNT, 0x1001) }
    expectRefused(.vif(1, .features)) { $0.put32(vif + CHAOS_VIF_FEATURES, 3) }
    expectRefused(.vif(1, .queueSize)) { $0.put16(vif + CHAOS_VIF_RX_SIZE, 0) }
    expectRefused(.vif(1, .queueSize)) { $0.put16(vif + CHAOS_VIF_TX_SIZE, 48) }
    expectRefused(.vif(1, .rings)) { $0.put32(vif + CHAOS_VIF_TX_USED, 0x3_fffc) }
    expectRefused(.vif(1, .rings)) { $0.put32(vif + CHAOS_VIF_RX_DESCRIPTORS, 8) }
    expectRefused(.vif(1, .rings)) { $0.put32(vif + CHAOS_VIF_RX_AVAILABLE, .max) }
    expectRefused(.vif(1, .rings)) { $0.put32(vif + CHAOS_VIF_BUFFERS, 0x4_0001) }
  }

  @Test func noPageTraps() {
    var noise = Noise(seed: 3)
    var vifs = 0
    let sound = soundPage().prefix(1024)
    let memory = soundPage()
    for _ in 0..<20_000 {
      memory.put(0, sound)
      for _ in 0..<Int.random(in: 1...6, using: &noise) {
        let offset = Int.random(in: 0..<1024, using: &noise)
        memory.bytes.setByte(offset, UInt8.random(in: 0...255, using: &noise))
      }
      guard let page = try? DevicePage(memory.bytes) else { continue }
      for number in 0..<page.deviceCount where (try? page.vif(entry: number)) ?? nil != nil {
        vifs += 1
      }
    }
    #expect(vifs > 0)
  }
}
