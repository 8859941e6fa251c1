import ChaosAPI

/// One command of `chaos`, declared once: the parser, the help texts, the man pages and the shell completions
/// are all made from it.
struct Command: Sendable {
  /// One word, or more for a command of a group: `pool status`, `lan peer add`.
  let name: String
  var aliases: [String] = []
  /// One line, beginning with a verb.
  let summary: String
  /// Paragraphs.
  var description: [String] = []
  var operands: [Operand] = []
  var options: [Option] = []
  var examples: [Example] = []
  let run: @Sendable (Invocation) throws(APIError) -> ExitStatus
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
  var letter: String? = nil
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
  /// A stored image or a file.
  case image
  case storedImage
  case lan
  /// A network interface of the host.
  case interface
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

extension APIError {
  /// A command line that cannot be understood, and the command whose help would have told: `pool set`, or nil
  /// for `chaos` itself. As no field of a request has a blank, the hint takes the field's place.
  static func usage(_ message: String, of command: String?) -> APIError {
    let name = command.map { "chaos \($0)" } ?? "chaos"
    return APIError(.invalidArgument, message, field: "\(name) --help")
  }

  /// What to type for help; nil when the command line is not at fault.
  var helpCommand: String? {
    field.flatMap { $0.hasSuffix(" --help") ? $0 : nil }
  }
}
