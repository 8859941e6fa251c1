import ChaosAPI

/// One thing that chaos needs of a host, or is better for: what came of looking at it.
struct HostCheck: Sendable {
  enum Level: String, Sendable, CaseIterable {
    /// Without it chaos, or what somebody set up with it, does not work.
    case error
    /// It works, and somebody will be sorry.
    case warning
  }

  enum Verdict: Sendable, Equatable {
    case ok
    /// What is wrong, and a line that mends it.
    case failed(String, remedy: String)
    /// Why nobody could look.
    case unknown(String)
  }

  /// What chaos keeps, and a folder for each.
  enum Storage: String, Sendable, CaseIterable {
    case run, state, log, settings

    var folder: String {
      switch self {
      case .run: "/run/chaos"
      case .state: "/var/lib/chaos"
      case .log: "/var/log/chaos"
      case .settings: "/etc/chaos"
      }
    }
  }

  /// Never changes its meaning.
  let id: String
  /// What is as it should be when it is `ok`.
  let title: String
  let level: Level
  let verdict: Verdict

  var json: JSON {
    var object: JSONObject = ["id": .string(id), "title": .string(title), "level": .string(level.rawValue)]
    switch verdict {
    case .ok: object["verdict"] = .string("ok")
    case .failed(let found, let remedy):
      object["verdict"] = .string("failed")
      object["found"] = .string(found)
      object["remedy"] = .string(remedy)
    case .unknown(let why):
      object["verdict"] = .string("unknown")
      object["found"] = .string(why)
    }
    return .object(object)
  }
}

/// All checks of a host.
public struct HostReport: Sendable {
  let checks: [HostCheck]

  public init(_ facts: HostFacts) { checks = Rule.all.map { $0.check(facts) } }

  var errors: [HostCheck] { failed(.error) }
  var warnings: [HostCheck] { failed(.warning) }

  public var hasErrors: Bool { !errors.isEmpty }

  private func failed(_ level: HostCheck.Level) -> [HostCheck] {
    checks.filter { check in
      if case .failed = check.verdict { check.level == level } else { false }
    }
  }

  private var unknown: Int {
    checks.count { check in
      if case .unknown = check.verdict { true } else { false }
    }
  }

  public var json: JSON {
    let object: JSONObject = [
      "status": .string(hasErrors ? "failed" : "ok"), "errors": .number(errors.count),
      "warnings": .number(warnings.count), "unknown": .number(unknown), "checks": .array(checks.map(\.json)),
    ]
    return .object(object)
  }

  /// Lines for people.
  ///
  /// - Parameter isWhole: with what is as it should be.
  public func text(isWhole: Bool) -> String {
    let lines = checks.flatMap { check -> [String] in
      switch check.verdict {
      case .ok: isWhole ? [Self.line("ok", check.id, check.title)] : []
      case .failed(let found, let remedy):
        [Self.line(check.level.rawValue, check.id, found), Self.line("", "", "mend: " + remedy)]
      case .unknown(let why): [Self.line("unknown", check.id, why)]
      }
    }
    let well = checks.count - errors.count - warnings.count - unknown
    return
      (lines + [
        "\(checks.count) checks: \(well) ok, \(errors.count) errors, \(warnings.count) warnings, \(unknown) unknown"
      ]).map { $0 + "\n" }.joined()
  }

  private static func line(_ verdict: String, _ id: String, _ text: String) -> String {
    let columns = [(verdict, 9), (id, 18)].map { text, width in
      text + String(repeating: " ", count: max(1, width - text.count))
    }
    return columns.joined() + text
  }
}
