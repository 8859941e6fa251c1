/// One command of `chaos`, declared once: the parser, the help texts, the man pages and the shell completions
/// are all made from it.
struct Command: Sendable {
  /// One word, or two for a command of a group: `pool status`.
  let name: String
  var aliases: [String] = []
  /// One line, beginning with a verb.
  let summary: String
  /// Paragraphs.
  var description: [String] = []
  var operands: [Operand] = []
  var options: [Option] = []
  var examples: [Example] = []
  let run: @Sendable (Invocation) throws -> ExitStatus
}

struct Operand: Sendable {
  let name: String
  var isRequired = true
  /// Takes all that follow; only the last operand may.
  var isRepeated = false
  var kind = ValueKind.text
}

struct Option: Sendable {
  let name: String
  /// The one-letter form, `f` for `-f`.
  var letter: Character? = nil
  /// Nil for a switch, which takes no value.
  var value: Value? = nil
  var isRepeated = false
  let summary: String

  struct Value: Sendable {
    let name: String
    var kind = ValueKind.text
  }
}

/// What a value is, so that a shell can complete it.
enum ValueKind: Sendable {
  case text
  case file
  case guest
  case image
  case command
  case choice([String])
}

struct Example: Sendable {
  let command: String
  let comment: String
}

/// What `chaos` exits with: these, and those of `APIError.Code`.
struct ExitStatus: Sendable, Equatable {
  let rawValue: Int32

  static let success = ExitStatus(rawValue: 0)
  static let usage = ExitStatus(rawValue: 2)
  static let interrupted = ExitStatus(rawValue: 130)
}

/// A command line that cannot be understood.
struct UsageError: Error, Equatable {
  let message: String
  /// The command whose help would have told; nil for `chaos` itself.
  var command: String? = nil

  init(_ message: String, command: String? = nil) {
    self.message = message
    self.command = command
  }
}
