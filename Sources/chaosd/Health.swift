import ChaosAPI
import Threads

/// One thing that must be well for the host to serve guests.
struct HealthCheck: Sendable {
  var name: String
  /// Nil: well.
  var problem: String?
}

/// Looks whether all is well; called on a thread that may block.
typealias HealthChecks = @Sendable (borrowing Blocking) -> [HealthCheck]

/// `GET /v1/health`: status 200 when all is well and 503 when not, each check by name.
struct HealthReport: Sendable {
  var checks: [HealthCheck]

  var isWell: Bool { checks.allSatisfy { $0.problem == nil } }

  var json: JSON {
    let checks = checks.map { check -> JSON in
      var object: JSONObject = ["name": .string(check.name), "ok": .bool(check.problem == nil)]
      if let problem = check.problem { object["problem"] = .string(problem) }
      return .object(object)
    }
    return ["status": .string(isWell ? "ok" : "failing"), "checks": .array(checks)]
  }

  var answer: Answer {
    var answer = Answer(text: json.compact, contentType: "application/json")
    answer.status = isWell ? .ok : .serviceUnavailable
    return answer
  }
}

extension Routes {
  func health(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .answer { blocking in HealthReport(checks: health(blocking)).answer }
  }
}
