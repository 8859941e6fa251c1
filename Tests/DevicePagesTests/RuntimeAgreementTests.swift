import CDevicePage
import NetworkAddresses
import Testing

@testable import DevicePages
@testable import ImageProtocols

/// The toolstack and the images' runtime compile from one header; here one writes and the other reads.
@Suite struct RuntimeAgreementTests {
  /// A page as the runtime sees it, in memory of its own, which is never given back.
  private func runtimePage(_ bytes: [UInt8]) throws -> ImageProtocols.DevicePage {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 4096)
    memory.copyBytes(from: bytes)
    return try ImageProtocols.DevicePage(Bytes(start: memory.baseAddress!, count: bytes.count))
  }

  private func text(_ bytes: Bytes) -> String {
    String(decoding: (0..<bytes.count).map { bytes.byte($0) }, as: UTF8.self)
  }

  @Test func theRuntimeReadsWhatTheToolstackLays() throws {
    let laid = samplePage
    let read = try runtimePage(laid.encoded())
    #expect(read.generation == laid.generation)
    #expect(text(read.name) == laid.identity.name)
    #expect(text(read.commandLine) == laid.identity.commandLine)
    #expect(read.deviceCount == laid.devices.count)
    // The console and powerctl are no vifs, and the last vif is closing.
    for entry in [0, 1, 3] { #expect(try read.vif(entry: entry) == nil) }
    let device = laid.devices[2]
    let expected = try #require(device.vif)
    let vif = try #require(try read.vif(entry: 2))
    #expect(vif.slot == Int(device.index))
    #expect(vif.port == device.port)
    #expect(vif.window == device.firstFrame << 12)
    #expect(vif.windowSize == Int(device.frameCount) << 12)
    #expect(vif.features == expected.features)
    #expect(vif.addresses.mtu == Int(expected.mtu))
    #expect(vif.addresses.mac == ImageProtocols.MACAddress(value: expected.mac.rawValue))
    #expect(vif.addresses.ipv4 == ImageProtocols.IPv4Address(value: 0x0a07_0002))
    #expect(vif.addresses.ipv6 == ImageProtocols.IPv6Address(high: 0xfd00_0000_0000_0000, low: 2))
    #expect(Int(vif.ipv4Prefix) == expected.ipv4?.prefixLength)
    #expect(Int(vif.ipv6Prefix) == expected.ipv6?.prefixLength)
  }

  @Test func theRuntimeTakesTheRingsOfEveryWindowInEverySlot() throws {
    for kibibytes in stride(from: 64, through: 16384, by: 68) {
      let slot = kibibytes % Slots.maxVifs
      let rings = VifRings(windowFrames: kibibytes / 4)
      var page = samplePage
      page.devices[2].index = UInt16(slot)
      page.devices[2].port = Slots.port(vif: slot)
      page.devices[2].firstFrame = Slots.windowFrame(vif: slot)
      page.devices[2].frameCount = UInt32(kibibytes / 4)
      page.devices[2].vif?.rings = rings
      let vif = try #require(try runtimePage(page.encoded()).vif(entry: 2))
      #expect(vif.slot == slot && vif.windowSize == kibibytes << 10)
      #expect(
        vif.receive
          == Vif.QueueLayout(
            size: Int(rings.receiveSize), descriptors: Int(rings.receiveDescriptors),
            available: Int(rings.receiveAvailable), used: Int(rings.receiveUsed)))
      #expect(
        vif.transmit
          == Vif.QueueLayout(
            size: Int(rings.transmitSize), descriptors: Int(rings.transmitDescriptors),
            available: Int(rings.transmitAvailable), used: Int(rings.transmitUsed)))
      #expect(vif.buffers == Int(rings.buffers))
    }
  }
}
