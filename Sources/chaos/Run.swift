import ChaosAPI

/// Everything that `chaos` does.
func runChaos() -> ExitStatus {
  do throws(APIError) {
    return try dispatch(try commandLineArguments())
  } catch {
    // One line, whatever went wrong: scripts log it as it is.
    complain(error.message + (error.helpCommand.map { " (see '\($0)')" } ?? ""))
    return ExitStatus(rawValue: error.code.exitStatus)
  }
}

private func dispatch(_ arguments: ArraySlice<String>) throws(APIError) -> ExitStatus {
  guard let first = arguments.first else { throw .usage("missing command", of: nil) }
  switch first {
  case "--version":
    printOut("chaos \(Product.version)\n")
    return .success
  case "--help", "-h":
    printOut(overview())
    return .success
  default: break
  }
  if first.utf8.first == UInt8(ascii: "-") {
    let known = ["--version", "--help"]
    throw .usage("unknown option '\(first)'" + suggestion(for: first, among: known), of: nil)
  }
  var name = first
  var rest = arguments.dropFirst()
  while isGroup(name) {
    guard let next = rest.popFirst() else { throw .usage("missing command of '\(name)'", of: name) }
    if next == "--help" || next == "-h" {
      printOut(overview(ofGroup: name))
      return .success
    }
    name += " \(next)"
  }
  return try run(findCommand(name), rest)
}

func isGroup(_ name: String) -> Bool {
  groups.contains { $0.name == name }
}

private func run(_ command: Command, _ arguments: ArraySlice<String>) throws(APIError) -> ExitStatus {
  let invocation = try Invocation(command, arguments)
  if invocation.isHelpWanted {
    printOut(helpText(command))
    return .success
  }
  return try command.run(invocation)
}

/// The command of that name or alias.
func findCommand(_ name: String) throws(APIError) -> Command {
  for command in commands where command.name == name || command.aliases.contains(name) {
    return command
  }
  let group = groups.last { name.hasPrefix($0.name + " ") }?.name
  let known = commands.flatMap { [$0.name] + $0.aliases } + groups.map { $0.name }
  throw .usage("unknown command '\(name)'" + suggestion(for: name, among: known), of: group)
}

extension Invocation {
  /// Asks the daemon that --socket, the environment or the default names.
  func client() -> ChaosClient {
    ChaosClient(socketPath: socketPath)
  }

  var socketPath: String {
    if let path = value("socket") { return path }
    if let path = environmentValue(ChaosClient.socketVariable), !path.isEmpty { return path }
    return ChaosClient.defaultSocketPath
  }

  /// Does something to each of the guests, images or LANs named, going on after a failure. The first failure's
  /// status is returned.
  func forEachOperand(
    _ body: (String) throws(APIError) -> Void
  ) -> ExitStatus {
    var status = ExitStatus.success
    for operand in operands {
      do throws(APIError) {
        try body(operand)
      } catch {
        complain(error.naming(operand).message)
        if status == .success { status = ExitStatus(rawValue: error.code.exitStatus) }
        // Without a daemon the rest would fail alike.
        if error.code == .unavailable || error.code == .forbidden { break }
      }
    }
    return status
  }
}

extension APIError {
  /// The same error, its message certain to name what it is about. Messages have names in quotes; that there is
  /// no daemon is about nothing else.
  func naming(_ name: String) -> APIError {
    if code == .unavailable || code == .forbidden || message.includes("'\(name)'") { return self }
    return APIError(code, "\(name): \(message)", field: field)
  }
}
