import NetworkAddresses

extension LANRequest {
  /// 24 bits, of which 0 is left to mean none (RFC 7348, section 5).
  public static let vniRange = 1...16_777_215
  /// As a vif's: from the least an IPv4 link may have (RFC 791) on. IPv6 needs 1280.
  public static let mtuRange = CreateRequest.mtuRange
  public static let portRange = 1...65_535
  /// What an interface name of 15 characters (IFNAMSIZ - 1, linux/if.h) leaves beside `kt-`, five characters of
  /// the name and a hyphen.
  public static let longestMegalosSuffix = 6

  /// Checks every value that can be checked without the host, so that client and daemon refuse the same
  /// things in the same words. Whether the VNI is free and the underlay there is the daemon's to say.
  public func validate() throws(APIError) {
    try Names.checkLANName(name)
    try check(vni, in: Self.vniRange, field: "vni")
    try check(mtu, in: Self.mtuRange, field: "mtu")
    try check(port, in: Self.portRange, field: "port")
    try validateUnderlay()
    try validateMegalos()
    if mode == .local { try refuseUnderlay() }
  }

  private func validateUnderlay() throws(APIError) {
    if let vtep { try checkEndpoint(vtep, field: "vtep") }
    guard let device else { return }
    try checkDeviceName(device, field: "device")
    if vtep != nil { throw .refused("device", "given together with 'vtep'", device) }
  }

  private func validateMegalos() throws(APIError) {
    guard let megalos else { return }
    guard megalos.utf8.count <= Self.longestMegalosSuffix, megalos.utf8.allSatisfy(isLetterOrDigit) else {
      throw .refused("megalos", "not a suffix of at most \(Self.longestMegalosSuffix) letters and digits", megalos)
    }
    guard vni != nil else {
      throw APIError(
        .invalidArgument, "vni: missing: 'megalos' needs the vxlanId of its NetworkAttachmentDefinition",
        field: "vni")
    }
  }

  private func refuseUnderlay() throws(APIError) {
    let problem = "given with mode 'local', which has no tunnels"
    if let port { throw .refused("port", problem, "\(port)") }
    if let vtep { throw .refused("vtep", problem, vtep) }
    if let device { throw .refused("device", problem, device) }
    if let megalos { throw .refused("megalos", problem, megalos) }
  }
}

extension LANPeer {
  public func validate() throws(APIError) {
    try checkEndpoint(address, field: "address")
    for (index, mac) in macs.enumerated() {
      let field = "macs[\(index)]"
      guard let address = MACAddress(mac) else { throw .refused(field, notMAC, mac) }
      try checkStation(address, field: field, text: mac)
    }
  }
}

extension AttachRequest {
  public func validate() throws(APIError) {
    try checkDeviceName(interface, field: "interface")
  }
}

extension EVPNRequest {
  /// 32 bits (RFC 6793), without 0, which stands for nobody (RFC 7607).
  public static let asNumberRange = 1...4_294_967_295

  public func validate() throws(APIError) {
    try check(asNumber, in: Self.asNumberRange, field: "as")
    guard reflector || !neighbors.isEmpty else {
      throw APIError(
        .invalidArgument, "neighbors: missing: the addresses of reflectors, or 'reflector' to be one",
        field: "neighbors")
    }
    for (index, neighbor) in neighbors.enumerated() {
      let field = "neighbors[\(index)]"
      if reflector { throw .refused(field, "given together with 'reflector'", neighbor) }
      try checkEndpoint(neighbor, field: field)
    }
    for (index, prefix) in listen.enumerated() {
      let field = "listen[\(index)]"
      guard reflector else { throw .refused(field, "given without 'reflector'", prefix) }
      try checkPrefix(prefix, field: field)
    }
  }
}

/// Refuses what is not the IP address of one host that others reach through routers.
private func checkEndpoint(_ text: String, field: String) throws(APIError) {
  if let address = IPv4Address(text) {
    try checkEndpoint(address, field: field, text: text)
  } else if let address = IPv6Address(text) {
    try checkEndpoint(address, field: field, text: text)
  } else {
    throw .refused(field, "not an IP address, as 192.0.2.1 or 2001:db8::1", text)
  }
}

private func checkEndpoint(_ address: IPv4Address, field: String, text: String) throws(APIError) {
  guard !address.isMulticast else { throw .refused(field, "multicast address", text) }
  switch address.rawValue >> 24 {
  case 127: throw .refused(field, "loopback address", text)
  // "This network" (RFC 1122), and what is reserved, the broadcast address included (RFC 1112).
  case 0, 240...255: throw .refused(field, "not an address for a host", text)
  default: break
  }
  // 169.254.0.0/16 (RFC 3927).
  guard address.rawValue >> 16 != 0xa9fe else { throw .refused(field, "link-local address", text) }
}

private func checkEndpoint(_ address: IPv6Address, field: String, text: String) throws(APIError) {
  guard !address.isMulticast else { throw .refused(field, "multicast address", text) }
  guard address.rawValue != 1 else { throw .refused(field, "loopback address", text) }
  // The unspecified address, and IPv4 addresses in the form of IPv6 ones (RFC 4291, section 2.5.5).
  guard address.rawValue >> 32 != 0, address.rawValue >> 32 != 0xffff else {
    throw .refused(field, "not an address for a host", text)
  }
  guard !address.isLinkLocal else { throw .refused(field, "link-local address", text) }
}

private func checkPrefix(_ text: String, field: String) throws(APIError) {
  let network: String
  if let prefix = IPv4Interface(text) {
    network = "\(prefix.network)/\(prefix.prefixLength)"
    guard prefix.address != prefix.network else { return }
  } else if let prefix = IPv6Interface(text) {
    network = "\(prefix.network)/\(prefix.prefixLength)"
    guard prefix.address != prefix.network else { return }
  } else {
    throw .refused(field, "not a prefix, as 192.0.2.0/24 or 2001:db8::/32", text)
  }
  throw .refused(field, "has bits beyond its prefix, expected \(network)", text)
}
