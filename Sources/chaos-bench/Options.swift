/// The command line of chaos-bench.
struct Options {
  var lists = false
  var showsHelp = false
  var isQuick = false
  var wantsJSON = false
  /// Empty: every row.
  var only: [String] = []
  var samples: Int?
  var seconds: Int?
  var image = "images/build/host.elf"
  var socket = "/run/chaos/chaosd.sock"
  var staticTrue = "/usr/lib/chaos-box/static-true"

  static let help = """
    usage: chaos-bench [OPTION...]

    Measures chaos on this host beside its peers, and prints a table. Meant for an idle host without other guests:
    it makes a bridge, a stored image and pool flavours of its own, and removes them. Rows with xl need xenstored.

      --list              print the rows' names and what they are
      --only NAME,...     measure these rows; a ratio needs its peer's row too
      --samples N         take N samples of every row
      --seconds N         run each sustained row for so long (default 20)
      --quick             few samples, for a first look
      --format FORMAT     text (the default), or json: JSON on standard output, the table on standard error
      --image FILE        the image to start (default images/build/host.elf)
      --socket PATH       chaosd's socket (default /run/chaos/chaosd.sock)
      --static-true FILE  a static program that does nothing (default /usr/lib/chaos-box/static-true)

    The exit status is 0, or 1 when a row could not be measured, or 2 for a wrong option. Nothing is judged by time.

    """

  init(_ arguments: [String]) throws(Failure) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "--help", "-h": showsHelp = true
      case "--list": lists = true
      case "--quick": isQuick = true
      case "--only": only += try Self.value(of: argument, &rest).split(separator: ",").map(String.init)
      case "--samples": samples = try Self.number(of: argument, &rest)
      case "--seconds": seconds = try Self.number(of: argument, &rest)
      case "--image": image = try Self.value(of: argument, &rest)
      case "--socket": socket = try Self.value(of: argument, &rest)
      case "--static-true": staticTrue = try Self.value(of: argument, &rest)
      case "--format": wantsJSON = try Self.format(try Self.value(of: argument, &rest))
      default: throw Failure("unknown argument '\(argument)'; --help shows the usage")
      }
    }
  }

  private static func value(of option: String, _ rest: inout ArraySlice<String>) throws(Failure) -> String {
    guard let value = rest.popFirst() else { throw Failure("\(option): value missing") }
    return value
  }

  private static func number(of option: String, _ rest: inout ArraySlice<String>) throws(Failure) -> Int {
    let text = try value(of: option, &rest)
    guard let number = Int(text), 1...100_000 ~= number else {
      throw Failure("\(option): not a number from 1 to 100000: '\(text)'")
    }
    return number
  }

  private static func format(_ text: String) throws(Failure) -> Bool {
    switch text {
    case "text": return false
    case "json": return true
    default: throw Failure("--format: expected 'text' or 'json': '\(text)'")
    }
  }
}
