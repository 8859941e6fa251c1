import ChaosAPI

func lanCreate(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let request = try lanRequest(invocation)
  try request.validate()
  var client = invocation.client()
  let lan = try client.createLAN(request)
  if invocation.wantsJSON {
    printJSON(lan.json)
  } else {
    printOut("\(lan.vni)\n")
  }
  lan.warn()
  return .success
}

func lanRequest(_ invocation: Invocation) throws(APIError) -> LANRequest {
  LANRequest(
    name: invocation.operands[0], vni: try invocation.integer("vni"), mtu: try invocation.integer("mtu"),
    mode: invocation.value("mode").flatMap(LANMode.init(rawValue:)), port: try invocation.integer("port"),
    vtep: invocation.value("vtep"), device: invocation.value("device"), megalos: invocation.value("megalos"))
}

func lanList(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let lans = try client.lans()
  if invocation.wantsJSON {
    printJSON(LANList(lans: lans).json)
  } else if invocation.has("quiet") {
    printOut(lans.map { $0.name + "\n" }.joined())
  } else {
    printOut(lanTable(lans))
  }
  return .success
}

func lanTable(_ lans: [LANSummary]) -> String {
  var table = Table([
    ("NAME", .left), ("VNI", .right), ("MODE", .left), ("MTU", .right), ("STATE", .left), ("MEMBERS", .right),
    ("BRIDGE", .left),
  ])
  for lan in lans {
    table.add([
      lan.name, "\(lan.vni)", lan.mode.rawValue, lan.mtu.map { "\($0)" } ?? "", lan.state.rawValue,
      "\(lan.members)", lan.bridge,
    ])
  }
  return table.text
}

func lanInfo(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let lan = try client.lan(invocation.operands[0])
  if invocation.wantsJSON {
    printJSON(lan.json)
  } else {
    printOut(lanText(lan))
  }
  lan.warn()
  return .success
}

func lanText(_ lan: LANInfo) -> String {
  var text = factSheet(lan)
  if !lan.peers.isEmpty { text += "\n" + peerTable(lan.peers) }
  if !lan.members.isEmpty { text += "\n" + memberTable(lan.members) }
  if !lan.forwarding.isEmpty { text += "\n" + forwardingTable(lan.forwarding) }
  return text
}

private func factSheet(_ lan: LANInfo) -> String {
  var sheet = FactSheet()
  sheet.add("Name", lan.name)
  sheet.add("VNI", "\(lan.vni)")
  sheet.add("Mode", lan.mode.rawValue)
  sheet.add("State", lan.state.rawValue + (lan.reason.map { ": \($0)" } ?? ""))
  if let mtu = lan.mtu { sheet.add("MTU", "\(mtu)") }
  sheet.add("Bridge", lan.bridge)
  if let vxlan = lan.vxlan { sheet.add("VXLAN device", "\(vxlan), \(lan.isUp ? "up" : "down")") }
  if let tunnels = tunnels(of: lan) { sheet.add("Tunnels", tunnels) }
  if !lan.attached.isEmpty { sheet.add("Attached", lan.attached.joined(separator: ", ")) }
  sheet.add("Drops", "\(lan.drops)")
  return sheet.text
}

/// `from 192.0.2.1 by eth0, UDP port 4789`
private func tunnels(of lan: LANInfo) -> String? {
  var place: [String] = []
  if let vtep = lan.vtep { place.append("from \(vtep)") }
  if let device = lan.device { place.append("by \(device)") }
  let parts = (place.isEmpty ? [] : [place.joined(separator: " ")]) + (lan.port.map { ["UDP port \($0)"] } ?? [])
  return parts.isEmpty ? nil : parts.joined(separator: ", ")
}

private func memberTable(_ members: [LANMember]) -> String {
  var table = Table([
    ("MEMBER", .left), ("KIND", .left), ("INTERFACE", .left), ("MAC", .left), ("RX", .right), ("RX-BYTES", .right),
    ("RX-DROPS", .right), ("RX-ERRORS", .right), ("TX", .right), ("TX-BYTES", .right), ("TX-DROPS", .right),
    ("TX-ERRORS", .right),
  ])
  for member in members {
    let counters = [
      member.rxPackets, member.rxBytes, member.rxDropped, member.rxErrors, member.txPackets, member.txBytes,
      member.txDropped, member.txErrors,
    ]
    table.add(
      [member.shownName, member.kind.rawValue, member.interface, member.mac ?? ""] + counters.map { "\($0)" })
  }
  return table.text
}

extension LANMember {
  /// `web/1`; enough of a container's ID to tell it from others.
  fileprivate var shownName: String {
    guard let name else { return "" }
    if kind == .container { return String(name.prefix(12)) }
    return name + (vif.map { "/\($0)" } ?? "")
  }
}

private func forwardingTable(_ entries: [LANForwarding]) -> String {
  var table = Table([
    ("FRAMES-TO", .left), ("KIND", .left), ("INTERFACE", .left), ("HOST", .left), ("ORIGIN", .left),
  ])
  for entry in entries {
    table.add([
      entry.kind == .flood ? "(unknown)" : entry.mac, entry.kind.rawValue, entry.interface,
      entry.destination ?? "", entry.isStatic ? "set" : "learned",
    ])
  }
  return table.text
}

// MARK: Peers

func lanPeerAdd(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let peer = LANPeer(address: invocation.operands[1], macs: invocation.values("mac"))
  try peer.validate()
  var client = invocation.client()
  let peers = try client.addPeer(invocation.operands[0], peer)
  if invocation.wantsJSON { printJSON(LANPeerList(peers: peers).json) }
  return .success
}

func lanPeerRemove(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  try client.removePeer(invocation.operands[0], invocation.operands[1])
  return .success
}

func lanPeerList(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let peers = try client.peers(invocation.operands[0])
  if invocation.wantsJSON {
    printJSON(LANPeerList(peers: peers).json)
  } else {
    printOut(peerTable(peers))
  }
  return .success
}

func peerTable(_ peers: [LANPeer]) -> String {
  var table = Table([("PEER", .left), ("MACS", .left)])
  for peer in peers { table.add([peer.address, peer.macs.joined(separator: ",")]) }
  return table.text
}

// MARK: Interfaces

func lanAttach(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let request = AttachRequest(interface: invocation.operands[1])
  try request.validate()
  var client = invocation.client()
  let lan = try client.attach(invocation.operands[0], request.interface)
  if invocation.wantsJSON { printJSON(lan.json) }
  lan.warn()
  return .success
}

func lanDetach(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  try client.detach(invocation.operands[0], invocation.operands[1])
  return .success
}

func lanDelete(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let force = invocation.has("force")
  var client = invocation.client()
  return invocation.forEachOperand { name throws(APIError) in
    try client.deleteLAN(name, force: force)
  }
}

extension LANInfo {
  /// Says on standard error what the user should know of it.
  fileprivate func warn() {
    if state == .waiting { printWarning("LAN '\(name)' is waiting" + (reason.map { ": \($0)" } ?? "")) }
    for warning in warnings { printWarning(warning) }
  }
}
