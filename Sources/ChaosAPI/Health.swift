/// Whether all is as it should be.
public enum HealthStatus: String, Sendable, CaseIterable {
  case ok
  /// The daemon serves what it can; something it needs is missing or wrong.
  case degraded
}

/// One thing that was looked at.
public struct HealthCheck: Sendable, Equatable {
  public var name: String
  public var status: HealthStatus
  /// One line; nil where there is nothing to say.
  public var message: String?

  public init(name: String, status: HealthStatus, message: String? = nil) {
    self.name = name
    self.status = status
    self.message = message
  }
}

extension HealthCheck: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    status = try reader.choice("status")
    message = try reader.optionalString("message")
  }

  public var json: JSON {
    var object: JSONObject = ["name": .string(name), "status": .string(status.rawValue)]
    object.append("message", message.map(JSON.string))
    return .object(object)
  }
}

/// The answer to `GET /v1/health`.
public struct Health: Sendable, Equatable {
  public var status: HealthStatus
  public var checks: [HealthCheck]

  public init(status: HealthStatus, checks: [HealthCheck]) {
    self.status = status
    self.checks = checks
  }

  /// As good as the worst of the checks.
  public init(checks: [HealthCheck]) {
    self.init(status: checks.allSatisfy { $0.status == .ok } ? .ok : .degraded, checks: checks)
  }
}

extension Health: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    status = try reader.choice("status")
    checks = try reader.array("checks")
  }

  public var json: JSON { ["status": .string(status.rawValue), "checks": .list(checks)] }
}
