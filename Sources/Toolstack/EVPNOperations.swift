import ChaosAPI
import VirtualLAN

extension Toolstack {
  // MARK: EVPN

  /// What a LAN is when nobody said: one that spans hosts by BGP where this host speaks it.
  var defaultMode: LANDefinition.Mode { .static }

  public func evpnStatus() throws(APIError) -> EVPNStatus { throw APIError(.unsupported, "EVPN: not there yet") }
  public func enableEVPN(_ request: EVPNRequest) throws(APIError) -> EVPNStatus { try evpnStatus() }
  public func disableEVPN() throws(APIError) { _ = try evpnStatus() }
}
