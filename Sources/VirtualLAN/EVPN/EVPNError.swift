/// Why EVPN could not be set up, taken down or asked. The description is one line that names the field and the value.
public struct EVPNError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Hashable, Sendable {
    /// A value that can never be right here.
    case invalid
    /// Right in itself, but in the way of what FRR's user configured.
    case conflict
    /// FRR is missing, or does not start.
    case unavailable
    /// A file or a daemon refused.
    case system
  }

  public let kind: Kind
  /// The field of the request that is to blame.
  public let field: String?
  public let description: String

  public init(_ kind: Kind, _ description: String, field: String? = nil) {
    self.kind = kind
    self.field = field
    self.description = description
  }
}
