import Testing
import VirtualLAN

@Suite struct InterfaceNameTests {
  @Test(arguments: ["a", "lo", "vif32751.14", "exactly15bytes.", "...", ".a", "kt-é"])
  func goodNames(text: String) throws {
    let name = try #require(InterfaceName(text))
    #expect(name.description == text)
    #expect(name.bytes == Array(text.utf8))
  }

  @Test(arguments: [
    "", ".", "..", "sixteen-bytes-ab", "a/b", "a b", "a\tb", "a\nb", "a:1", "a\u{0}", "a\u{0b}",
    "à",
    "ééééééééé",
  ])
  func badNames(text: String) {
    #expect(InterfaceName(text) == nil)
  }

  @Test func namesAreEqualWhenTheirBytesAre() {
    #expect(InterfaceName("ab") == InterfaceName(bytes: [0x61, 0x62]))
    #expect(InterfaceName("ab") != InterfaceName("ba"))
    #expect(InterfaceName("a") != InterfaceName("aa"))
  }

  @Test func indexesArePositive() {
    #expect(InterfaceIndex(rawValue: 0) == nil)
    #expect(InterfaceIndex(rawValue: -1) == nil)
    #expect(InterfaceIndex(rawValue: 1)?.description == "1")
  }
}
