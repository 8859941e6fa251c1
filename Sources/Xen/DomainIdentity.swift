/// Which domain: its number and its handle together. Numbers are used again, and any toolstack may give any handle,
/// so that neither alone names a domain.
public struct DomainIdentity: Hashable, Sendable {
  public let domain: DomainID
  public let handle: DomainHandle

  public init(domain: DomainID, handle: DomainHandle) {
    self.domain = domain
    self.handle = handle
  }
}

extension DomainInfo {
  public var identity: DomainIdentity { DomainIdentity(domain: id, handle: handle) }
}

extension Hypervisor {
  /// What the hypervisor says of exactly this domain; nil when it is gone, also when another has its number by now.
  public func info(of identity: DomainIdentity) throws(XenError) -> DomainInfo? {
    guard let info = try info(of: identity.domain), info.handle == identity.handle else { return nil }
    return info
  }

  /// All domains but dom0, by identity.
  public func domainsByIdentity() throws(XenError) -> [DomainIdentity: DomainInfo] {
    Dictionary(uniqueKeysWithValues: try domains().filter { $0.id != .dom0 }.map { ($0.identity, $0) })
  }
}
