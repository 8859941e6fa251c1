import NetworkAddresses
import Testing
import VirtualLAN

@testable import ContainerNetwork

@Suite struct AttachmentTests {
  private func id(_ container: String, _ interface: String = "eth0") throws -> AttachmentID {
    try AttachmentID(container: container, interface: interface)
  }

  @Test("the host's end has a name that the kernel takes, the same at every call")
  func hostInterface() throws {
    for container in ["a", "0", String(repeating: "f", count: 64), "k8s.io-x_y"] {
      let name = try id(container).hostInterface.description
      #expect(name.count == 14 && name.hasPrefix("cv"))
      #expect(name.dropFirst(2).allSatisfy { $0.isHexDigit && !$0.isUppercase })
      #expect(name == (try id(container).hostInterface.description))
    }
    // Worked out apart from the code under test (FNV-1a of "abc\0eth0", folded).
    #expect(try id("abc").hostInterface.description == "cv4ae81be84f2c")
  }

  @Test("pairs that read the same when joined are told apart")
  func ambiguousPairs() throws {
    let pairs = [("a-b", "c"), ("a", "b-c"), ("ab", "c"), ("a", "bc"), ("a.b", "c"), ("a", "b.c")]
    let ids = try pairs.map { try id($0.0, $0.1) }
    #expect(Set(ids.map(\.hostInterface)).count == pairs.count)
    #expect(Set(ids.map(\.description)).count == pairs.count)
    #expect(Set(ids.map { $0.defaultMAC(host: nil) }).count == pairs.count)
  }

  @Test("the default address is a local station's, the same again here and another on another host")
  func defaultMAC() throws {
    let here = IPAddress("192.0.2.1")!
    let there = IPAddress("192.0.2.2")!
    let one = try id("c1")
    let mac = one.defaultMAC(host: here)
    #expect(mac.isLocal && mac.isUnicast && mac.octets[0] == 2)
    #expect(mac == one.defaultMAC(host: here))
    #expect(mac != one.defaultMAC(host: there))
    #expect(mac != (try id("c1", "eth1").defaultMAC(host: here)))
  }

  @Test(
    "container IDs outside the specification's characters are refused",
    arguments: [
      "", "-a", ".a", "_a", "a/b", "../a", "a:b", "a b", "a\n", "ä", "a\0", String(repeating: "a", count: 201),
    ])
  func badContainer(text: String) {
    let error = #expect(throws: CNIError.self) { try id(text) }
    #expect(error?.code == .invalidEnvironment)
    #expect(error?.message.hasPrefix("CNI_CONTAINERID: ") == true)
    #expect(error?.message.contains("\n") == false)
  }

  @Test(
    "names that the kernel would refuse, or make another of, are refused",
    arguments: ["", ".", "..", "a/b", "a:b", "a b", "0123456789abcdef", "eth%d", "a\0"])
  func badInterface(text: String) {
    let error = #expect(throws: CNIError.self) { try id("a", text) }
    #expect(error?.code == .invalidEnvironment)
    #expect(error?.message.hasPrefix("CNI_IFNAME: ") == true)
  }
}
