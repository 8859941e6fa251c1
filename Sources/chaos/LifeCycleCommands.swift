import ChaosAPI

func reboot(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    try client.reboot(reference, force: invocation.has("force"))
  }
}

func restart(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    _ = try client.restart(reference)
  }
}

func renameGuest(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let name = invocation.operands[1]
  try RenameRequest(name: name).validate()
  var client = invocation.client()
  _ = try client.rename(invocation.operands[0], to: name)
  return .success
}

func setGuest(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let scheduling = try invocation.scheduling()
  let change = GuestChange(
    onPoweroff: invocation.policy("on-poweroff"), onReboot: invocation.policy("on-reboot"),
    onCrash: invocation.policy("on-crash"), cpus: scheduling.cpus, weight: scheduling.weight, cap: scheduling.cap)
  guard change != GuestChange() else { throw invocation.usage("nothing to change") }
  try change.validate()
  var client = invocation.client()
  _ = try client.change(invocation.operands[0], change)
  return .success
}

func autostart(_ invocation: Invocation, isOn: Bool) throws(APIError) -> ExitStatus {
  let change = GuestChange(autostart: isOn, after: invocation.has("after") ? invocation.values("after") : nil)
  try change.validate()
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    _ = try client.change(reference, change)
  }
}

extension Invocation {
  /// The parser has seen to it that it is one of them.
  func policy(_ option: String) -> RestartPolicy? {
    value(option).flatMap { RestartPolicy(rawValue: $0) }
  }

  func scheduling() throws(APIError) -> Scheduling {
    Scheduling(cpus: value("cpus"), weight: try integer("weight"), cap: try integer("cap"))
  }

  /// Lays what options say of the guest's life cycle over a request.
  func applyLifeCycle(to request: inout CreateRequest) throws(APIError) {
    if let policy = policy("on-poweroff") { request.policies.onPoweroff = policy }
    if let policy = policy("on-reboot") { request.policies.onReboot = policy }
    if let policy = policy("on-crash") { request.policies.onCrash = policy }
    if has("autostart") { request.autostart = true }
    if has("after") { request.after = values("after") }
    let given = try scheduling()
    if let cpus = given.cpus { request.scheduling.cpus = cpus }
    if let weight = given.weight { request.scheduling.weight = weight }
    if let cap = given.cap { request.scheduling.cap = cap }
  }
}
