import ChaosAPI

func waitForGuests(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let goal = try WaitGoal(invocation.value("for") ?? WaitGoal.ready.rawValue)
  let deadline = Deadline(seconds: try invocation.timeout(default: 30))
  var client = invocation.client()
  return invocation.forEachOperand { reference throws(APIError) in
    switch goal {
    case .ready: _ = try client.waitUntilReady(reference, timeoutSeconds: deadline.secondsLeft)
    case .stopped:
      printOut(try client.waitUntilStopped(reference, timeoutSeconds: deadline.secondsLeft).rawValue + "\n")
    case .gone: try waitUntilGone(reference, deadline, &client)
    }
  }
}

/// What is not there is gone.
private func waitUntilGone(
  _ reference: String, _ deadline: Deadline, _ client: inout ChaosClient
) throws(APIError) {
  do throws(APIError) {
    printOut(try client.waitUntilGone(reference, timeoutSeconds: deadline.secondsLeft).rawValue + "\n")
  } catch {
    guard error.code == .notFound else { throw error }
  }
}

func history(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  try printEvents(invocation, of: invocation.operands.first, follow: false)
}

func events(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  try printEvents(invocation, of: nil, follow: invocation.has("follow"))
}

private func printEvents(
  _ invocation: Invocation, of reference: String?, follow: Bool
) throws(APIError) -> ExitStatus {
  var start: EventStart?
  if let text = invocation.value("since") { start = try EventStart(text) }
  let isJSON = invocation.wantsJSON
  var client = invocation.client()
  try client.events(of: reference, since: start, follow: follow) { line throws(APIError) in
    printOut(isJSON ? line + [UInt8(ascii: "\n")] : Array(eventLine(try Event(parsing: line)).utf8))
  }
  return .success
}

/// `17  2026-03-01T12:00:00Z  web  ended (crash): triple fault`
func eventLine(_ event: Event) -> String {
  var text = "\(event.number)  \(event.time)  \(event.guest)  \(event.kind.rawValue)"
  if let reason = event.reason { text += " (\(reason.rawValue))" }
  if let message = event.message { text += ": \(message)" }
  return plain(text) + "\n"
}
