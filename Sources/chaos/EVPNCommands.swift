import ChaosAPI

func evpnEnable(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let request = try evpnRequest(invocation)
  try request.validate()
  var client = invocation.client()
  let status = try client.enableEVPN(request)
  if invocation.wantsJSON { printJSON(status.json) }
  for problem in status.problems { printWarning(problem) }
  return .success
}

func evpnRequest(_ invocation: Invocation) throws(APIError) -> EVPNRequest {
  guard let asNumber = try invocation.integer("as") else { throw invocation.usage("missing --as") }
  let request = EVPNRequest(
    asNumber: asNumber, reflector: invocation.has("reflector"), neighbors: invocation.values("neighbor"),
    listen: invocation.values("listen"))
  switch (request.reflector, request.neighbors.isEmpty) {
  case (true, false): throw invocation.usage("--reflector and --neighbor exclude each other")
  case (false, true): throw invocation.usage("missing --reflector or --neighbor")
  case (false, false) where !request.listen.isEmpty: throw invocation.usage("--listen needs --reflector")
  default: return request
  }
}

func evpnDisable(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  try client.disableEVPN()
  return .success
}

func evpnStatus(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let status = try client.evpnStatus()
  if invocation.wantsJSON {
    printJSON(status.json)
  } else {
    printOut(evpnText(status))
  }
  for problem in status.problems { printWarning(problem) }
  return .success
}

func evpnText(_ status: EVPNStatus) -> String {
  var sheet = FactSheet()
  sheet.add("EVPN", status.enabled ? "enabled" : "disabled")
  if let asNumber = status.asNumber { sheet.add("AS", "\(asNumber)") }
  if status.enabled { sheet.add("Role", role(of: status)) }
  var text = sheet.text
  if !status.sessions.isEmpty { text += "\n" + sessionTable(status.sessions) }
  if !status.routes.isEmpty { text += "\n" + routeTable(status.routes) }
  return text
}

private func role(of status: EVPNStatus) -> String {
  guard status.reflector else { return "client of \(status.neighbors.joined(separator: ", "))" }
  let places = status.listen.isEmpty ? "any address" : status.listen.joined(separator: ", ")
  return "reflector for \(places)"
}

private func sessionTable(_ sessions: [EVPNSession]) -> String {
  var table = Table([("NEIGHBOR", .left), ("STATE", .left), ("UPTIME", .right), ("ROUTES", .right)])
  for session in sessions {
    table.add([
      session.neighbor, session.state, session.uptimeSeconds.map { shortDuration(seconds: $0) } ?? "",
      session.routesReceived.map { "\($0)" } ?? "",
    ])
  }
  return table.text
}

private func routeTable(_ routes: [EVPNRoute]) -> String {
  var table = Table([("VNI", .right), ("KIND", .left), ("MAC", .left), ("VTEP", .left), ("ORIGIN", .left)])
  for route in routes {
    table.add([
      "\(route.vni)", route.kind.rawValue, route.mac ?? "", route.vtep,
      route.isLocal ? "this host" : route.held ? "held" : "announced",
    ])
  }
  return table.text
}
