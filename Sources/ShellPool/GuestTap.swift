import VirtualLAN

/// The tap of a domain's vif, as it was made: by its index and its name together it is known from an interface of
/// somebody else's that is called the same, now or later.
public struct GuestTap: Hashable, Sendable {
  /// ABI slot of the vif.
  public let slot: Int
  public let name: InterfaceName
  public let index: InterfaceIndex

  public init(slot: Int, name: InterfaceName, index: InterfaceIndex) {
    self.slot = slot
    self.name = name
    self.index = index
  }
}
