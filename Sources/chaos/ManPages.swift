import ChaosAPI

/// `chaos`, and one page a command.
func manPageNames() -> [String] {
  ["chaos"] + commands.map { $0.manPageName }
}

extension Command {
  fileprivate var manPageName: String {
    "chaos-" + name.split(separator: " ").joined(separator: "-")
  }
}

/// A page in the man macros of roff, section 1.
func manPage(_ page: String) throws(APIError) -> String {
  if page == "chaos" { return overviewPage() }
  guard let command = commands.first(where: { $0.manPageName == page }) else {
    throw .usage(
      "no man page '\(page)'" + suggestion(for: page, among: manPageNames()), of: "help")
  }
  return commandPage(command)
}

private func overviewPage() -> String {
  var page = ManPage(name: "chaos", summary: "lightweight virtual machines on Xen")
  page.section("SYNOPSIS")
  page.line(".B chaos")
  page.line(".I COMMAND")
  page.text("[OPTION...] [ARGUMENT...]")
  page.section("DESCRIPTION")
  page.text(
    """
    chaos starts and manages unikernels and other small guests on a Xen host. It asks chaosd, which keeps \
    prepared shells ready, so that a create takes about as long as starting a process.
    """)
  page.section("COMMANDS")
  for command in commands { page.item(command.manPageName + "(1)", command.summary) }
  page.section("OPTIONS")
  page.item("--version", "Show the version of chaos.")
  page.item("--help", "Show an overview; after a command, that command's help.")
  page.section("ENVIRONMENT")
  page.item(
    ChaosClient.socketVariable,
    "The socket of chaosd, where --socket is not given.")
  page.section("FILES")
  page.item(
    ChaosClient.defaultSocketPath, "The socket of chaosd. Members of group chaos may open it.")
  page.exitStatus()
  return page.roff
}

private func commandPage(_ command: Command) -> String {
  var page = ManPage(name: command.manPageName, summary: command.summary)
  page.section("SYNOPSIS")
  page.line(".B chaos \(roff(command.name))")
  page.text((["[OPTION...]"] + command.operands.map { $0.usage }).joined(separator: " "))
  if !command.description.isEmpty {
    page.section("DESCRIPTION")
    page.text(command.description)
  }
  page.section("OPTIONS")
  for option in command.allOptions { page.item(option.usage, option.fullSummary) }
  if !command.aliases.isEmpty {
    page.section("ALIASES")
    page.text(command.aliases.map { "chaos \($0)" }.joined(separator: ", "))
  }
  page.exitStatus()
  if !command.examples.isEmpty {
    page.section("EXAMPLES")
    for example in command.examples { page.item(example.command, example.comment) }
  }
  page.section("SEE ALSO")
  page.line(".BR chaos (1)")
  return page.roff
}

private struct ManPage {
  private(set) var roff: String

  init(name: String, summary: String) {
    // NAME's line has no capital and no full stop, by man's custom.
    let phrase = summary.prefix(1).lowercased() + summary.dropFirst()
    let trimmed = phrase.hasSuffix(".") ? String(phrase.dropLast()) : phrase
    roff =
      ".TH \"\(name.uppercased())\" \"1\" \"\" \"chaos \(Product.version)\" \"User Commands\"\n"
    section("NAME")
    line("\(chaos.roff(name)) \\- \(chaos.roff(trimmed))")
  }

  /// A line of roff as it is.
  mutating func line(_ line: String) {
    roff += line + "\n"
  }

  mutating func section(_ title: String) {
    line(".SH \(title)")
  }

  mutating func text(_ paragraphs: String...) {
    text(paragraphs)
  }

  mutating func text(_ paragraphs: [String]) {
    for (position, paragraph) in paragraphs.enumerated() {
      if position > 0 { line(".PP") }
      line(chaos.roff(paragraph))
    }
  }

  mutating func item(_ term: String, _ meaning: String) {
    line(".TP")
    line(".B \(chaos.roff(term))")
    line(chaos.roff(meaning))
  }

  mutating func exitStatus() {
    section("EXIT STATUS")
    for (status, meaning) in exitStatuses { item("\(status)", meaning) }
  }
}

/// Text without what roff would take for its own: backslashes, hyphens that are to stay hyphens, and a dot or
/// quote that begins a line.
private func roff(_ text: String) -> String {
  var result = ""
  for character in text {
    switch character {
    case "\\": result += "\\e"
    case "-": result += "\\-"
    case "'": result += "\\(aq"
    case "\"": result += "\\(dq"
    default: result.append(character)
    }
  }
  return result.hasPrefix(".") ? "\\&" + result : result
}
