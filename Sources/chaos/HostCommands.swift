import ChaosAPI

func host(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let host = try client.host()
  if invocation.wantsJSON {
    printJSON(host.json)
  } else {
    printOut(factSheet(host))
  }
  return .success
}

func factSheet(_ host: HostInfo) -> String {
  var sheet = FactSheet()
  sheet.add("Host", host.hostname)
  sheet.add("Xen", "\(host.xenVersion) (\(host.capabilities))")
  sheet.add("Xen's interface", host.xenInterface)
  sheet.add("CPUs", "\(host.cpus)")
  sheet.add(
    "Memory",
    "\(host.totalMiB) MiB, \(host.freeMiB) MiB free, \(host.reservedMiB) MiB of it promised")
  let isFixed = host.dom0MemoryFixed ? "fixed" : "not fixed"
  sheet.add("Memory of dom0", "\(host.dom0MemoryMiB) MiB, \(isFixed)")
  sheet.add("Guests", "\(host.guests)")
  sheet.add("Ready shells", "\(host.shells)")
  var text = sheet.text
  if !host.limits.isEmpty {
    var table = Table([("LIMIT", .left), ("USED", .right), ("MAX", .right)])
    for limit in host.limits { table.add([limit.name, "\(limit.used)", "\(limit.max)"]) }
    text += "\n" + table.text
  }
  if !host.warnings.isEmpty { text += "\n" }
  return text + host.warnings.map { "warning: \($0)\n" }.joined()
}

func version(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  // What is known without the daemon comes first, so that a report of its absence has it too.
  if !invocation.wantsJSON { printOut("chaos \(Product.version)\n") }
  var client = invocation.client()
  let daemon = try client.version()
  if invocation.wantsJSON {
    printJSON(["client": .string(Product.version), "daemon": daemon.json])
  } else {
    printOut(
      "chaosd \(daemon.version) (API \(daemon.apiVersion), device page \(daemon.abiVersion))\n"
        + "Xen \(daemon.xen) (\(daemon.xenInterface))\n")
  }
  return .success
}

func health(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let health = try client.health()
  if invocation.wantsJSON {
    printJSON(health.json)
  } else {
    printOut(healthText(health))
  }
  return health.status == .ok ? .success : ExitStatus(rawValue: 1)
}

func healthText(_ health: Health) -> String {
  var table = Table([("CHECK", .left), ("STATUS", .left), ("MESSAGE", .left)])
  for check in health.checks { table.add([check.name, check.status.rawValue, check.message ?? ""]) }
  return health.status.rawValue + "\n" + (health.checks.isEmpty ? "" : "\n" + table.text)
}
