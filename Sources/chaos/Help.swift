import ChaosAPI

func help(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  if let page = invocation.value("man") {
    printOut(try manPage(page))
  } else if invocation.has("pages") {
    printOut(manPageNames().map { $0 + "\n" }.joined())
  } else if invocation.operands.isEmpty {
    printOut(overview())
  } else {
    let name = invocation.operands.joined(separator: " ")
    printOut(isGroup(name) ? overview(ofGroup: name) : helpText(try findCommand(name)))
  }
  return .success
}

// MARK: Texts

/// What each exit status means.
let exitStatuses: [(status: Int, meaning: String)] = [
  (0, "Done."),
  (1, "Failed, in a way that has no status of its own."),
  (2, "The command line is wrong, or chaosd refused what it was asked."),
  (3, "There is no such guest, image or LAN."),
  (4, "The name is taken, or the state of the guest or LAN does not allow it."),
  (5, "The host has no room: memory, descriptors, ports."),
  (6, "It did not happen in time."),
  (7, "chaosd cannot be reached, or its socket may not be opened."),
  (130, "Interrupted."),
]

/// What `chaos --help` says.
func overview() -> String {
  var text = """
    Usage: chaos COMMAND [OPTION...] [ARGUMENT...]

    Lightweight virtual machines on Xen.

    Commands:

    """
  text += listed(commands.map { ($0.name, $0.summary) })
  text += """

    Options:
      --version  Show the version of chaos.
      --help     Show this help; after a command, that command's.

    Exit status:

    """
  text += listed(exitStatuses.map { ("\($0.status)", $0.meaning) })
  return text + "\nSee 'chaos COMMAND --help' for a command.\n"
}

/// What `chaos pool --help` says.
func overview(ofGroup group: String) -> String {
  let members = commands.filter { $0.name.hasPrefix(group + " ") }
  let summary = groups.first { $0.name == group }?.summary ?? ""
  return "Usage: chaos \(group) COMMAND [OPTION...]\n\n\(summary)\n\nCommands:\n"
    + listed(members.map { ($0.name, $0.summary) })
    + "\nSee 'chaos \(group) COMMAND --help' for a command.\n"
}

/// What `chaos COMMAND --help` says.
func helpText(_ command: Command) -> String {
  var text = "Usage: \(command.usage)\n\n\(command.summary)\n"
  for paragraph in command.description { text += "\n" + wrapped(paragraph, indent: 0) }
  text += "\nOptions:\n" + listed(command.allOptions.map { ($0.usage, $0.fullSummary) })
  if !command.aliases.isEmpty {
    text += "\nAlias: \(command.aliases.map { "chaos \($0)" }.joined(separator: ", "))\n"
  }
  if !command.examples.isEmpty {
    text += "\nExamples:\n"
    for example in command.examples {
      text += "  \(example.command)\n" + wrapped(example.comment, indent: 6)
    }
  }
  return text
}

extension Command {
  /// `chaos create [OPTION...] [CONFIG]`
  var usage: String {
    "chaos \(name) [OPTION...]" + operands.map { " " + $0.usage }.joined()
  }
}

extension Operand {
  var usage: String {
    let text = isRepeated ? "\(name)..." : name
    return isRequired ? text : "[\(text)]"
  }
}

extension Option {
  /// `-f, --follow`
  var usage: String {
    (letter.map { "-\($0), " } ?? "") + "--\(name)" + (value.map { " \($0.name)" } ?? "")
  }

  var fullSummary: String {
    guard case .choice(let choices)? = value?.kind else { return summary }
    return "\(summary) [\(choices.joined(separator: "|"))]"
  }
}

// MARK: Layout

private let lineWidth = 80

/// Names with their meanings beside them, or below where a name is long.
private func listed(_ items: [(name: String, meaning: String)]) -> String {
  let column = min(24, (items.map { $0.name.count }.max() ?? 0) + 4)
  return items.map { item in
    let meaning = wrapped(item.meaning, indent: column)
    guard item.name.count + 4 <= column else { return "  \(item.name)\n\(meaning)" }
    let padding = String(repeating: " ", count: column - 2 - item.name.count)
    return "  \(item.name)\(padding)\(meaning.dropFirst(column))"
  }.joined()
}

/// A paragraph filled to the line's width.
func wrapped(_ paragraph: String, indent: Int) -> String {
  let margin = String(repeating: " ", count: indent)
  var result = ""
  var line = margin
  for word in paragraph.split(separator: " ") {
    if line.count > indent, line.count + 1 + word.count > lineWidth {
      result += line + "\n"
      line = margin
    }
    line += line.count > indent ? " \(word)" : String(word)
  }
  return result + line + "\n"
}
