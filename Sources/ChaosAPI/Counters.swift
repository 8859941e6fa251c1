/// What the daemon asked of the hypervisor and the kernel since it started, for tests and measurements.
public struct Counters: Sendable, Equatable {
  /// Requests to the hypervisor, by kind; kinds never used are left out.
  public var hypercalls: [String: Int]
  /// rtnetlink requests, but for the one by which a tap gets its settings after it joined.
  public var netlinkMessages: Int

  public init(hypercalls: [String: Int], netlinkMessages: Int) {
    self.hypercalls = hypercalls
    self.netlinkMessages = netlinkMessages
  }
}

extension Counters: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    netlinkMessages = try reader.integer("netlinkMessages")
    guard case .object(let members)? = json["hypercalls"] else {
      throw APIError(.invalidArgument, "hypercalls: expected an object", field: "hypercalls")
    }
    hypercalls = [:]
    for member in members.members {
      guard case .integer(let count) = member.value else { continue }
      hypercalls[member.key] = Int(count)
    }
  }

  public var json: JSON {
    var kinds = JSONObject()
    for (kind, count) in hypercalls.sorted(by: { $0.key < $1.key }) { kinds[kind] = .number(count) }
    return ["hypercalls": .object(kinds), "netlinkMessages": .number(netlinkMessages)]
  }
}
