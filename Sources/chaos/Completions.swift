import ChaosAPI

func completion(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let shell = invocation.operands[0]
  guard let script = completionScript(for: shell) else {
    throw invocation.usage("expected bash, zsh or fish, got '\(shell)'")
  }
  printOut(script)
  return .success
}

/// Nil for a shell that there is none for.
func completionScript(for shell: String) -> String? {
  switch shell {
  case "bash": bashScript()
  case "zsh": zshScript()
  case "fish": fishScript()
  default: nil
  }
}

/// The first words of all commands, with what they are about.
private let firstWords = nextWords(after: nil)

/// The words that may follow a group's, or begin a command: commands, then groups.
private func nextWords(after group: String?) -> [(word: String, summary: String)] {
  let all = commands.map { (name: $0.name, summary: $0.summary) } + groups
  return all.compactMap { item in
    guard let word = item.name.removingPrefix(group.map { $0 + " " } ?? ""), !word.contains(" ") else { return nil }
    return (word, item.summary)
  }
}

/// Groups by how many words they have, those of one word first.
private var groupLevels: [[String]] {
  let names = groups.map { $0.name }
  let deepest = names.map(wordCount).max() ?? 0
  return stride(from: 1, through: deepest, by: 1).map { depth in names.filter { wordCount($0) == depth } }
}

private func wordCount(_ name: String) -> Int { name.split(separator: " ").count }

private func joined(_ words: [(word: String, summary: String)]) -> String {
  words.map { $0.word }.joined(separator: " ")
}

extension String {
  /// What follows the prefix; nil when this does not begin with it.
  fileprivate func removingPrefix(_ prefix: String) -> String? {
    hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
  }
}

/// In single quotes, for any of the three shells.
private func quoted(_ text: String) -> String {
  var result = "'"
  for character in text {
    switch character {
    case "'": result += "'\\''"
    default: result.append(character)
    }
  }
  return result + "'"
}

// MARK: bash

private func bashScript() -> String {
  var script = """
    # bash completion for chaos
    _chaos() {
      local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
      local command=${COMP_WORDS[1]}
      COMPREPLY=()
      if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '\(joined(firstWords)) --help --version' -- "$word"))
        return
      fi

    """
  for (level, names) in groupLevels.enumerated() {
    script += "  case $command in\n"
    for name in names { script += bashGroup(name, next: level + 2) }
    script += "  esac\n"
  }
  script += "  case $command in\n"
  for command in commands { script += bashCase(command) }
  return script + "  esac\n}\ncomplete -F _chaos chaos\n"
}

/// Completes the word that follows a group, the one numbered `next`, or adds it to the command.
private func bashGroup(_ name: String, next: Int) -> String {
  """
      "\(name)")
        if ((COMP_CWORD == \(next))); then
          COMPREPLY=($(compgen -W '\(joined(nextWords(after: name))) --help' -- "$word"))
          return
        fi
        command="$command ${COMP_WORDS[\(next)]}" ;;

  """
}

private func bashCase(_ command: Command) -> String {
  let names = ([command.name] + command.aliases).map { "\"\($0)\"" }.joined(separator: "|")
  var text = "    \(names))\n      case $previous in\n"
  for option in command.allOptions {
    guard let value = option.value else { continue }
    text += "        --\(option.name)) \(bashWords(value.kind)); return ;;\n"
  }
  let options = command.allOptions.map { "--\($0.name)" }.joined(separator: " ")
  text += """
          esac
          case $word in
            -*) COMPREPLY=($(compgen -W '\(options)' -- "$word")) ;;

    """
  if let last = command.operands.last { text += "        *) \(bashOperands(command, last: last)) ;;\n" }
  return text + "      esac ;;\n"
}

/// The word right after the command is its first operand; any other is taken for the last.
private func bashOperands(_ command: Command, last: Operand) -> String {
  guard let first = command.operands.dropLast().first else { return bashWords(last.kind) }
  let position = wordCount(command.name) + 1
  return "if ((COMP_CWORD == \(position))); then \(bashWords(first.kind)); else \(bashWords(last.kind)); fi"
}

private func bashWords(_ kind: ValueKind) -> String {
  switch kind {
  case .text: ":"
  case .file: "compopt -o filenames; \(bashReply("-f"))"
  case .guest: bashReply(#"-W "$(chaos list -q 2>/dev/null)""#)
  case .image: "compopt -o filenames; " + bashReply(#"-f -W "$(chaos image list -q 2>/dev/null)""#)
  case .storedImage: bashReply(#"-W "$(chaos image list -q 2>/dev/null)""#)
  case .lan: bashReply(#"-W "$(chaos lan list -q 2>/dev/null)""#)
  case .interface: bashReply(#"-W "$(ls /sys/class/net)""#)
  case .command: bashReply("-W '\(joined(firstWords))'")
  case .choice(let choices): bashReply("-W '\(choices.joined(separator: " "))'")
  }
}

private func bashReply(_ words: String) -> String {
  "COMPREPLY=($(compgen \(words) -- \"$word\"))"
}

// MARK: zsh

private func zshScript() -> String {
  var script = """
    #compdef chaos
    _chaos_guests() { compadd -- ${(f)"$(chaos list -q 2>/dev/null)"} }
    _chaos_stored() { compadd -- ${(f)"$(chaos image list -q 2>/dev/null)"} }
    _chaos_images() { _chaos_stored; _files }
    _chaos_lans() { compadd -- ${(f)"$(chaos lan list -q 2>/dev/null)"} }
    _chaos_interfaces() { compadd -- /sys/class/net/*(N:t) }
    _chaos() {
      local command=$words[2]
      if ((CURRENT == 2)); then
        local -a commands=(

    """
  for (word, summary) in firstWords { script += "      \(zshDescription(word, summary))\n" }
  script += "    )\n    _describe command commands\n    return\n  fi\n  local skip=1\n"
  for (level, names) in groupLevels.enumerated() {
    script += "  case $command in\n"
    for name in names { script += zshGroup(name, next: level + 3) }
    script += "  esac\n"
  }
  script += "  shift $skip words\n  ((CURRENT -= skip))\n  case $command in\n"
  for command in commands {
    let names = ([command.name] + command.aliases).map(quoted).joined(separator: "|")
    let specifications =
      command.allOptions.flatMap(zshSpecifications) + command.operands.map(zshOperand)
    script += "    \(names)) _arguments \(specifications.joined(separator: " \\\n      ")) ;;\n"
  }
  return script + "  esac\n}\n_chaos \"$@\"\n"
}

/// Completes the word that follows a group, the one numbered `next`, or adds it to the command.
private func zshGroup(_ name: String, next: Int) -> String {
  var text = "    \(quoted(name)))\n      if ((CURRENT == \(next))); then\n        local -a commands=(\n"
  for (word, summary) in nextWords(after: name) { text += "          \(zshDescription(word, summary))\n" }
  return text + """
            )
            _describe command commands
            return
          fi
          command="$command $words[\(next)]"
          skip=\(next - 1) ;;

    """
}

private func zshDescription(_ word: String, _ summary: String) -> String {
  quoted("\(word):\(summary)")
}

private func zshSpecifications(_ option: Option) -> [String] {
  let summary = option.summary.filter { $0 != "[" && $0 != "]" }
  let repeated = option.isRepeated ? "*" : ""
  let value = option.value.map { ":\($0.name):\(zshWords($0.kind))" } ?? ""
  let names = ["--\(option.name)"] + (option.letter.map { ["-\($0)"] } ?? [])
  return names.map { quoted("\(repeated)\($0)[\(summary)]\(value)") }
}

private func zshOperand(_ operand: Operand) -> String {
  let place = operand.isRepeated ? "*" : operand.isRequired ? "" : ":"
  return quoted("\(place):\(operand.name):\(zshWords(operand.kind))")
}

private func zshWords(_ kind: ValueKind) -> String {
  switch kind {
  case .text: " "
  case .file: "_files"
  case .guest: "_chaos_guests"
  case .image: "_chaos_images"
  case .storedImage: "_chaos_stored"
  case .lan: "_chaos_lans"
  case .interface: "_chaos_interfaces"
  case .command: "(\(joined(firstWords)))"
  case .choice(let choices): "(\(choices.joined(separator: " ")))"
  }
}

// MARK: fish

private func fishScript() -> String {
  // Words alone would not do: `list` is a command, and the end of others.
  var script = """
    # fish completion for chaos
    complete -c chaos -f
    function __chaos_after
      set -l words (commandline -opc)
      set -e words[1]
      test "$words" = "$argv"
    end
    function __chaos_in
      set -l words (commandline -opc)
      set -e words[1]
      string match -q -- "$argv *" "$words "
    end

    """
  for (word, summary) in firstWords {
    script += "complete -c chaos -n __fish_use_subcommand -a \(word) -d \(quoted(summary))\n"
  }
  for group in groups {
    let start = "complete -c chaos -n \(quoted("__chaos_after \(group.name)"))"
    for (word, summary) in nextWords(after: group.name) {
      script += "\(start) -a \(word) -d \(quoted(summary))\n"
    }
  }
  for command in commands {
    for name in [command.name] + command.aliases { script += fishCommand(command, name) }
  }
  return script
}

/// The options and operands of a command by one of its names.
private func fishCommand(_ command: Command, _ name: String) -> String {
  var script = ""
  let start = "complete -c chaos -n \(quoted("__chaos_in \(name)"))"
  for option in command.allOptions {
    let letter = option.letter.map { " -s \($0)" } ?? ""
    let value = option.value.map { fishValue(fishWords($0.kind)) } ?? ""
    script += "\(start) -l \(option.name)\(letter)\(value) -d \(quoted(option.summary))\n"
  }
  if let first = command.operands.dropLast().first.map({ fishWords($0.kind) }), !first.isEmpty {
    script += "complete -c chaos -n \(quoted("__chaos_after \(name)"))\(first)\n"
  }
  if let words = command.operands.last.map({ fishWords($0.kind) }), !words.isEmpty {
    let isLater = command.operands.count > 1
    let condition = "__chaos_in \(name)" + (isLater ? "; and not __chaos_after \(name)" : "")
    script += "complete -c chaos -n \(quoted(condition))\(words)\n"
  }
  return script
}

/// An option's value: where it may be a file, fish refuses `-x`, which means that it may not.
private func fishValue(_ words: String) -> String {
  (words.hasPrefix(" -F") ? " -r" : " -x") + words
}

private func fishWords(_ kind: ValueKind) -> String {
  switch kind {
  case .text: ""
  case .file: " -F"
  case .guest: " -a '(chaos list -q 2>/dev/null)'"
  case .image: " -F -a '(chaos image list -q 2>/dev/null)'"
  case .storedImage: " -a '(chaos image list -q 2>/dev/null)'"
  case .lan: " -a '(chaos lan list -q 2>/dev/null)'"
  case .interface: " -a '(ls /sys/class/net)'"
  case .command: " -a \(quoted(joined(firstWords)))"
  case .choice(let choices): " -a \(quoted(choices.joined(separator: " ")))"
  }
}
