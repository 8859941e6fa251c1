import ChaosAPI

func list(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let list = invocation.has("all") ? try client.allGuests() : GuestList(guests: try client.guests())
  let ended = list.ended ?? []
  if invocation.wantsJSON {
    printJSON(list.json)
  } else if invocation.has("quiet") {
    printOut((list.guests.map { $0.name } + ended.map { $0.name }).map { $0 + "\n" }.joined())
  } else {
    printOut(guestTable(list.guests, ended: ended, now: secondsSince1970()))
  }
  return .success
}

func guestTable(_ guests: [GuestInfo], ended: [EndedGuest] = [], now: Int) -> String {
  var table = Table([
    ("NAME", .left), ("DOMID", .right), ("STATE", .left), ("MEMORY", .right), ("VCPUS", .right),
    ("ADDRESS", .left), ("UPTIME", .right),
  ])
  for guest in guests {
    table.add([
      guest.name, "\(guest.domid)", guest.state.rawValue, "\(guest.memoryMiB) MiB",
      "\(guest.vcpus)", guest.vifs.lazy.compactMap { $0.ip }.first.map(withoutPrefix) ?? "",
      uptime(since: guest.created, now: now),
    ])
  }
  for guest in ended {
    table.add([guest.name, "", "\(GuestState.ended.rawValue) (\(guest.reason.rawValue))", "", "", "", ""])
  }
  return table.text
}

private func withoutPrefix(_ address: String) -> String {
  String(address.prefix { $0 != "/" })
}

private func uptime(since created: String, now: Int) -> String {
  Timestamp.seconds(created).map { shortDuration(seconds: now - $0) } ?? ""
}

func info(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let guest = try client.guest(invocation.operands[0])
  if invocation.wantsJSON {
    printJSON(guest.json)
  } else {
    printOut(factSheet(guest, now: secondsSince1970()))
  }
  return .success
}

func factSheet(_ guest: GuestInfo, now: Int) -> String {
  var sheet = FactSheet()
  sheet.add("Name", guest.name)
  sheet.add("UUID", guest.uuid)
  sheet.add("Domain ID", "\(guest.domid)")
  sheet.add("State", guest.state.rawValue + (guest.ready ? ", ready" : ""))
  if guest.tampered { sheet.add("Tampered", "the guest has replaced its device page") }
  sheet.add("Memory", "\(guest.memoryMiB) MiB")
  sheet.add("VCPUs", "\(guest.vcpus)")
  sheet.add("CPU time", "\(guest.cpuSeconds) s")
  sheet.add("Image", guest.image.text)
  if !guest.cmdline.isEmpty { sheet.add("Command line", guest.cmdline) }
  sheet.add("Created", "\(guest.created) (\(uptime(since: guest.created, now: now)) ago)")
  sheet.addLifeCycle(of: guest)
  for vif in guest.vifs {
    let place = vif.lan.map { "LAN \($0), bridge \(vif.bridge)" } ?? vif.bridge
    var text = "\(vif.mac) on \(place), tap \(vif.tap), MTU \(vif.mtu)"
    if let ip = vif.ip { text += ", \(ip)" }
    if let gateway = vif.gateway { text += " via \(gateway)" }
    if let ip6 = vif.ip6 { text += ", \(ip6)" }
    if let gateway6 = vif.gateway6 { text += " via \(gateway6)" }
    if let reason = vif.broken { text += "; broken: \(reason)" }
    sheet.add("Vif \(vif.index)", text)
  }
  return sheet.text
}

extension FactSheet {
  fileprivate mutating func addLifeCycle(of guest: GuestInfo) {
    if guest.restarts > 0 { add("Restarts", "\(guest.restarts)") }
    let policies = guest.policies
    add(
      "On its end",
      "poweroff \(policies.onPoweroff.rawValue), reboot \(policies.onReboot.rawValue), "
        + "crash \(policies.onCrash.rawValue)")
    if guest.autostart {
      let order = guest.after.isEmpty ? "" : ", after \(guest.after.joined(separator: ", "))"
      add("Autostart", "yes\(order)")
    }
    if let cpus = guest.scheduling.cpus { add("Processors", cpus) }
    if let weight = guest.scheduling.weight { add("Weight", "\(weight)") }
    if let cap = guest.scheduling.cap, cap > 0 { add("Cap", "\(cap) %") }
  }
}

extension ImageReference {
  /// Its name with the digest, or the digest alone.
  var text: String { name.map { "\($0) (\(digest))" } ?? digest }
}

func logs(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let reference = invocation.operands[0]
  try client.openLog(reference, follow: invocation.has("follow"))
  do throws(APIError) {
    while let bytes = try client.readStream() { printOut(bytes) }
  } catch {
    throw error.cuttingOff(reference)
  }
  return .success
}

func pause(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    _ = try client.pause(reference)
  }
}

func unpause(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    _ = try client.unpause(reference)
  }
}

func shutdown(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let timeout = try invocation.timeout(default: 30)
  let waits = invocation.has("wait")
  if !waits, invocation.has("timeout") { throw invocation.usage("--timeout needs --wait") }
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    if waits {
      try client.shutdown(reference, timeoutSeconds: timeout)
    } else {
      try client.shutdown(reference)
    }
  }
}

func destroy(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  switch (invocation.has("all"), invocation.operands.isEmpty) {
  case (true, true):
    _ = try client.destroyAll()
    return .success
  case (false, false):
    return invocation.forEachOperand { reference throws(APIError) in
      try client.destroy(reference)
    }
  case (true, false): throw invocation.usage("--all and names exclude each other")
  case (false, true): throw invocation.usage("missing REF (or --all)")
  }
}
