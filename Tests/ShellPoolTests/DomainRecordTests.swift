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
  handle: sampleHandle, domain: DomainID(rawValue: 7), phase: .guest,
  flavour: Flavour(
    memoryMiB: 8, vcpus: 2, vifs: 2, windowKiB: 512, image: Flavour.HotImage(kernel: kernel, ramdisk: ramdisk)),
  taps: [
    GuestTap(slot: 0, name: InterfaceName("ch7.0")!, index: InterfaceIndex(rawValue: 41)!),
    GuestTap(slot: 14, name: InterfaceName("ch7.14")!, index: InterfaceIndex(rawValue: 52)!),
  ],
  guest: GuestRecord(
    name: "fw-1", imageName: "firewall", kernel: kernel, ramdisk: ramdisk, bus: .noxs, runtimeABI: 1,
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
    ]), startInfoFrame: 0x7ff)

/// A record with none of them.
let bareRecord = DomainRecord(
  handle: sampleHandle, phase: .starting, flavour: Flavour(memoryMiB: 1, vcpus: 1, vifs: 0),
  guest: GuestRecord(
    name: "g", imageName: nil, kernel: kernel, ramdisk: nil, bus: .none, runtimeABI: nil, commandLine: "",
    created: 0, vifs: [])
)

private func read(_ text: String) throws -> DomainRecord? { try? DomainRecord(json: try JSON(parsing: text)) }

@Suite struct DomainRecordTests {
  @Test(arguments: [
    fullRecord, bareRecord,
    DomainRecord(
      handle: sampleHandle, phase: .shell,
      flavour: Flavour(memoryMiB: 8, vcpus: 1, vifs: 1, image: Flavour.HotImage(kernel: kernel))),
  ])
  func aRecordComesBackAsItWasWritten(record: DomainRecord) throws {
    #expect(try DomainRecord(json: try JSON(parsing: record.json.compact)) == record)
  }

  @Test(arguments: [DomainRecord.Phase.building, .shell, .starting, .guest, .ending])
  func everyPhaseComesBack(phase: DomainRecord.Phase) throws {
    var record = bareRecord
    record.phase = phase
    #expect(try DomainRecord(json: record.json).phase == phase)
  }

  @Test func whatIsWantedOfAGuestComesBack() throws {
    var record = fullRecord
    record.guest?.policies = GuestPolicies(onPoweroff: .restart, onReboot: .destroy, onCrash: .restart)
    record.guest?.autostart = true
    record.guest?.after = ["dns", "router"]
    record.guest?.scheduling = Scheduling(cpus: "0-3,^2", weight: 512, cap: 50)
    record.guest?.restarts = 7
    record.guest?.isUntold = true
    record.guest?.isHeld = true
    #expect(try DomainRecord(json: try JSON(parsing: record.json.compact)) == record)
  }

  /// What a later chaosd must still read.
  @Test func aRecordIsThisText() throws {
    #expect(String(decoding: fullRecord.json.compact, as: UTF8.self) == Self.text(version: 2))
  }

  /// The full record as version 1 wrote it, and as version 2 does.
  private static func text(version: Int) -> String {
    let domain = version == 1 ? "" : "\"domain\":7,"
    let bus = version == 1 ? "" : "\"bus\":\"noxs\","
    let taps =
      version == 1
      ? ""
      : "\"taps\":[{\"slot\":0,\"name\":\"ch7.0\",\"index\":41},{\"slot\":14,\"name\":\"ch7.14\",\"index\":52}],"
    let lifeCycle =
      version == 1
      ? ""
      : ",\"policies\":{\"onPoweroff\":\"destroy\",\"onReboot\":\"restart\",\"onCrash\":\"preserve\"},\"restarts\":0"
        + ",\"told\":true"
    return """
      {"version":\(version),"uuid":"a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf",\(domain)"phase":"guest",\
      "flavour":{"memory":8,"vcpus":2,"vifs":2,"window":512,"kernel":"\(kernel.hexadecimal)",\
      "ramdisk":"\(ramdisk.hexadecimal)"},\(taps)\
      "guest":{"name":"fw-1","image":"firewall","kernel":"\(kernel.hexadecimal)",\
      "ramdisk":"\(ramdisk.hexadecimal)",\(bus)"abi":1,"cmdline":"role=\\"é\\"\\n","created":1790000000,"vifs":[\
      {"slot":0,"mac":"02:ca:fe:00:00:05","lan":"blue","bridge":"lan7","mtu":1450,"features":4831877251,"ip":"10.7.0.2/24",\
      "gateway":"10.7.0.1","ip6":"fd00::2/64","gateway6":"fd00::1"},\
      {"slot":14,"mac":"02:ca:fe:00:00:06","bridge":"br0","mtu":1500,"features":4831870976}]\(lifeCycle)},"startInfo":2047}
      """
  }

  @Test func aRecordOfTheVersionBeforeIsRead() throws {
    var expected = fullRecord
    expected.domain = nil
    expected.taps = nil
    // It did not say whether the guest knows of all that was changed.
    expected.guest?.isUntold = true
    #expect(try read(Self.text(version: 1)) == expected)
  }

  @Test func theVersionBeforeHadKernelsWithoutADevicePage() throws {
    let text = Self.text(version: 1).replacing("\"abi\":1,", with: "")
    #expect(try read(text)?.guest?.bus == DeviceBus.none)
  }

  @Test func aRecordOfALaterVersionIsToldFromADamagedOne() throws {
    #expect(throws: DomainRecord.Unreadable.newer(version: 3)) {
      try DomainRecord(
        json: try JSON(parsing: Self.text(version: 2).replacing("\"version\":2", with: "\"version\":3")))
    }
  }

  /// What is replaced in the text of the full record, and by what.
  @Test(arguments: [
    ("\"version\":2", "\"version\":0"),
    ("\"version\":2", "\"version\":\"2\""),
    ("\"domain\":7", "\"domain\":0"),
    ("\"domain\":7", "\"domain\":65536"),
    ("\"taps\":[", "\"taps\":[7,"),
    ("\"name\":\"ch7.0\"", "\"name\":\"ch/7\""),
    ("\"index\":41", "\"index\":0"),
    ("\"slot\":14,\"name\"", "\"slot\":0,\"name\""),
    ("\"bus\":\"noxs\"", "\"bus\":\"pci\""),
    ("\"bus\":\"noxs\",", ""),
    ("\"onCrash\":\"preserve\"", "\"onCrash\":\"reap\""),
    ("\"restarts\":0", "\"restarts\":-1"),
    ("\"told\":true", "\"told\":1"),
    ("\"restarts\":0", "\"restarts\":0,\"after\":7"),
    ("\"restarts\":0", "\"restarts\":0,\"autostart\":1"),
    ("\"restarts\":0", "\"restarts\":0,\"scheduling\":[]"),
    ("\"startInfo\":2047", "\"startInfo\":-1"),
    ("\"version\":2,", ""),
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
}

extension String {
  fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
    self[..<range.lowerBound] + text + self[range.upperBound...]
  }
}
