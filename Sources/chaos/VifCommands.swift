import ChaosAPI

func vifAdd(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let request = try vifRequest(invocation.operands[1], givenAs: "SPEC", invocation)
  try request.validate()
  var client = invocation.client()
  let vif = try client.addVif(invocation.operands[0], request)
  if invocation.wantsJSON {
    printJSON(vif.json)
  } else {
    printOut("\(vif.index)\n")
  }
  return .success
}

func vifRemove(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let index = try vifIndex(invocation)
  var client = invocation.client()
  try client.removeVif(invocation.operands[0], index)
  return .success
}

func vifReset(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let index = try vifIndex(invocation)
  var client = invocation.client()
  _ = try client.resetVif(invocation.operands[0], index)
  return .success
}

private func vifIndex(_ invocation: Invocation) throws(APIError) -> Int {
  let text = invocation.operands[1]
  guard let index = Int(text), 0..<CreateRequest.mostVifs ~= index else {
    throw invocation.usage("INDEX: expected 0 to \(CreateRequest.mostVifs - 1), got '\(text)'")
  }
  return index
}

func vifList(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let vifs = try client.guest(invocation.operands[0]).vifs
  if invocation.wantsJSON {
    printJSON(["vifs": .array(vifs.map { $0.json })])
  } else {
    printOut(vifTable(vifs))
  }
  return .success
}

func vifTable(_ vifs: [VifInfo]) -> String {
  var table = Table([
    ("INDEX", .right), ("MAC", .left), ("LAN", .left), ("BRIDGE", .left), ("TAP", .left), ("MTU", .right),
    ("ADDRESS", .left), ("ADDRESS6", .left), ("STATE", .left),
  ])
  for vif in vifs {
    table.add([
      "\(vif.index)", vif.mac, vif.lan ?? "", vif.bridge, vif.tap, "\(vif.mtu)", vif.ip ?? "", vif.ip6 ?? "",
      vif.broken.map { "broken: \($0)" } ?? "ok",
    ])
  }
  return table.text
}

/// Reads `lan=red,ip=10.1.0.2/24`. `place` is what the user calls it by, for errors.
func vifRequest(
  _ text: String, givenAs place: String, _ invocation: Invocation
) throws(APIError) -> VifRequest {
  var vif = VifRequest()
  var seen: [String] = []
  for pair in text.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
    guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else {
      throw invocation.usage("\(place): expected KEY=VALUE, got '\(String(pair) ?? "")'")
    }
    let key = String(decoding: pair[..<equals], as: UTF8.self)
    let value = String(decoding: pair[pair.index(after: equals)...], as: UTF8.self)
    guard !seen.contains(key) else {
      throw invocation.usage("\(place): key '\(key)' given twice")
    }
    seen.append(key)
    try vif.set(key, value, givenAs: place, invocation)
  }
  guard vif.bridge != nil || vif.lan != nil else {
    throw invocation.usage("\(place): missing bridge=NAME or lan=NAME in '\(text)'")
  }
  return vif
}

extension VifRequest {
  fileprivate mutating func set(
    _ key: String, _ value: String, givenAs place: String, _ invocation: Invocation
  ) throws(APIError) {
    switch key {
    case "bridge": bridge = value
    case "lan": lan = value
    case "mac": mac = value
    case "ip": ip = value
    case "gateway": gateway = value
    case "ip6": ip6 = value
    case "gateway6": gateway6 = value
    case "mtu":
      guard let number = Int(value) else {
        throw invocation.usage("\(place): expected an integer for mtu, got '\(value)'")
      }
      mtu = number
    default:
      let keys = ["bridge", "lan", "mac", "ip", "gateway", "ip6", "gateway6", "mtu"]
      throw invocation.usage("\(place): unknown key '\(key)'" + suggestion(for: key, among: keys))
    }
  }
}
