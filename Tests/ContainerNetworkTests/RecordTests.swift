import ChaosAPI
import Foundation
import NetworkAddresses
import StateFiles
import Testing
import VirtualLAN

@testable import ContainerNetwork

@Suite struct RecordTests {
  private func record(_ container: String = "c1", configuration: JSON = ["a": ["b"]]) throws -> AttachmentRecord {
    AttachmentRecord(
      id: try AttachmentID(container: container, interface: "eth0"), network: "net", bridge: InterfaceName("lan1")!,
      namespace: "/run/netns/c1", mac: MACAddress("02:00:00:00:00:01"), mtu: 1450, arguments: "A=1",
      configuration: configuration)
  }

  private func withStore(_ body: (AttachmentStore, String) throws -> Void) throws {
    let folder = NSTemporaryDirectory() + "chaos-cni-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(AttachmentStore(folder: folder + "/cni"), folder + "/cni")
  }

  @Test("a record comes back, with a configuration nested as deep as one can be")
  func roundTrip() throws {
    var deep = JSON.null
    for _ in 0..<JSON.depthLimit { deep = .array([deep]) }
    try withStore { store, folder in
      for configuration in [["a": ["b"]], deep] as [JSON] {
        let record = try record(configuration: configuration)
        try store.save(record)
        #expect(try store.load(record.id) == record)
      }
      #expect(StateFile.names(in: folder) == ["c1:eth0.json"])
      let mode = try FileManager.default.attributesOfItem(atPath: folder + "/c1:eth0.json")[.posixPermissions]
      #expect(mode as? Int == 0o600)
      try store.remove(record().id)
      try store.remove(record().id)
      #expect(try store.load(record().id) == nil)
    }
  }

  @Test("damaged records are told from missing ones, and do not hide the others")
  func damaged() throws {
    try withStore { store, folder in
      #expect(store.loadAll().records.isEmpty)
      try store.save(record("good"))
      for (name, text) in [
        ("a:eth0", ""), ("b:eth0", "{}"), ("c:eth0", "[1"), ("d:eth0", try record("other").json.description),
        ("e:eth0", try record("e").json.description.replacing(#""version":1"#, with: #""version":2"#)),
      ] {
        try text.write(toFile: "\(folder)/\(name).json", atomically: false, encoding: .utf8)
      }
      try "x".write(toFile: "\(folder)/f:eth0.json.new", atomically: false, encoding: .utf8)
      let (records, unreadable) = store.loadAll()
      #expect(try records == [record("good")])
      #expect(unreadable.map(\.id.container) == ["a", "b", "c", "d", "e"])
      #expect(unreadable.allSatisfy { $0.why.error.message.hasPrefix(folder) })
      // The last is a later plug-in's, and whole.
      #expect(
        unreadable.map { if case .damaged = $0.why { true } else { false } } == [true, true, true, true, false])
      let a = try AttachmentID(container: "a", interface: "eth0")
      #expect(throws: AttachmentStore.Unreadable.self) { try store.load(a) }
      #expect(try store.loadUnlessDamaged(a) == nil)
      #expect(throws: CNIError.self) {
        try store.loadUnlessDamaged(AttachmentID(container: "e", interface: "eth0"))
      }
      try store.setAside(a)
      try store.setAside(a)
      #expect(store.loadAll().unreadable.map(\.id.container) == ["b", "c", "d", "e"])
    }
  }

  @Test("of a record that does not say whether addresses were asked for, some may be held")
  func older() throws {
    var record = try record()
    #expect(try AttachmentRecord(json: record.json) == record)
    let older = record.json.description.replacing(#""addresses":false,"#, with: "")
    #expect(older != record.json.description)
    record.mayHaveAddresses = true
    #expect(try AttachmentRecord(json: JSON(parsing: older)) == record)
  }

  @Test("a configuration that could not be read again is refused")
  func tooLong() throws {
    let record = try record(configuration: .string(String(repeating: "x", count: StateFile.longest)))
    try withStore { store, _ in
      #expect(throws: CNIError.self) { try store.save(record) }
    }
  }
}
