import ChaosAPI
import Glibc
import ImageStore
import NetworkAddresses
import ShellPool
import Testing
import VirtualLAN
import Xen

@testable import Toolstack

/// Notes of guests that are to be started: what a reboot of a guest or of its host goes by.
@Suite final class StartNoteTests {
  private let folder: String
  private static let handle = DomainHandle(Array(0xa0...0xaf))!
  private static let kernel = ImageDigest(String(repeating: "0a", count: 32))!

  init() {
    var template = Array("/tmp/chaos-notes.XXXXXX".utf8CString)
    folder = String(cString: mkdtemp(&template)!)
  }

  deinit {
    for name in ["\(Self.handle.uuid).json", "noise.json"] { unlink("\(folder)/\(name)") }
    rmdir(folder)
  }

  private static var record: GuestRecord {
    var record = GuestRecord(
      name: "fw-1", imageName: "firewall", kernel: kernel, ramdisk: nil, bus: .noxs, runtimeABI: 1,
      commandLine: "role=edge", created: 1_790_000_000,
      vifs: [
        VifRecord(
          slot: 0, mac: MACAddress("02:ca:fe:00:00:05")!, lan: "blue", bridge: InterfaceName("lan7")!, mtu: 1450,
          features: 1, ipv4: IPv4Interface("10.7.0.2/24"), ipv4Gateway: IPv4Address("10.7.0.1")),
        VifRecord(
          slot: 1, mac: MACAddress("02:ca:fe:00:00:06")!, bridge: InterfaceName("br0")!, mtu: 1500, features: 1),
      ])
    record.policies.onCrash = .restart
    record.autostart = true
    record.after = ["dns"]
    record.scheduling = Scheduling(cpus: "0-1", weight: 512, cap: 50)
    record.restarts = 3
    return record
  }

  private static var note: StartNote {
    StartNote(record, handle: handle, flavour: Flavour(memoryMiB: 8, vcpus: 2, vifs: 2, windowKiB: 512))
  }

  @Test func aNoteAsksForTheSameGuest() {
    let request = Self.note.request
    #expect(request.name == "fw-1" && request.uuid == Self.handle.uuid)
    // By digest: the name may mean another image by now.
    #expect(request.image == Self.kernel.description && Self.note.imageName == "firewall")
    #expect(request.memoryMiB == 8 && request.vcpus == 2 && request.windowKiB == 512)
    #expect(request.vifs.map(\.mac) == ["02:ca:fe:00:00:05", "02:ca:fe:00:00:06"])
    #expect(request.vifs.map(\.lan) == ["blue", nil] && request.vifs.map(\.bridge) == [nil, "br0"])
    #expect(request.policies == Self.record.policies && request.autostart && request.after == ["dns"])
    #expect(request.scheduling == Self.record.scheduling)
  }

  @Test func aNoteOutlivesTheDaemon() throws {
    let notes = try StartNotes(folder: folder, durability: .powerCut) { Issue.record("\($0)") }
    try notes.write(Self.note)
    let next = try StartNotes(folder: folder, durability: .powerCut) { Issue.record("\($0)") }
    #expect(next.all == [Self.note])
    #expect(next.find("fw-1") == Self.note && next.find(Self.handle.uuid) == Self.note && next.find("x") == nil)
    try next.remove(Self.handle)
    try next.remove(Self.handle)
    #expect(try StartNotes(folder: folder, durability: .powerCut) { _ in }.all == [])
  }

  @Test(arguments: [
    "", "{", "[]", "{\"version\":1}", "{\"version\":2}",
    "{\"version\":1,\"uuid\":\"x\",\"restarts\":0,\"request\":{}}",
  ])
  func aDamagedNoteIsReportedAndLeft(text: String) throws {
    let path = "\(folder)/noise.json"
    let file = open(path, O_WRONLY | O_CREAT, 0o600)
    #expect(write(file, text, text.utf8.count) == text.utf8.count)
    close(file)
    var reports: [String] = []
    let notes = try StartNotes(folder: folder, durability: .powerCut) { reports.append($0) }
    #expect(notes.all == [] && reports.count == 1)
    #expect(access(path, F_OK) == 0)
  }

  @Test func defaultAddressesDifferForUUIDsOfOneHost() {
    // RFC 4122 version 1: time first, the host's address last.
    let first = DomainHandle(uuid: "5e3ba9a0-9f0a-11f0-8de9-0242ac120002")!
    let second = DomainHandle(uuid: "5e3ba9a1-9f0a-11f0-8de9-0242ac120002")!
    var seen: Set<String> = []
    for handle in [first, second] {
      for slot in 0..<15 {
        let mac = PlannedVif.defaultMAC(handle, slot: slot)
        #expect(mac.description.hasPrefix("02:"))
        seen.insert(mac.description)
      }
    }
    #expect(seen.count == 30)
    #expect(PlannedVif.defaultMAC(first, slot: 3) == PlannedVif.defaultMAC(first, slot: 3))
  }
}
