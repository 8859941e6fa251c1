/// A released version of the CNI specification that this plug-in speaks.
public enum CNIVersion: String, Sendable, CaseIterable, Comparable {
  case v030 = "0.3.0"
  case v031 = "0.3.1"
  case v040 = "0.4.0"
  case v100 = "1.0.0"
  case v110 = "1.1.0"

  public static let latest = CNIVersion.v110

  /// All of them, oldest first, for error messages.
  static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }

  private var position: Int { Self.allCases.firstIndex(of: self)! }

  public static func < (left: CNIVersion, right: CNIVersion) -> Bool { left.position < right.position }

  /// Whether each address of a result says its family in a key `version`, which 1.0.0 dropped.
  var namesFamilies: Bool { self < .v100 }

  /// Whether interfaces of a result have `mtu`, `socketPath` and `pciID`, and routes more than a next hop.
  var hasLinkDetails: Bool { self >= .v110 }
}
