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
private let firstWords: [(word: String, summary: String)] =
  commands.filter { !$0.isOfGroup }.map { ($0.name, $0.summary) }
  + groups.map { ($0.name, $0.summary) }

private func members(of group: String) -> [(word: String, command: Command)] {
  commands.filter { $0.name.hasPrefix(group + " ") }
    .map { (String($0.name.dropFirst(group.count + 1)), $0) }
}

extension Command {
  fileprivate var isOfGroup: Bool { name.contains(" ") }
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
      local command=${COMP_WORDS[1]} first=2
      COMPREPLY=()
      if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '\(firstWords.map { $0.word }.joined(separator: " ")) --help --version' -- "$word"))
        return
      fi
      case $command in

    """
  for group in groups {
    let words = members(of: group.name).map { $0.word }.joined(separator: " ")
    script += """
        \(group.name))
          if ((COMP_CWORD == 2)); then
            COMPREPLY=($(compgen -W '\(words) --help' -- "$word"))
            return
          fi
          command="$command ${COMP_WORDS[2]}" ;;

      """
  }
  script += "  esac\n  case $command in\n"
  for command in commands { script += bashCase(command) }
  return script + "  esac\n}\ncomplete -F _chaos chaos\n"
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
  if let operand = command.operands.last { text += "        *) \(bashWords(operand.kind)) ;;\n" }
  return text + "      esac ;;\n"
}

private func bashWords(_ kind: ValueKind) -> String {
  switch kind {
  case .text: ":"
  case .file: "compopt -o filenames; \(bashReply("-f"))"
  case .guest: bashReply(#"-W "$(chaos list -q 2>/dev/null)""#)
  case .image: "compopt -o filenames; " + bashReply(#"-f -W "$(chaos image list -q 2>/dev/null)""#)
  case .storedImage: bashReply(#"-W "$(chaos image list -q 2>/dev/null)""#)
  case .command: bashReply("-W '\(firstWords.map { $0.word }.joined(separator: " "))'")
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
    _chaos() {
      local command=$words[2]
      if ((CURRENT == 2)); then
        local -a commands=(

    """
  for (word, summary) in firstWords { script += "      \(zshDescription(word, summary))\n" }
  script += "    )\n    _describe command commands\n    return\n  fi\n  local skip=1\n"
  script += "  case $command in\n"
  for group in groups {
    script += "    \(group.name))\n      if ((CURRENT == 3)); then\n        local -a commands=(\n"
    for (word, command) in members(of: group.name) {
      script += "          \(zshDescription(word, command.summary))\n"
    }
    script += """
              )
              _describe command commands
              return
            fi
            command="$command $words[3]"
            skip=2 ;;

      """
  }
  script += "  esac\n  shift $skip words\n  ((CURRENT -= skip))\n  case $command in\n"
  for command in commands {
    let names = ([command.name] + command.aliases).map(quoted).joined(separator: "|")
    let specifications =
      command.allOptions.flatMap(zshSpecifications) + command.operands.map(zshOperand)
    script += "    \(names)) _arguments \(specifications.joined(separator: " \\\n      ")) ;;\n"
  }
  return script + "  esac\n}\n_chaos \"$@\"\n"
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
  case .command: "(\(firstWords.map { $0.word }.joined(separator: " ")))"
  case .choice(let choices): "(\(choices.joined(separator: " ")))"
  }
}

// MARK: fish

private func fishScript() -> String {
  var script = "# fish completion for chaos\ncomplete -c chaos -f\n"
  for (word, summary) in firstWords {
    script += "complete -c chaos -n __fish_use_subcommand -a \(word) -d \(quoted(summary))\n"
  }
  for group in groups {
    let words = members(of: group.name).map { $0.word }.joined(separator: " ")
    for (word, command) in members(of: group.name) {
      let condition =
        "__fish_seen_subcommand_from \(group.name); and not __fish_seen_subcommand_from \(words)"
      script +=
        "complete -c chaos -n \(quoted(condition)) -a \(word) -d \(quoted(command.summary))\n"
    }
  }
  for command in commands {
    let condition = command.name.split(separator: " ")
      .map { "__fish_seen_subcommand_from \($0)" }.joined(separator: "; and ")
    let start = "complete -c chaos -n \(quoted(condition))"
    for option in command.allOptions {
      let letter = option.letter.map { " -s \($0)" } ?? ""
      let value = option.value.map { " -x\(fishWords($0.kind))" } ?? ""
      script += "\(start) -l \(option.name)\(letter)\(value) -d \(quoted(option.summary))\n"
    }
    if let words = command.operands.last.map({ fishWords($0.kind) }), !words.isEmpty {
      script += start + words + "\n"
    }
  }
  return script
}

private func fishWords(_ kind: ValueKind) -> String {
  switch kind {
  case .text: ""
  case .file: " -F"
  case .guest: " -a '(chaos list -q 2>/dev/null)'"
  case .image: " -F -a '(chaos image list -q 2>/dev/null)'"
  case .storedImage: " -a '(chaos image list -q 2>/dev/null)'"
  case .command: " -a \(quoted(firstWords.map { $0.word }.joined(separator: " ")))"
  case .choice(let choices): " -a \(quoted(choices.joined(separator: " ")))"
  }
}
