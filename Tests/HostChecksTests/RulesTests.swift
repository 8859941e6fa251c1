import ChaosAPI
import Foundation
import Testing

@testable import HostChecks

extension HostFacts {
  /// A host that has all.
  fileprivate static var well: HostFacts {
    let space = Space(path: "/", freeBytes: 1 << 30, freeFiles: 1 << 20, isReadOnly: false, isTaken: false)
    return HostFacts(
      version: "1.0", hypervisor: .dom0,
      devices: ["/dev/xen/privcmd": .ok, "/dev/xen/evtchn": .ok, "/dev/vhost-net": .ok, "/dev/net/tun": .ok],
      xenInterface: .found(nil), memory: .found(Memory(dom0IsFixed: true, dom0MiB: 1024, freeMiB: 4096)),
      missingModules: .found([]), hasCgroup2: true, bridgeFilters: .found([]),
      frr: FRR(lans: ["red"], isInstalled: true, bgpdRuns: true), damagedLANs: [], hasGroup: true,
      backendUser: "chaos-backend", hasBackendUser: true,
      socket: Socket(path: "/run/chaos/chaosd.sock", mode: 0o660, isChaosGroups: true),
      spaces: Dictionary(uniqueKeysWithValues: HostCheck.Storage.allCases.map { ($0, .found(space)) }),
      chaosd: [Process(id: 7, isOutdated: false, descriptors: 1 << 20)],
      backend: [Process(id: 8, isOutdated: false, descriptors: 1 << 20)],
      daemon: .found(.answers(version: "1.0")), unwell: .found([]), domains: .found(3), descriptors: 1 << 20,
      podman: Podman(isInstalled: true, hasNetavark: true, hasCNIPlugin: false, hasNetavarkPlugin: true))
  }
}

/// What is wrong, by the check that finds it.
private struct Fault: Sendable, CustomTestStringConvertible {
  let id: String
  let says: String
  let change: @Sendable (inout HostFacts) -> Void

  init(_ id: String, _ says: String, _ change: @escaping @Sendable (inout HostFacts) -> Void) {
    self.id = id
    self.says = says
    self.change = change
  }

  var testDescription: String { "\(id): \(says)" }
}

private let faults: [Fault] = [
  Fault("xen", "without Xen") { $0.hypervisor = .none },
  Fault("xen", "a guest") { $0.hypervisor = .guest },
  Fault("xen-privcmd", "missing") { $0.devices["/dev/xen/privcmd"] = .missing },
  Fault("xen-evtchn", "Permission denied") { $0.devices["/dev/xen/evtchn"] = .unusable("Permission denied") },
  Fault("vhost-net", "missing") { $0.devices["/dev/vhost-net"] = nil },
  Fault("tun", "not a device") { $0.devices["/dev/net/tun"] = .unusable("not a device") },
  Fault("xen-interface", "domctl 0x19") { $0.xenInterface = .found("Xen speaks domctl 0x19") },
  Fault("dom0-memory", "no fixed memory") {
    $0.memory = .found(.init(dom0IsFixed: false, dom0MiB: 9000, freeMiB: 0))
  },
  Fault("free-memory", "12 MiB are free") {
    $0.memory = .found(.init(dom0IsFixed: true, dom0MiB: 1024, freeMiB: 12))
  },
  Fault("network-modules", "no bridge, vxlan") { $0.missingModules = .found(["bridge", "vxlan"]) },
  Fault("bridge-filter", "hands LAN frames") {
    $0.bridgeFilters = .found([
      "br_netfilter hands LAN frames to iptables: sysctl -w x=0", "a chain drops: accept them",
    ])
  },
  Fault("lan-files", "red.json") { $0.damagedLANs = ["/etc/chaos/lans/red.json: vni missing"] },
  Fault("frr", "not installed") { $0.frr.isInstalled = false },
  Fault("frr", "bgpd does not run") { $0.frr.bgpdRuns = false },
  Fault("cgroup2", "no cgroup2") { $0.hasCgroup2 = false },
  Fault("group", "no group chaos") { $0.hasGroup = false },
  Fault("backend-user", "no user chaos-backend") { $0.hasBackendUser = false },
  Fault("space-run", "KiB left") {
    $0.spaces[.run] = .found(.init(path: "/run", freeBytes: 4096, freeFiles: 99, isReadOnly: false, isTaken: false))
  },
  Fault("space-state", "2 more files") {
    $0.spaces[.state] = .found(
      .init(path: "/var", freeBytes: 1 << 30, freeFiles: 2, isReadOnly: false, isTaken: false))
  },
  Fault("space-log", "read-only") {
    $0.spaces[.log] = .found(
      .init(path: "/var", freeBytes: 1 << 30, freeFiles: nil, isReadOnly: true, isTaken: false))
  },
  Fault("space-settings", "0 KiB left") {
    $0.spaces[.settings] = .found(.init(path: "/", freeBytes: 0, freeFiles: nil, isReadOnly: false, isTaken: false))
  },
  Fault("space-state", "is no folder") {
    $0.spaces[.state] = .found(
      .init(path: "/var/lib/chaos", freeBytes: 1 << 30, freeFiles: nil, isReadOnly: false, isTaken: true))
  },
  Fault("descriptors", "enough for 113 guests") { $0.chaosd[0].descriptors = 1024 },
  Fault("descriptors", "enough for 113 guests") { $0.backend[0].descriptors = 1024 },
  Fault("chaosd", "does not run") {
    $0.daemon = .found(.silent("refused"))
    $0.chaosd = []
  },
  Fault("chaosd", "process 7") { $0.daemon = .found(.silent("nothing within 5 s")) },
  Fault("chaosd", "no chaosd of this version") { $0.daemon = .found(.strange("version: missing")) },
  Fault("chaosd-program", "was replaced") { $0.chaosd[0].isOutdated = true },
  Fault("chaosd-version", "version 0.9") { $0.daemon = .found(.answers(version: "0.9")) },
  Fault("socket", "mode 666") { $0.socket?.mode = 0o666 },
  Fault("socket", "not group chaos's") { $0.socket?.isChaosGroups = false },
  Fault("health", "reconciler: 2; lans: 1") { $0.unwell = .found(["reconciler: 2", "lans: 1"]) },
  Fault("chaos-backend", "does not run") { $0.backend = [] },
  Fault("backend-program", "was replaced") { $0.backend[0].isOutdated = true },
  Fault("podman", "no plug-in") { $0.podman.hasNetavarkPlugin = false },
]

@Suite struct RulesTests {
  @Test("a host that has all is well")
  func well() {
    let report = HostReport(.well)
    #expect(report.errors.isEmpty && report.warnings.isEmpty)
    #expect(
      report.text(isWhole: false)
        == "\(report.checks.count) checks: \(report.checks.count) ok, 0 errors, 0 warnings, 0 unknown\n")
    #expect(report.text(isWhole: true).split(separator: "\n").count == report.checks.count + 1)
  }

  @Test("what is wrong is found by one check, which says what it is and how it is mended", arguments: faults)
  fileprivate func finds(fault: Fault) throws {
    var facts = HostFacts.well
    fault.change(&facts)
    let report = HostReport(facts)
    let failed = report.errors + report.warnings
    #expect(failed.map(\.id) == [fault.id])
    guard case .failed(let found, let remedy)? = failed.first?.verdict else { return }
    #expect(found.contains(fault.says) && !remedy.isEmpty)
    #expect(!(found + remedy).contains("\n"))
    #expect(report.text(isWhole: false).split(separator: "\n").count { !$0.hasPrefix("unknown") } == 3)
  }

  @Test("every check has a fault that it finds, and a line in the documentation")
  func documented() throws {
    let ids = Rule.all.map(\.id)
    #expect(Set(ids).count == ids.count)
    #expect(Set(ids) == Set(faults.map(\.id)))
    let page = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "../../docs/operations.md"), encoding: .utf8)
    for rule in Rule.all {
      #expect(page.contains("| `\(rule.id)` | \(rule.level.rawValue) |"), "\(rule.id)")
    }
  }

  @Test("one that runs chaos-backend as root needs no user for it")
  func asRoot() {
    var facts = HostFacts.well
    (facts.backendUser, facts.hasBackendUser) = (nil, false)
    #expect(HostReport(facts).errors.isEmpty)
  }

  @Test("what nobody could look at is neither well nor wrong")
  func unknown() {
    var facts = HostFacts.well
    facts.memory = .unknown("only root may ask Xen")
    facts.daemon = .unknown("permission denied")
    facts.spaces = [:]
    facts.unwell = .unknown("permission denied")
    facts.domains = .unknown("permission denied")
    facts.devices["/dev/net/tun"] = .unknown("only root may open it")
    facts.chaosd[0].isOutdated = nil
    facts.socket = nil
    let report = HostReport(facts)
    #expect(report.errors.isEmpty && report.warnings.isEmpty)
    #expect(report.text(isWhole: false).contains("unknown  dom0-memory       only root may ask Xen\n"))
    #expect(report.json["unknown"] == .number(13))
    #expect(report.json["status"] == .string("ok"))
  }
}
