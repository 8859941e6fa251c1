import Testing

@testable import ImageProtocols

@Suite struct TextTests {
  private func text(_ write: (inout TextWriter) -> Void) -> String {
    let memory = Memory([], capacity: 80)
    var writer = TextWriter(memory.bytes)
    write(&writer)
    return String(decoding: memory.prefix(writer.count), as: UTF8.self)
  }

  private func daytime(_ seconds: UInt64) -> String? {
    let memory = Memory([], capacity: 80)
    return Daytime.write(seconds, into: memory.bytes).map {
      String(decoding: memory.prefix($0), as: UTF8.self)
    }
  }

  @Test(arguments: [
    (0, "Thursday, January 1, 1970 00:00:00-UTC\r\n"),
    (951_782_400, "Tuesday, February 29, 2000 00:00:00-UTC\r\n"),
    (1_795_217_051, "Friday, November 20, 2026 23:24:11-UTC\r\n"),
    (4_107_542_399, "Sunday, February 28, 2100 23:59:59-UTC\r\n"),
    (4_107_542_400, "Monday, March 1, 2100 00:00:00-UTC\r\n"),
  ])
  func daytimeIsTheDate(seconds: UInt64, expected: String) {
    #expect(daytime(seconds) == expected)
  }

  @Test func daytimeNeverTraps() {
    #expect(daytime(.max) != nil)
    #expect(Daytime.write(0, into: Memory([], capacity: 39).bytes) == nil)
  }

  @Test(arguments: [
    (0, 0, "::"),
    (0, 1, "::1"),
    (0xfd00_0000_0000_0000, 2, "fd00::2"),
    (0x2001_0db8_0000_0001, 0x0001_0001_0001_0001, "2001:db8:0:1:1:1:1:1"),
    (0x2001_0000_0000_0001, 0x0000_0000_0000_0001, "2001:0:0:1::1"),
    (0x2001_0db8_0000_0000, 0x0001_0000_0000_0001, "2001:db8::1:0:0:1"),
    (0xfe80_0000_0000_0001, 0, "fe80:0:0:1::"),
  ])
  func addressesOfIPv6AreCanonical(high: UInt64, low: UInt64, expected: String) {
    #expect(text { $0.write(IPv6Address(high: high, low: low)) } == expected)
  }

  @Test func otherValues() {
    #expect(text { $0.write(guest.mac) } == "02:ca:fe:00:00:05")
    #expect(text { $0.write(guest.ipv4!) } == "10.7.0.2")
    #expect(text { $0.writeDecimal(.max) } == "18446744073709551615")
    #expect(text { $0.writeHexadecimal(0xbeef, digits: 8) } == "0000beef")
    #expect(text { $0.write(Memory([0x41, 0x1b, 0x0a, 0x7f, 0xc3, 0xa4]).bytes) } == "A???ä")
  }
}
