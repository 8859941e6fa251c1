import ChaosAPI

/// A command with what was given to it.
struct Invocation: Sendable {
  let command: Command
  private(set) var operands: [String] = []
  private var given: [(option: String, value: String)] = []

  /// Reads what follows the command's name.
  init(_ command: Command, _ arguments: ArraySlice<String>) throws(APIError) {
    self.command = command
    var rest = arguments
    while let argument = rest.popFirst() {
      if argument == "--" {
        operands += rest
        break
      } else if argument.utf8.starts(with: "--".utf8) {
        try takeLong(argument, &rest)
      } else if argument.utf8.first == UInt8(ascii: "-"), argument.utf8.count > 1 {
        try takeLetter(argument, &rest)
      } else {
        operands.append(argument)
      }
    }
    if !isHelpWanted { try checkOperands() }
  }

  private mutating func takeLong(
    _ argument: String, _ rest: inout ArraySlice<String>
  ) throws(APIError) {
    let equals = argument.utf8.firstIndex(of: UInt8(ascii: "="))
    let name = String(argument.dropFirst(2).prefix(upTo: equals ?? argument.endIndex))
    guard let option = command.allOptions.first(where: { $0.name == name }) else {
      throw unknownOption("--\(name)")
    }
    let value = equals.map { String(argument.suffix(from: argument.utf8.index(after: $0))) }
    try take(option, value, &rest)
  }

  private mutating func takeLetter(
    _ argument: String, _ rest: inout ArraySlice<String>
  ) throws(APIError) {
    let letter = String(argument.dropFirst())
    guard let option = command.allOptions.first(where: { $0.letter == letter }) else {
      throw unknownOption(argument)
    }
    try take(option, nil, &rest)
  }

  private mutating func take(
    _ option: Option, _ value: String?, _ rest: inout ArraySlice<String>
  ) throws(APIError) {
    if !option.isRepeated, has(option.name) {
      throw usage("option '--\(option.name)' given twice")
    }
    guard let expected = option.value else {
      guard value == nil else { throw usage("option '--\(option.name)' takes no value") }
      given.append((option.name, ""))
      return
    }
    guard let value = value ?? rest.popFirst() else {
      throw usage("option '--\(option.name)' needs a value: \(expected.name)")
    }
    if case .choice(let choices) = expected.kind, !choices.contains(value) {
      throw usage(
        "option '--\(option.name)': expected \(choices.joined(separator: " or ")), got '\(value)'")
    }
    given.append((option.name, value))
  }

  private func unknownOption(_ text: String) -> APIError {
    let known = command.allOptions.map { "--\($0.name)" }
    return usage("unknown option '\(text)'" + suggestion(for: text, among: known))
  }

  private func checkOperands() throws(APIError) {
    let required = command.operands.filter { $0.isRequired }
    if operands.count < required.count {
      throw usage("missing \(required[operands.count].name)")
    }
    // In a path of the API nothing would stand for all.
    if let position = operands.firstIndex(of: ""), let operand = command.operand(at: position) {
      throw usage("\(operand.name) is empty")
    }
    if command.operands.last?.isRepeated != true, operands.count > command.operands.count {
      throw usage("unexpected argument '\(operands[command.operands.count])'")
    }
  }

  /// An error of this command's usage.
  func usage(_ message: String) -> APIError {
    .usage(message, of: command.name)
  }

  var isHelpWanted: Bool { has("help") }

  func has(_ option: String) -> Bool {
    given.contains { $0.option == option }
  }

  func value(_ option: String) -> String? {
    given.first { $0.option == option }?.value
  }

  func values(_ option: String) -> [String] {
    given.compactMap { $0.option == option ? $0.value : nil }
  }

  func integer(_ option: String) throws(APIError) -> Int? {
    guard let text = value(option) else { return nil }
    guard let number = Int(text), text.utf8.first != UInt8(ascii: "+") else {
      throw usage("option '--\(option)': expected an integer, got '\(text)'")
    }
    return number
  }

  /// An amount of memory in MiB: `64`, `64M`, `64MiB`, `1G`.
  func mebibytes(_ option: String) throws(APIError) -> Int? {
    try binarySize(option, in: .mebi)
  }

  /// An amount of memory in KiB: `256`, `256K`, `1M`.
  func kibibytes(_ option: String) throws(APIError) -> Int? {
    try binarySize(option, in: .kibi)
  }

  private func binarySize(_ option: String, in unit: BinaryUnit) throws(APIError) -> Int? {
    guard let text = value(option) else { return nil }
    guard let size = unit.count(text) else {
      throw usage("option '--\(option)': expected \(unit.rawValue)iB, as \(unit.examples), got '\(text)'")
    }
    return size
  }

  /// A time limit in seconds.
  func timeout(default seconds: Int) throws(APIError) -> Int {
    guard let timeout = try integer("timeout") else { return seconds }
    guard 0...86_400 ~= timeout else {
      throw usage("option '--timeout': expected 0 to 86400 seconds, got '\(timeout)'")
    }
    return timeout
  }

  var wantsJSON: Bool { value("format") == "json" }
}

/// Units that are each 1024 of the one before.
private enum BinaryUnit: String, CaseIterable {
  case kibi = "K"
  case mebi = "M"
  case gibi = "G"
  case tebi = "T"

  var examples: String { self == .kibi ? "256, 256K or 1M" : "64, 64M or 1G" }

  private var power: Int { Self.allCases.firstIndex(of: self) ?? 0 }

  /// How many of this unit a text means, which may name another: `1GiB` are 1024 of `mebi`. Nil for what is no
  /// whole number of them.
  func count(_ text: String) -> Int? {
    let digits = text.utf8.prefix { 0x30...0x39 ~= $0 }
    guard 1...9 ~= digits.count, var size = Int(String(digits) ?? "") else { return nil }
    let suffix = String(text.utf8.dropFirst(digits.count)) ?? ""
    guard !suffix.isEmpty else { return size }
    guard let named = Self.allCases.first(where: { [$0.rawValue, $0.rawValue + "iB"].contains(suffix) })
    else { return nil }
    for _ in power..<max(power, named.power) { size *= 1024 }
    for _ in named.power..<max(power, named.power) {
      guard size % 1024 == 0 else { return nil }
      size /= 1024
    }
    return size
  }
}

extension Command {
  /// With the one that every command has.
  var allOptions: [Option] { options + [helpOption] }

  /// The one that the word at `position` is; nil past the last.
  fileprivate func operand(at position: Int) -> Operand? {
    if position < operands.count { return operands[position] }
    return operands.last.flatMap { $0.isRepeated ? $0 : nil }
  }
}

let helpOption = Option(name: "help", letter: "h", summary: "Show this help.")
