/// The command line of chaos-backend.
struct BackendOptions {
  var socket = "/run/chaos/backend.sock"
  /// The user to become after listening; nil keeps the caller's.
  var user: String?
  var showsHelp = false

  static let help = """
    usage: chaos-backend [--socket PATH] [--user NAME]

    Serves consoles, power control and vifs of chaos's guests. Started by chaosd or by the service manager.

      --socket PATH   where to listen for chaosd (default /run/chaos/backend.sock)
      --user NAME     the user to become after listening
    """

  struct UsageError: Error, CustomStringConvertible {
    let description: String
  }

  init(_ arguments: [String]) throws(UsageError) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "--help", "-h": showsHelp = true
      case "--socket": socket = try Self.value(of: argument, &rest)
      case "--user": user = try Self.value(of: argument, &rest)
      default: throw UsageError(description: "unknown argument: '\(argument)'")
      }
    }
  }

  private static func value(of option: String, _ rest: inout ArraySlice<String>) throws(UsageError) -> String {
    guard let value = rest.popFirst() else { throw UsageError(description: "\(option): value missing") }
    return value
  }
}
