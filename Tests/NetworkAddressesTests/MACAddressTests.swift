import NetworkAddresses
import Testing

@Suite struct MACAddressTests {
  @Test func textGoesBothWays() throws {
    let address = try #require(MACAddress("00:16:3E:0a:bC:fF"))
    #expect(address.octets == [0x00, 0x16, 0x3e, 0x0a, 0xbc, 0xff])
    #expect(address.description == "00:16:3e:0a:bc:ff")
    #expect(MACAddress(octets: address.octets) == address)
    #expect(MACAddress(rawValue: 0x0016_3e0a_bcff) == address)
  }

  @Test(arguments: [
    "", ":", "00:16:3e:0a:bc", "00:16:3e:0a:bc:ff:", "00:16:3e:0a:bc:ff:00", "00-16-3e-0a-bc-ff",
    "0:16:3e:0a:bc:fff", "00:16:3e:0a:bc:fg", "00:16:3e:0a:bc:+f", " 0:16:3e:0a:bc:ff",
    "00163e0abcff",
    "00:16:3e:0a:bc:f\u{0}", "００:16:3e:0a:bc",
  ])
  func otherTextIsRefused(text: String) {
    #expect(MACAddress(text) == nil)
  }

  @Test func bitsOfTheFirstOctet() throws {
    let vendor = try #require(MACAddress("00:16:3e:00:00:01"))
    #expect(!vendor.isMulticast && !vendor.isLocal && !vendor.isZero && vendor.isUnicast)
    let local = try #require(MACAddress("02:00:00:00:00:00"))
    #expect(local.isLocal && local.isUnicast)
    let group = try #require(MACAddress("01:00:5e:00:00:01"))
    #expect(group.isMulticast && !group.isLocal && !group.isUnicast)
    #expect(MACAddress.broadcast.isMulticast && MACAddress.broadcast.isLocal)
    #expect(MACAddress.zero.isZero && !MACAddress.zero.isUnicast)
  }

  @Test func countingStopsAtTheEnds() throws {
    let address = try #require(MACAddress("00:16:3e:00:ff:ff"))
    #expect(address.advanced(by: 1)?.description == "00:16:3e:01:00:00")
    #expect(address.advanced(by: -0x10000)?.description == "00:16:3d:ff:ff:ff")
    #expect(MACAddress.broadcast.advanced(by: 1) == nil)
    #expect(MACAddress.zero.advanced(by: -1) == nil)
    #expect(address.advanced(by: .max) == nil)
    #expect(address.advanced(by: .min) == nil)
    #expect(MACAddress.zero < address)
  }

  @Test func numbersThatDoNotFitAreRefused() {
    #expect(MACAddress(rawValue: 1 << 48) == nil)
    #expect(MACAddress(octets: [1, 2, 3, 4, 5]) == nil)
    #expect(MACAddress(octets: [1, 2, 3, 4, 5, 6, 7]) == nil)
  }
}
