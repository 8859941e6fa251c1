/// What this plug-in reads of CNI_ARGS: `KEY=VALUE` pairs with semicolons between them.
struct Arguments: Hashable, Sendable {
  var mac: String?
  /// An address, with or without its prefix; several with commas between them.
  var ip: String?

  /// - Parameter ignoresUnknown: whether keys that mean nothing here are passed over even where the text does
  ///   not ask for it with `IgnoreUnknown`, as the convention is.
  init(parsing text: String, ignoresUnknown: Bool = false) throws(CNIError) {
    var unknown: String?
    var ignoresUnknown = ignoresUnknown
    for pair in text.utf8.split(separator: UInt8(ascii: ";")) {
      let parts = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      let key = String(decoding: parts[0], as: UTF8.self)
      guard parts.count == 2, !key.isEmpty else {
        let text = String(decoding: pair, as: UTF8.self)
        throw .refused("CNI_ARGS", "not KEY=VALUE", text, code: .invalidEnvironment)
      }
      let value = String(decoding: parts[1], as: UTF8.self)
      switch key {
      case "MAC": mac = value.isEmpty ? nil : value
      case "IP": ip = value.isEmpty ? nil : value
      case "IgnoreUnknown": ignoresUnknown = try Self.flag(value) || ignoresUnknown
      default: unknown = unknown ?? key
      }
    }
    guard let unknown, !ignoresUnknown else { return }
    throw CNIError(
      .invalidEnvironment, "CNI_ARGS: unknown key: \(quoted(unknown))",
      details: "IgnoreUnknown=1 in CNI_ARGS has it passed over")
  }

  private static func flag(_ text: String) throws(CNIError) -> Bool {
    switch text.lowercased() {
    case "1", "true": return true
    case "0", "false": return false
    default: throw .refused("CNI_ARGS", "IgnoreUnknown is not 1, true, 0 or false", text, code: .invalidEnvironment)
    }
  }
}
