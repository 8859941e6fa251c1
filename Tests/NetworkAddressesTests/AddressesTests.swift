import Foundation
import NetworkAddresses
import Testing

@Suite struct IPv4AddressTests {
  @Test(arguments: ["0.0.0.0", "10.0.0.5", "192.168.255.1", "255.255.255.255"])
  func textGoesBothWays(text: String) throws {
    let address = try #require(IPv4Address(text))
    #expect(address.description == text)
    #expect(IPv4Address(octets: address.octets) == address)
  }

  @Test(arguments: [
    "", "10", "10.0.0", "10.0.0.", "10.0.0.5.", "10.0.0.5.6", "10.0.0.256", "10.0.0.05", "10..0.5",
    "-1.0.0.0",
    "10.0.0.5 ", "10.0.0.5\u{0}", "0x10.0.0.5", "10.0.0.99999999999999999999999", "10.0.0.٣",
  ])
  func otherTextIsRefused(text: String) {
    #expect(IPv4Address(text) == nil)
  }

  @Test func countingStopsAtTheEnds() throws {
    let address = try #require(IPv4Address("10.0.0.255"))
    #expect(address.rawValue == 0x0a00_00ff)
    #expect(address.advanced(by: 1)?.description == "10.0.1.0")
    #expect(address.advanced(by: -256)?.description == "9.255.255.255")
    #expect(IPv4Address(rawValue: .max).advanced(by: 1) == nil)
    #expect(address.advanced(by: .min) == nil)
    #expect(address.advanced(by: 1 << 32) == nil)
  }

  @Test func multicastIsClassD() throws {
    #expect(try #require(IPv4Address("239.1.1.1")).isMulticast)
    #expect(try !#require(IPv4Address("240.0.0.1")).isMulticast)
  }
}

@Suite struct IPv6AddressTests {
  @Test(arguments: [
    ("::", "::"), ("::1", "::1"), ("FD00:0:0::5", "fd00::5"),
    ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
    ("fe80::1:0:0:1", "fe80::1:0:0:1"), ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
  ])
  func textIsWrittenCanonically(text: String, canonical: String) throws {
    let address = try #require(IPv6Address(text))
    #expect(address.description == canonical)
    #expect(IPv6Address(octets: address.octets) == address)
  }

  @Test(arguments: [
    "", ":", ":::", "1::2::3", "12345::", "fe80::1%eth0", "[::1]", "::1\u{0}junk", "::1 ",
    "1:2:3:4:5:6:7", "::g",
  ])
  func otherTextIsRefused(text: String) {
    #expect(IPv6Address(text) == nil)
  }

  @Test func kinds() throws {
    #expect(try #require(IPv6Address("fe80::1")).isLinkLocal)
    #expect(try #require(IPv6Address("febf::1")).isLinkLocal)
    #expect(try !#require(IPv6Address("fec0::1")).isLinkLocal)
    #expect(try #require(IPv6Address("ff02::1")).isMulticast)
  }

  @Test func countingStopsAtTheEnds() throws {
    let address = try #require(IPv6Address("fd00::ffff"))
    #expect(address.advanced(by: 1)?.description == "fd00::1:0")
    #expect(IPv6Address(rawValue: .max).advanced(by: 1) == nil)
    #expect(IPv6Address(rawValue: 0).advanced(by: -1) == nil)
  }
}

@Suite struct IPAddressTests {
  @Test(arguments: ["10.0.0.5", "fd00::5"])
  func textGoesBothWays(text: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.description == text)
    #expect(IPAddress(octets: address.octets) == address)
    #expect(address.isIPv6 == text.contains(":"))
    #expect(address.width == (address.isIPv6 ? 128 : 32))
  }

  @Test(arguments: ["", "10.0.0", "fd00", "10.0.0.5/24", "fe80::1%eth0"])
  func otherTextIsRefused(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test(arguments: [0, 3, 5, 15, 17]) func otherLengthsAreRefused(count: Int) {
    #expect(IPAddress(octets: [UInt8](repeating: 1, count: count)) == nil)
  }

  @Test(arguments: [
    ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "unspecified"), ("::", "unspecified"),
    ("127.255.0.1", "loopback"), ("::1", "loopback"), ("169.254.1.1", "link-local"), ("fe80::1", "link-local"),
    ("255.255.255.255", "broadcast"), ("10.0.0.1", ""), ("fd00::1", ""), ("0.0.0.1", ""), ("128.0.0.1", ""),
  ])
  func kinds(text: String, kind: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.isMulticast == (kind == "multicast"))
    #expect(address.isUnspecified == (kind == "unspecified"))
    #expect(address.isLoopback == (kind == "loopback"))
    #expect(address.isLinkLocal == (kind == "link-local"))
    #expect(address.isBroadcast == (kind == "broadcast"))
  }

  @Test func familiesAreSortedApart() throws {
    let sorted = try ["fd00::1", "10.0.0.2", "::", "10.0.0.1"].map { try #require(IPAddress($0)) }.sorted()
    #expect(sorted.map(\.description) == ["10.0.0.1", "10.0.0.2", "::", "fd00::1"])
  }
}

@Suite struct InterfaceTests {
  @Test(arguments: [
    ("10.1.2.3/20", "10.1.0.0", "10.1.15.1"), ("fd00:0:0:1::5/64", "fd00:0:0:1::", "fd00:0:0:1::9"),
  ])
  func eitherFamilyHasItsNetwork(text: String, network: String, neighbour: String) throws {
    let interface = try #require(IPInterface(text))
    #expect(interface.description == text)
    #expect(IPInterface(address: interface.address, prefixLength: interface.prefixLength) == interface)
    #expect(interface.network == IPAddress(network))
    #expect(interface.contains(try #require(IPAddress(neighbour))))
    #expect(!interface.contains(try #require(IPAddress("192.0.2.1"))))
    #expect(!interface.contains(try #require(IPAddress("2001:db8::1"))))
  }

  @Test(arguments: ["", "10.0.0.1", "10.0.0.1/33", "fd00::1/129", "fd00::1"])
  func textOfNoFamilyIsRefused(text: String) {
    #expect(IPInterface(text) == nil)
  }

  @Test func prefixesFitTheirFamily() throws {
    let four = try #require(IPAddress("10.0.0.1"))
    #expect(IPInterface(address: four, prefixLength: 33) == nil)
    #expect(IPInterface(address: four, prefixLength: -1) == nil)
    #expect(IPInterface(address: try #require(IPAddress("fd00::1")), prefixLength: 129) == nil)
  }

  @Test func fourHasItsNetwork() throws {
    let interface = try #require(IPv4Interface("10.1.2.3/20"))
    #expect(interface.description == "10.1.2.3/20")
    #expect(interface.mask.description == "255.255.240.0")
    #expect(interface.network.description == "10.1.0.0")
    #expect(interface.broadcast.description == "10.1.15.255")
    #expect(interface.contains(try #require(IPv4Address("10.1.15.1"))))
    #expect(!interface.contains(try #require(IPv4Address("10.1.16.1"))))
  }

  @Test func prefixesOfNothingAndOfEverything() throws {
    #expect(try #require(IPv4Interface("10.1.2.3/0")).mask.rawValue == 0)
    #expect(try #require(IPv4Interface("10.1.2.3/32")).network.description == "10.1.2.3")
    #expect(try #require(IPv6Interface("fd00::5/0")).mask.rawValue == 0)
    #expect(try #require(IPv6Interface("fd00::5/128")).network.description == "fd00::5")
  }

  @Test func sixHasItsNetwork() throws {
    let interface = try #require(IPv6Interface("fd00:0:0:1::5/64"))
    #expect(interface.description == "fd00:0:0:1::5/64")
    #expect(interface.network.description == "fd00:0:0:1::")
    #expect(interface.contains(try #require(IPv6Address("fd00:0:0:1::ffff"))))
    #expect(!interface.contains(try #require(IPv6Address("fd00:0:0:2::"))))
  }

  @Test(arguments: [
    "", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/08", "/8",
    "10.0.0.1/8/8",
  ])
  func otherTextIsRefused(text: String) {
    #expect(IPv4Interface(text) == nil)
    #expect(IPv6Interface(text.replacingOccurrences(of: "10.0.0.1", with: "fd00::1") + "00") == nil)
  }

  @Test func inJSONEachIsOneString() throws {
    struct Record: Codable, Equatable {
      var mac: MACAddress
      var four: IPv4Interface
      var gateway: IPv4Address
      var six: IPv6Interface
      var next: IPv6Address
      var either: IPAddress
      var network: IPInterface
    }
    let text =
      #"{"mac":"00:16:3e:00:00:01","four":"10.0.0.5/24","gateway":"10.0.0.1","six":"fd00::5/64","next":"fd00::1","either":"fd00::2","network":"10.1.0.0/16"}"#
    let record = try JSONDecoder().decode(Record.self, from: Data(text.utf8))
    #expect(record.gateway.description == "10.0.0.1")
    #expect(try JSONDecoder().decode(Record.self, from: JSONEncoder().encode(record)) == record)
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(
        Record.self, from: Data(text.replacing("10.0.0.1", with: "10.0.0.x").utf8))
    }
  }
}
