import CXen
import Glibc

/// Which versions of Xen's unstable interfaces are spoken with the hypervisor that runs (XEN_DOMCTL_INTERFACE_VERSION,
/// XEN_SYSCTL_INTERFACE_VERSION).
public struct HypervisorInterface: Hashable, Sendable, CustomStringConvertible {
  public let domctl, sysctl: UInt32
  /// The releases of Xen that speak this domctl: "4.19 to 4.21". Nil for one that only later ones can.
  public let releases: String?

  public var description: String { "domctl \(Self.text(domctl)), sysctl \(Self.text(sysctl))" }

  static func text(_ version: UInt32) -> String { "0x" + String(version, radix: 16) }

  /// The hypervisor speaks what this chaos does not know. The description is one line.
  public struct Unknown: Error, Hashable, CustomStringConvertible {
    public let description: String
  }

  /// The hypervisor's two unstable interfaces.
  enum Kind: String, Sendable {
    case domctl, sysctl
  }

  /// Versions that are looked for to say what a hypervisor speaks that none of the known ones is right for: Xen 3.3's
  /// to what is decades away at a version a year.
  private static let plausible: ClosedRange<UInt32> = 0x05...0x40

  /// Finds what the hypervisor speaks. It does not tell, but refuses every call of another version with EACCES.
  ///
  /// - Parameters:
  ///   - wanted: a domctl version to speak with what is known of the one before it, when the hypervisor takes it.
  ///   - xen: the hypervisor's version, for the message.
  ///   - accepts: makes a call that changes nothing in a version.
  /// - Throws: ``Unknown``; what `accepts` throws.
  static func find(
    wanted: UInt32?, xen: String, known: [cxen_interface] = Self.known, sysctls: [UInt32] = Self.knownSysctls,
    accepts: (Kind, UInt32) throws(XenError) -> Bool
  ) throws -> (HypervisorInterface, cxen_interface) {
    let sysctl = try find(.sysctl, in: sysctls, xen, nil, accepts)
    let domctl = try find(.domctl, in: known.map(\.domctl), xen, wanted, accepts)
    // A version that was asked for has the layouts of the newest one that is not later.
    guard var layout = known.last(where: { $0.domctl <= domctl }) ?? known.first else {
      throw Unknown(description: "no interface of Xen is known")
    }
    let releases = layout.domctl == domctl ? String(cString: layout.releases) : nil
    layout.domctl = domctl
    return (HypervisorInterface(domctl: domctl, sysctl: sysctl, releases: releases), layout)
  }

  private static func find(
    _ kind: Kind, in known: [UInt32], _ xen: String, _ wanted: UInt32?,
    _ accepts: (Kind, UInt32) throws(XenError) -> Bool
  ) throws -> UInt32 {
    if let wanted {
      if try accepts(kind, wanted) { return wanted }
      throw Unknown(description: "Xen \(xen) does not speak \(kind) interface \(text(wanted))")
    }
    for version in known.reversed() where try accepts(kind, version) { return version }
    let range = "\(known.first.map(text) ?? "none") to \(known.last.map(text) ?? "none")"
    guard let spoken = try plausible.first(where: { version throws(XenError) in try accepts(kind, version) }) else {
      throw Unknown(
        description: "Xen \(xen) refuses every \(kind) interface from \(text(plausible.lowerBound)) to "
          + "\(text(plausible.upperBound)); this chaosd knows \(range)")
    }
    let advice = kind == .domctl ? ", or try with --xen-interface \(text(spoken))" : ""
    throw Unknown(
      description:
        "Xen \(xen) speaks \(kind) interface \(text(spoken)) and this chaosd knows \(range): use a chaosd "
        + "made for it\(advice)")
  }

  static var known: [cxen_interface] {
    Array(UnsafeBufferPointer(start: cxen_interfaces_start(), count: cxen_interfaces_count))
  }
  static var knownSysctls: [UInt32] {
    Array(UnsafeBufferPointer(start: cxen_sysctl_versions_start(), count: cxen_sysctl_versions_count))
  }
}
