/// The command line of chaosd.
struct DaemonOptions {
  var socket = "/run/chaos/chaosd.sock"
  /// The user chaos-backend runs as.
  var backendUser = "chaos-backend"
  /// Have chaos-backend keep root's rights, where there is no user for it.
  var backendAsRoot = false
  /// What is run to have a chaos-backend; nil: the one beside this program.
  var backend: String?
  var limits = Limits()
  /// The most memory the pool may hold; nil: a quarter of what is free at start.
  var poolBudgetMiB: Int?
  /// Weight to give dom0 under the credit2 scheduler; nil leaves it alone.
  var dom0Weight: UInt16?
  /// The version of Xen's domctl interface to speak; nil: the one of those that are known that Xen takes.
  var xenInterface: UInt32?
  var showsHelp = false
  var showsVersion = false
  var listsSteps = false
  /// Look at the host instead of serving.
  var examines = false
  var wantsJSON = false
  var showsAll = false

  static let help = """
    usage: chaosd [--socket PATH] [--backend PATH] [--backend-user NAME | --backend-as-root]
                  [--pool-budget MIB] [--dom0-weight N] [--max-connections N]
                  [--xen-interface VERSION]
           chaosd --doctor [--format text|json] [--all] [--socket PATH] [--xen-interface VERSION]

    The chaos host daemon: keeps the pool of shells, runs guests' life cycle and serves the API.
    Needs root and a Xen dom0.

      --socket PATH        where to listen (default /run/chaos/chaosd.sock), unless systemd passes a socket
      --backend PATH       what starts chaos-backend (default: the one beside chaosd)
      --backend-user NAME  the user chaos-backend runs as (default chaos-backend)
      --backend-as-root    have chaos-backend keep root's rights, where there is no user for it
      --pool-budget MIB    the most memory the pool may hold (default: a quarter of what is free)
      --dom0-weight N      give dom0 this weight under Xen's credit2 scheduler (guests have 256), so that a guest
                           that starts does not hold up the host's own work; left alone unless given
      --max-connections N  the most connections at one time (default 1024; 32 of them are kept for root)
      --xen-interface VERSION
                           speak this version of Xen's domctl interface (0x19), for a Xen later than this chaosd,
                           as if nothing else had changed; whether that is so, nobody has tried
      --doctor             say what is missing or set wrong on this host, and how to mend it: what chaos doctor does.
                           Changes nothing, and needs no chaosd that runs. Status 1 when there is an error
      --format text|json   with --doctor: for people (the default) or for programs
      --all                with --doctor: what is well, too
      --list-steps         print the steps of every operation, as CHAOS_CRASH_AT and CHAOS_TRACE know them
      --version            print the version
      --help               print this text
    """

  struct UsageError: Error, CustomStringConvertible {
    let description: String
  }

  init(_ arguments: [String]) throws(UsageError) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "--help", "-h": showsHelp = true
      case "--version": showsVersion = true
      case "--list-steps": listsSteps = true
      case "--doctor": examines = true
      case "--all": showsAll = true
      case "--format":
        let text = try Self.value(of: argument, &rest)
        guard text == "text" || text == "json" else {
          throw UsageError(description: "--format: expected text or json: '\(text)'")
        }
        wantsJSON = text == "json"
      case "--socket": socket = try Self.value(of: argument, &rest)
      case "--backend-user": backendUser = try Self.value(of: argument, &rest)
      case "--backend-as-root": backendAsRoot = true
      case "--backend": backend = try Self.value(of: argument, &rest)
      case "--max-connections":
        let text = try Self.value(of: argument, &rest)
        guard let value = Int(text), (64...65_536).contains(value) else {
          throw UsageError(description: "--max-connections: not a number from 64 to 65536: '\(text)'")
        }
        limits.connections = value
      case "--pool-budget":
        let text = try Self.value(of: argument, &rest)
        guard let value = Int(text), value >= 0 else {
          throw UsageError(description: "--pool-budget: not a number of MiB: '\(text)'")
        }
        poolBudgetMiB = value
      case "--dom0-weight":
        let text = try Self.value(of: argument, &rest)
        guard let value = UInt16(text), value > 0 else {
          throw UsageError(description: "--dom0-weight: not a weight from 1 to 65535: '\(text)'")
        }
        dom0Weight = value
      case "--xen-interface":
        let text = try Self.value(of: argument, &rest)
        guard let value = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text) else {
          throw UsageError(description: "--xen-interface: not a version such as 0x19: '\(text)'")
        }
        xenInterface = value
      default: throw UsageError(description: "unknown argument: '\(argument)'")
      }
    }
    if !examines, wantsJSON || showsAll {
      throw UsageError(description: "\(wantsJSON ? "--format" : "--all"): only with --doctor")
    }
  }

  private static func value(of option: String, _ rest: inout ArraySlice<String>) throws(UsageError) -> String {
    guard let value = rest.popFirst() else { throw UsageError(description: "\(option): value missing") }
    return value
  }
}
