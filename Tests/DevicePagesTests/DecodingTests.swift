import CDevicePage
import DevicePages
import NetworkAddresses
import Testing

@Suite struct DecodingTests {
  @Test func aPageComesBackAsItWasLaid() throws {
    #expect(try DevicePage(decoding: samplePage.encoded()) == samplePage)
    var bare = samplePage
    bare.devices = []
    bare.identity.name = ""
    bare.identity.commandLine = ""
    #expect(try DevicePage(decoding: bare.encoded()) == bare)
  }

  @Test func everyOtherLengthIsRefused() {
    let bytes = samplePage.encoded()
    for length in 0..<4096 {
      #expect(throws: DevicePageError.self) { try DevicePage(decoding: Array(bytes[..<length])) }
    }
    #expect(throws: DevicePageError.self) { try DevicePage(decoding: bytes + [0]) }
  }

  /// Offset, byte put there, and what is said of it. Entry 0 is the console's, 2 a vif's.
  @Test(arguments: [
    (CHAOS_HEADER_MAGIC, 0, "magic: 0x50444800"),
    (CHAOS_HEADER_VERSION, 2, "version: 2"),
    (CHAOS_HEADER_VERSION + 1, 1, "version: 257"),
    (CHAOS_HEADER_LENGTH, 0, "layout: offsets are not those of version 1"),
    (CHAOS_HEADER_DEVICE_TABLE, 1, "layout: offsets are not those of version 1"),
    (CHAOS_HEADER_DEVICE_ENTRY_SIZE, 1, "layout: offsets are not those of version 1"),
    (CHAOS_HEADER_COMMAND_LINE, 1, "layout: offsets are not those of version 1"),
    (CHAOS_HEADER_DEVICE_COUNT, 18, "device count: 18"),
    (CHAOS_HEADER_DEVICE_COUNT, 5, "device type: 0"),
    (CHAOS_IDENTITY_NAME_LENGTH, 64, "name length: 64"),
    (CHAOS_IDENTITY_COMMAND_LENGTH + 1, 4, "command line length: 1031"),
    (CHAOS_IDENTITY_NAME, 0xff, "name: not UTF-8"),
    (CHAOS_COMMAND_LINE, 0xc0, "command line: not UTF-8"),
    (CHAOS_DEVICE_TABLE + CHAOS_DEVICE_TYPE, 4, "device type: 4"),
    (CHAOS_DEVICE_TABLE + CHAOS_DEVICE_STATE, 3, "device state: 3"),
    (CHAOS_DEVICE_TABLE + 2 * CHAOS_DEVICE_ENTRY_SIZE + CHAOS_VIF_IPV4_PREFIX, 33, "vif IPv4 prefix: 33"),
    (CHAOS_DEVICE_TABLE + 2 * CHAOS_DEVICE_ENTRY_SIZE + CHAOS_VIF_IPV6_PREFIX, 129, "vif IPv6 prefix: 129"),
  ])
  func aWrongFieldIsNamed(offset: Int32, byte: Int, complaint: String) {
    var bytes = samplePage.encoded()
    bytes[Int(offset)] = UInt8(byte)
    let error = #expect(throws: DevicePageError.self) { try DevicePage(decoding: bytes) }
    #expect(error?.description == complaint)
  }

  @Test func addressesThatAreNotGivenAreNotRead() throws {
    var bytes = samplePage.encoded()
    let vif = Int(CHAOS_DEVICE_TABLE + 2 * CHAOS_DEVICE_ENTRY_SIZE)
    bytes[vif + Int(CHAOS_VIF_ADDRESSES)] = 0
    bytes[vif + Int(CHAOS_VIF_IPV4_PREFIX)] = 99
    let decoded = try #require(try DevicePage(decoding: bytes).devices[2].vif)
    #expect(decoded.ipv4 == nil && decoded.ipv4Gateway == nil)
    #expect(decoded.ipv6 == nil && decoded.ipv6Gateway == nil)
  }

  @Test func noBytesTrap() {
    var noise = Noise(seed: 1)
    let sound = samplePage.encoded()
    var (decoded, refused) = (0, 0)
    for _ in 0..<50_000 {
      var bytes = sound
      for _ in 0..<Int.random(in: 1...8, using: &noise) {
        // Most of the page is the zeroes behind the command line; aim at what is in use.
        let offset = Int.random(in: 0..<(noise.next() % 8 == 0 ? 4096 : 800), using: &noise)
        bytes[offset] = UInt8.random(in: 0...255, using: &noise)
      }
      do {
        let page = try DevicePage(decoding: bytes)
        decoded += 1
        if decoded % 16 == 0, (try? DevicePage(decoding: page.encoded())) != page {
          Issue.record("\(page) does not come back")
        }
      } catch {
        refused += 1
      }
    }
    #expect(decoded > 1000 && refused > 1000)
  }
}
