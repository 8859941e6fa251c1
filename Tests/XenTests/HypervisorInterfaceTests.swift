import CXen
import Foundation
import Testing

@testable import Xen

/// Which versions a hypervisor takes.
private struct Taken {
  var domctl: UInt32
  var sysctl: UInt32

  func find(wanted: UInt32? = nil) throws -> (HypervisorInterface, cxen_interface) {
    try HypervisorInterface.find(wanted: wanted, xen: "9.9.1") { kind, version in
      version == (kind == .domctl ? domctl : sysctl)
    }
  }
}

struct HypervisorInterfaceTests {
  @Test(arguments: [
    (UInt32(0x15), UInt32(0x15), "4.17"), (0x16, 0x15, "4.18"), (0x17, 0x15, "4.19 to 4.21"),
    (0x17, 0x16, "4.19 to 4.21"), (0x18, 0x16, "4.22"),
  ])
  func whatTheHypervisorTakesIsSpoken(domctl: UInt32, sysctl: UInt32, releases: String) throws {
    let (interface, layout) = try Taken(domctl: domctl, sysctl: sysctl).find()
    #expect(interface == HypervisorInterface(domctl: domctl, sysctl: sysctl, releases: releases))
    #expect(layout.domctl == domctl)
  }

  @Test func whatItTakesInsteadIsSaid() throws {
    #expect(
      throws: HypervisorInterface.Unknown(
        description:
          "Xen 9.9.1 speaks domctl interface 0x19 and this chaosd knows 0x15 to 0x18: use a chaosd made for it, "
          + "or try with --xen-interface 0x19")
    ) { try Taken(domctl: 0x19, sysctl: 0x16).find() }
    #expect(
      throws: HypervisorInterface.Unknown(
        description:
          "Xen 9.9.1 speaks sysctl interface 0x17 and this chaosd knows 0x15 to 0x16: use a chaosd made for it"
      )
    ) { try Taken(domctl: 0x18, sysctl: 0x17).find() }
    #expect(
      throws: HypervisorInterface.Unknown(
        description: "Xen 9.9.1 refuses every domctl interface from 0x5 to 0x40; this chaosd knows 0x15 to 0x18")
    ) {
      try Taken(domctl: 0x99, sysctl: 0x16).find()
    }
  }

  @Test func oneThatIsAskedForHasTheLayoutsOfTheNewestKnown() throws {
    let (interface, layout) = try Taken(domctl: 0x19, sysctl: 0x16).find(wanted: 0x19)
    #expect(interface == HypervisorInterface(domctl: 0x19, sysctl: 0x16, releases: nil))
    #expect(layout.domctl == 0x19 && layout.altp2m_bytes == 4 && layout.any_domain == 0x7ff5)
    #expect(throws: HypervisorInterface.Unknown(description: "Xen 9.9.1 does not speak domctl interface 0x99")) {
      try Taken(domctl: 0x18, sysctl: 0x16).find(wanted: 0x99)
    }
  }

  @Test func anotherFailureIsNotTakenForARefusal() {
    #expect(throws: XenError.self) {
      try HypervisorInterface.find(wanted: nil, xen: "4.17") { _, _ throws(XenError) in
        throw XenError(call: "ask", domain: nil, errno: EPERM)
      }
    }
  }
}

/// What Xen's headers say of one name.
private struct Place: Equatable {
  var offset: Int
  var size: Int
}

/// What `Layouts/dump.c` printed with the headers of a release.
private struct Layouts {
  var places: [String: Place] = [:]

  private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Layouts")

  init(release: String) throws {
    try self.init(text: String(contentsOf: Self.folder.appending(path: "xen-\(release).txt"), encoding: .utf8))
  }

  init(text: String) throws {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      places[String(words[0])] = Place(offset: try #require(Int(words[1])), size: try #require(Int(words[2])))
    }
  }

  /// With the headers that are installed here.
  static func installed() throws -> Layouts {
    let program = FileManager.default.temporaryDirectory.appending(path: "layouts-\(getpid())")
    defer { try? FileManager.default.removeItem(at: program) }
    _ = try run("/usr/bin/gcc", "-o", program.path, folder.appending(path: "dump.c").path)
    return try Layouts(text: try run(program.path))
  }

  private static func run(_ program: String, _ arguments: String...) throws -> String {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: program)
    process.arguments = arguments
    process.standardOutput = output
    try process.run()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return String(decoding: text, as: UTF8.self)
  }

  func place(_ name: String) throws -> Place { try #require(places[name], "\(name)") }
  var domctl: UInt32 { get throws { UInt32(try place("XEN_DOMCTL_INTERFACE_VERSION").offset) } }
  var sysctl: UInt32 { get throws { UInt32(try place("XEN_SYSCTL_INTERFACE_VERSION").offset) } }
}

struct LayoutTests {
  static let releases = ["4.17", "4.18", "4.19", "4.20", "4.21", "4.22"]

  @Test(arguments: releases)
  func membersLieWhereTheHeadersHaveThem(release: String) throws {
    let layouts = try Layouts(release: release)
    for member in UnsafeBufferPointer(start: cxen_members_start(), count: cxen_members_count) {
      let name = String(cString: member.name)
      #expect(try layouts.place(name) == Place(offset: member.offset, size: member.size), "\(name)")
    }
  }

  @Test(arguments: releases)
  func everyReleaseHasARow(release: String) throws {
    let layouts = try Layouts(release: release)
    #expect(HypervisorInterface.knownSysctls.contains(try layouts.sysctl))
    let domctl = try layouts.domctl
    let row = try #require(HypervisorInterface.known.first { $0.domctl == domctl })
    let ends = String(cString: row.releases).split(separator: " to ").map(String.init)
    #expect(ends[0] <= release && release <= ends[ends.count - 1])
  }

  /// The bytes of the one call that differs, against what the release's headers make of it.
  @Test(arguments: releases)
  func createIsEncodedAsTheHeadersHaveIt(release: String) throws {
    let layouts = try Layouts(release: release)
    let domctl = try layouts.domctl
    var row = try #require(HypervisorInterface.known.first { $0.domctl == domctl })
    var limits = cxen_domain_limits()
    withUnsafeMutableBytes(of: &limits.handle) { $0.copyBytes(from: 1...16) }
    (limits.max_vcpus, limits.max_event_channel_port, limits.max_grant_frames) = (4, 1023, 32)
    var bytes = [UInt8](repeating: 0xff, count: CXEN_DOMCTL_BYTES)
    cxen_encode_create_bytes(&row, &limits, &bytes)

    let at = try layouts.place("xen_domctl.u").offset
    var expected = [UInt8](repeating: 0, count: bytes.count)
    func put(_ value: some FixedWidthInteger, _ offset: Int) {
      withUnsafeBytes(of: value.littleEndian) { expected.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
    func put(_ value: UInt32, _ member: String) throws {
      put(value, at + (try layouts.place("xen_domctl_createdomain." + member).offset))
    }
    put(UInt32(try layouts.place("XEN_DOMCTL_createdomain").offset), try layouts.place("xen_domctl.cmd").offset)
    put(domctl, try layouts.place("xen_domctl.interface_version").offset)
    put(UInt16(domctl >= 0x18 ? 0x7ff5 : 0), try layouts.place("xen_domctl.domain").offset)
    let handle = at + (try layouts.place("xen_domctl_createdomain.handle").offset)
    expected.replaceSubrange(handle..<handle + 16, with: 1...16)
    try put(
      UInt32(try layouts.place("XEN_DOMCTL_CDF_hvm").offset | layouts.place("XEN_DOMCTL_CDF_hap").offset), "flags")
    try put(4, "max_vcpus")
    try put(1023, "max_evtchn_port")
    try put(32, "max_grant_frames")
    try put(1, "grant_opts")
    try put(UInt32(try layouts.place("XEN_X86_EMU_LAPIC").offset), "arch.emulation_flags")
    #expect(bytes == expected)
  }

  /// Keeps the texts honest: those of the release that is installed here are made anew.
  @Test func installedHeadersSayWhatTheTextSays() throws {
    let installed = try Layouts.installed()
    let domctl = try installed.domctl
    let same = try Self.releases.map { try Layouts(release: $0) }.filter { try $0.domctl == domctl }
    #expect(same.contains { $0.places == installed.places })
  }

  @Test(arguments: releases)
  func numbersHaveNotChanged(release: String) throws {
    let layouts = try Layouts(release: release)
    let first = try Layouts(release: "4.17")
    for (name, place) in first.places where name.hasPrefix("XEN_") && !name.contains("INTERFACE_VERSION") {
      #expect(layouts.places[name] == place, "\(name)")
    }
    let dying = try layouts.place("XEN_DOMINF_dying").offset
    #expect(UInt32(dying) == cxen_domain_dying)
    #expect(UInt32(try layouts.place("XEN_DOMINF_shutdown").offset) == cxen_domain_shutdown)
    #expect(UInt32(try layouts.place("XEN_DOMINF_paused").offset) == cxen_domain_paused)
  }
}
