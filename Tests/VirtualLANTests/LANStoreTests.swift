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
    #expect(!found.isComplete && found.unusable.keys.sorted() == ["a", "b", "c", "d", "e"])
  }

  /// What cannot be read is something else than nothing: devices of LANs that are not written down are deleted.
  @Test func aFolderThatCannotBeReadIsNotEmpty() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    #expect(store.loadAll().isComplete)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data().write(to: URL(fileURLWithPath: "\(folder)/lans"))
    let found = store.loadAll()
    #expect(!found.isComplete && found.lans.isEmpty)
    #expect(found.damaged.first?.description == "open \(folder)/lans: Not a directory")
  }

  @Test func ofTwoFilesWithOneVNITheSecondIsSaid() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for name in ["red", "blue"] { try store.save(LANDefinition(name: name, vni: VNI(rawValue: 7)!, mode: .local)) }
    let found = store.loadAll()
    #expect(found.lans.map(\.name) == ["blue"])
    #expect(found.unusable["red"]?.description == "\(folder)/lans/red.json: VNI or devices of LAN 'blue'")
  }

  /// What an older chaos wrote has names alone.
  @Test func whatIsKnownOfAttachedInterfacesIsKept() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var known = AttachedInterface(InterfaceName("eth1")!)
    known.permanentAddress = MACAddress("52:54:00:00:00:01")
    known.index = InterfaceIndex(rawValue: 7)
    known.boot = "b"
    var lan = LANDefinition(
      name: "red", vni: VNI(rawValue: 7)!, mode: .static,
      attached: [known, AttachedInterface(InterfaceName("eth2")!)])
    lan.chosen = IPAddress("192.0.2.1")
    try store.save(lan)
    #expect(try store.load("red") == lan)
  }

  @Test func aHeldLockIsNotWaitedForForEver() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let bridge = InterfaceName("lan7")!
    let held = try store.lock(bridge: bridge)
    #expect(try store.lockUnlessHeld(bridge: bridge) == nil)
    let error = #expect(throws: LANError.self) {
      _ = try self.store.lock(bridge: bridge, within: .milliseconds(20))
    }
    #expect(error?.kind == .unavailable)
    #expect(error?.description.hasPrefix("lock \(folder)/locks/lan7.lock: held by process \(getpid())") == true)
    _ = consume held
    #expect(try store.lockUnlessHeld(bridge: bridge) != nil)
  }

  /// Every host must come to the same VNI from a name, in every version to come.
  @Test func theVNIOfANameIsForEver() {
    #expect(LANDefinition.vni(ofName: "blue").rawValue == 16_512_592)
    #expect(LANDefinition.vni(ofName: "red").rawValue == 16_023_837)
  }

  @Test("the file's manual page has its keys")
  func manualPage() throws {
    var lan = LANDefinition(
      name: "red", vni: VNI(rawValue: 7)!, mode: .static, mtu: 1400, underlay: .device(InterfaceName("eth0")!))
    lan.chosen = IPAddress("192.0.2.1")
    var interface = AttachedInterface(InterfaceName("eth1")!)
    interface.permanentAddress = MACAddress("52:54:00:00:00:01")
    lan.attached = [interface]
    let page = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../packaging/man/chaos-lan-file.5"), encoding: .utf8)
    guard case .object(let object) = lan.json else {
      Issue.record("no object")
      return
    }
    for key in object.members.map(\.key) + ["vtep"] {
      #expect(page.split(separator: "\n").contains { $0.hasPrefix(".B") && $0.contains(key) }, "\(key)")
    }
  }
}
