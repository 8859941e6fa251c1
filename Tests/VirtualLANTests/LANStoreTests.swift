import ChaosAPI
import Foundation
import NetworkAddresses
import Testing

@testable import VirtualLAN

@Suite struct LANStoreTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path

  private var store: LANStore { LANStore(definitions: "\(folder)/lans", locks: "\(folder)/locks") }

  private static let full = LANDefinition(
    name: "blue.lan_1-x", vni: VNI(rawValue: 16_777_215)!, mode: .static, mtu: 1400, port: 8472,
    underlay: .address(IPAddress("2001:db8::1")!), bridge: InterfaceName("kt-blue")!, vxlan: InterfaceName("blue")!,
    peers: [.init(address: IPAddress("2001:db8::2")!, macs: [MACAddress("02:00:00:00:00:01")!])],
    attached: [AttachedInterface(InterfaceName("eth1.7")!)])

  @Test func aLANComesBackAsItWasSaved() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let plain = LANDefinition(
      name: "red", vni: VNI(rawValue: 1)!, mode: .evpn, underlay: .device(InterfaceName("eth0")!))
    for lan in [Self.full, plain] {
      try store.save(lan)
      #expect(try store.load(lan.name) == lan)
    }
    #expect(store.loadAll().lans.map(\.name) == ["blue.lan_1-x", "red"])
    try store.remove("red")
    try store.remove("red")
    #expect(try store.load("red") == nil)
  }

  @Test(arguments: ["../red", "", ".red", "a/b", String(repeating: "x", count: 64)])
  func whatIsNoNameIsNeverAPath(name: String) {
    #expect(throws: LANError.self) { try store.load(name) }
  }

  @Test func aDamagedFileIsSaidAndTheOthersAreRead() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try store.save(Self.full)
    for (name, text) in [
      ("a", "{"), ("b", "[]"), ("c", #"{"version":2}"#),
      ("d", #"{"version":1,"name":"other","vni":5,"mode":"local","port":4789,"bridge":"lan5","vxlan":"vxlan5"}"#),
      (
        "e", #"{"version":1,"name":"e","vni":16777216,"mode":"local","port":4789,"bridge":"lan5","vxlan":"vxlan5"}"#
      ),
    ] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/lans/\(name).json"))
    }
    let found = store.loadAll()
    #expect(found.lans == [Self.full])
    #expect(found.damaged.count == 5)
    #expect(found.damaged.allSatisfy { !$0.description.contains("\n") })
  }

  /// Every host must come to the same VNI from a name, in every version to come.
  @Test func theVNIOfANameIsForEver() {
    #expect(LANDefinition.vni(ofName: "blue").rawValue == 16_512_592)
    #expect(LANDefinition.vni(ofName: "red").rawValue == 16_023_837)
  }
}
