/// The command line of chaos-backend.
struct BackendOptions {
  var socket = "/run/chaos/backend.sock"
  var account: Account?

  enum Account {
    /// The user to become after listening.
    case user(String)
    /// Root, knowingly.
    case root
  }

  var showsHelp = false

  static let help = """
    usage: chaos-backend [--socket PATH] (--user NAME | --as-root)

    Serves consoles, power control and vifs of chaos's guests. Started by chaosd or by the service manager.

      --socket PATH   where to listen for chaosd (default /run/chaos/backend.sock)
      --user NAME     the user to become after listening; not needed by a user other than root
      --as-root       stay root, on systems without a user for it
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
      case "--user": account = .user(try Self.value(of: argument, &rest))
      case "--as-root": account = .root
      default: throw UsageError(description: "unknown argument: '\(argument)'")
      }
    }
  }

  private static func value(of option: String, _ rest: inout ArraySlice<String>) throws(UsageError) -> String {
    guard let value = rest.popFirst() else { throw UsageError(description: "\(option): value missing") }
    return value
  }
}
