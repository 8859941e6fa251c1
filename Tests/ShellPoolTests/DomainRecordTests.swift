import ChaosAPI
import ImageStore
import NetworkAddresses
import Testing
import VirtualLAN
import Xen

@testable import ShellPool

let sampleHandle = DomainHandle(Array(0xa0...0xaf))!
private let kernel = ImageDigest(String(repeating: "0a", count: 32))!
private let ramdisk = ImageDigest(String(repeating: "1b", count: 32))!

/// A record with every optional field.
let fullRecord = DomainRecord(
  handle: sampleHandle, phase: .guest,
  flavour: Flavour(
    memoryMiB: 8, vcpus: 2, vifs: 2, windowKiB: 512, image: Flavour.HotImage(kernel: kernel, ramdisk: ramdisk)),
  guest: GuestRecord(
    name: "fw-1", imageName: "firewall", kernel: kernel, ramdisk: ramdisk, runtimeABI: 1,
    commandLine: "role=\"é\"\n", created: 1_790_000_000,
    vifs: [
      VifRecord(
        slot: 0, mac: MACAddress("02:ca:fe:00:00:05")!, lan: "blue", bridge: InterfaceName("lan7")!, mtu: 1450,
        features: 0x1_2000_9883,
        ipv4: IPv4Interface("10.7.0.2/24"), ipv4Gateway: IPv4Address("10.7.0.1"),
        ipv6: IPv6Interface("fd00::2/64"), ipv6Gateway: IPv6Address("fd00::1")),
      VifRecord(
        slot: 14, mac: MACAddress("02:ca:fe:00:00:06")!, bridge: InterfaceName("br0")!, mtu: 1500,
        features: 0x1_2000_8000),
    ]))

/// A record with none of them.
let bareRecord = DomainRecord(
  handle: sampleHandle, phase: .starting, flavour: Flavour(memoryMiB: 1, vcpus: 1, vifs: 0),
  guest: GuestRecord(
    name: "g", imageName: nil, kernel: kernel, ramdisk: nil, runtimeABI: nil, commandLine: "", created: 0, vifs: [])
)

private func read(_ text: String) throws -> DomainRecord? { DomainRecord(json: try JSON(parsing: text)) }

@Suite struct DomainRecordTests {
  @Test(arguments: [
    fullRecord, bareRecord,
    DomainRecord(
      handle: sampleHandle, phase: .shell,
      flavour: Flavour(memoryMiB: 8, vcpus: 1, vifs: 1, image: Flavour.HotImage(kernel: kernel))),
  ])
  func aRecordComesBackAsItWasWritten(record: DomainRecord) throws {
    #expect(DomainRecord(json: try JSON(parsing: record.json.compact)) == record)
  }

  @Test(arguments: [DomainRecord.Phase.building, .shell, .starting, .guest, .ending])
  func everyPhaseComesBack(phase: DomainRecord.Phase) throws {
    var record = bareRecord
    record.phase = phase
    #expect(DomainRecord(json: record.json)?.phase == phase)
  }

  /// What a later chaosd must still read.
  @Test func aRecordIsThisText() throws {
    #expect(
      String(decoding: fullRecord.json.compact, as: UTF8.self) == """
        {"version":1,"uuid":"a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf","phase":"guest",\
        "flavour":{"memory":8,"vcpus":2,"vifs":2,"window":512,"kernel":"\(kernel.hexadecimal)",\
        "ramdisk":"\(ramdisk.hexadecimal)"},\
        "guest":{"name":"fw-1","image":"firewall","kernel":"\(kernel.hexadecimal)",\
        "ramdisk":"\(ramdisk.hexadecimal)","abi":1,"cmdline":"role=\\"é\\"\\n","created":1790000000,"vifs":[\
        {"slot":0,"mac":"02:ca:fe:00:00:05","lan":"blue","bridge":"lan7","mtu":1450,"features":4831877251,"ip":"10.7.0.2/24",\
        "gateway":"10.7.0.1","ip6":"fd00::2/64","gateway6":"fd00::1"},\
        {"slot":14,"mac":"02:ca:fe:00:00:06","bridge":"br0","mtu":1500,"features":4831870976}]}}
        """)
  }

  /// What is replaced in the text of the full record, and by what.
  @Test(arguments: [
    ("\"version\":1", "\"version\":2"),
    ("\"version\":1", "\"version\":\"1\""),
    ("\"version\":1,", ""),
    ("\"uuid\":\"a0", "\"uuid\":\"g0"),
    ("\"phase\":\"guest\"", "\"phase\":\"idle\""),
    ("\"phase\":\"guest\",", ""),
    ("\"memory\":8,", ""),
    ("\"memory\":8", "\"memory\":8.5"),
    ("\"memory\":8", "\"memory\":0"),
    ("\"memory\":8", "\"memory\":9223372036854775807"),
    ("\"vcpus\":2", "\"vcpus\":-1"),
    ("\"vcpus\":2", "\"vcpus\":9223372036854775807"),
    ("\"vifs\":2", "\"vifs\":16"),
    ("\"vifs\":2", "\"vifs\":-1"),
    ("\"window\":512", "\"window\":9223372036854775807"),
    ("\"window\":512,\"kernel\":\"0a", "\"window\":512,\"kernel\":\"0g"),
    ("\"ramdisk\":\"1b", "\"ramdisk\":\"1g"),
    ("\"abi\":1", "\"abi\":\"1\""),
    ("\"name\":\"fw-1\",", ""),
    ("\"image\":\"firewall\"", "\"image\":7"),
    ("\"name\":\"fw-1\"", "\"name\":\"\(String(repeating: "n", count: 64))\""),
    ("\"cmdline\":\"", "\"cmdline\":\"\(String(repeating: "c", count: 1024))"),
    ("\"created\":1790000000", "\"created\":\"now\""),
    ("\"created\":1790000000", "\"created\":-1"),
    ("\"created\":1790000000", "\"created\":18446744074"),
    ("\"slot\":14", "\"slot\":15"),
    ("\"slot\":14", "\"slot\":0"),
    ("\"lan\":\"blue\"", "\"lan\":7"),
    ("\"mtu\":1450", "\"mtu\":65536"),
    ("\"vifs\":[", "\"vifs\":[7,"),
    ("\"mac\":\"02:ca", "\"mac\":\"02:cg"),
    ("\"bridge\":\"lan7\"", "\"bridge\":\"lan/7\""),
    ("\"mtu\":1450", "\"mtu\":null"),
    ("\"features\":4831877251", "\"features\":-1"),
    ("\"ip\":\"10.7.0.2/24\"", "\"ip\":\"10.7.0.2\""),
    ("\"gateway\":\"10.7.0.1\"", "\"gateway\":\"10.7.0.256\""),
    ("\"ip6\":\"fd00::2/64\"", "\"ip6\":\"fd00::2/129\""),
    ("\"gateway6\":\"fd00::1\"", "\"gateway6\":true"),
  ])
  func aDamagedRecordIsRefusedAltogether(original: String, damage: String) throws {
    let text = String(decoding: fullRecord.json.compact, as: UTF8.self)
    let range = try #require(text.firstRange(of: original))
    #expect(try read(text) == fullRecord)
    #expect(try read(text.replacingCharacters(in: range, with: damage)) == nil)
  }

  @Test(arguments: ["null", "[]", "{}", "7", "{\"version\":1}"])
  func whatIsNoRecordIsRefused(text: String) throws {
    #expect(try read(text) == nil)
  }

  @Test func aTapSaysWhoseItIs() {
    let tap = DomainShell.tapName(DomainID(rawValue: 32751), slot: 14)
    #expect(tap.description == "ch32751.14")
    let owner = DomainShell.owner(ofTap: tap.description)
    #expect(owner?.domain == DomainID(rawValue: 32751))
    #expect(owner?.slot == 14)
    for name in [
      "ch7", "ch.0", "ch7.", "ch7.0.1", "eth7.0", "ch65536.0", "ch+7.0", "ch7.+0", "ch07.0", "ch-7.0", "ch7.015",
      "ch7.15",
    ] {
      #expect(DomainShell.owner(ofTap: name) == nil, "\(name)")
    }
  }
}

extension String {
  fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
    self[..<range.lowerBound] + text + self[range.upperBound...]
  }
}
