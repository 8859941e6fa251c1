/// What becomes of a guest that ended by itself.
public enum RestartPolicy: String, Sendable, CaseIterable {
  /// Its domain is removed, and that is its end.
  case destroy
  /// It is made again, with the same name, UUID, addresses and vifs.
  case restart
  /// Its domain stays as it ended, until somebody removes it.
  case preserve
}

/// What becomes of a guest, by how it ended.
public struct GuestPolicies: Sendable, Equatable {
  public var onPoweroff: RestartPolicy
  public var onReboot: RestartPolicy
  public var onCrash: RestartPolicy

  public init(
    onPoweroff: RestartPolicy = .destroy, onReboot: RestartPolicy = .restart, onCrash: RestartPolicy = .preserve
  ) {
    self.onPoweroff = onPoweroff
    self.onReboot = onReboot
    self.onCrash = onCrash
  }
}

extension GuestPolicies: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    onPoweroff = try reader.choice("onPoweroff")
    onReboot = try reader.choice("onReboot")
    onCrash = try reader.choice("onCrash")
  }

  public var json: JSON {
    [
      "onPoweroff": .string(onPoweroff.rawValue), "onReboot": .string(onReboot.rawValue),
      "onCrash": .string(onCrash.rawValue),
    ]
  }
}

/// A guest's share of the host's processors.
public struct Scheduling: Sendable, Equatable {
  /// The processors its vCPUs may run on (see ``CPUList``); nil is all.
  public var cpus: String?
  /// Against the weights of others, where processors are scarce; nil is the scheduler's default.
  public var weight: Int?
  /// The most it may use, in percent of one processor; 0 is no limit, nil the scheduler's default.
  public var cap: Int?

  /// What Xen's credit schedulers take.
  public static let weightRange = 1...65_535
  /// As much as all vCPUs of the largest guest together.
  public static let capRange = 0...100 * CreateRequest.vcpuRange.upperBound

  public init(cpus: String? = nil, weight: Int? = nil, cap: Int? = nil) {
    self.cpus = cpus
    self.weight = weight
    self.cap = cap
  }

  func validate() throws(APIError) {
    if let cpus { _ = try CPUList(cpus, field: "cpus") }
    try check(weight, in: Self.weightRange, field: "weight")
    try check(cap, in: Self.capRange, field: "cap")
  }
}

extension Scheduling: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    cpus = try reader.optionalString("cpus")
    weight = try reader.optionalInteger("weight")
    cap = try reader.optionalInteger("cap")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("cpus", cpus.map(JSON.string))
    object.append("weight", weight.map { .number($0) })
    object.append("cap", cap.map { .number($0) })
    return .object(object)
  }
}

/// What may be changed of a guest that is there: the body of `PATCH /v1/guests/{ref}`. Nil leaves it as it is.
public struct GuestChange: Sendable, Equatable {
  public var onPoweroff: RestartPolicy?
  public var onReboot: RestartPolicy?
  public var onCrash: RestartPolicy?
  public var autostart: Bool?
  public var after: [String]?
  /// `all` lifts a restriction.
  public var cpus: String?
  public var weight: Int?
  public var cap: Int?

  public init(
    onPoweroff: RestartPolicy? = nil, onReboot: RestartPolicy? = nil, onCrash: RestartPolicy? = nil,
    autostart: Bool? = nil, after: [String]? = nil, cpus: String? = nil, weight: Int? = nil, cap: Int? = nil
  ) {
    self.onPoweroff = onPoweroff
    self.onReboot = onReboot
    self.onCrash = onCrash
    self.autostart = autostart
    self.after = after
    self.cpus = cpus
    self.weight = weight
    self.cap = cap
  }

  /// Refuses values that no guest can have, and a change of nothing.
  public func validate() throws(APIError) {
    guard self != GuestChange() else {
      throw APIError(.invalidArgument, "nothing to change: give one of \(Self.keys.joined(separator: ", "))")
    }
    if let after { try checkPredecessors(after, of: nil) }
    try Scheduling(cpus: cpus, weight: weight, cap: cap).validate()
  }
}

extension GuestChange: JSONConvertible {
  static let keys = ["onPoweroff", "onReboot", "onCrash", "autostart", "after", "cpus", "weight", "cap"]

  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: Self.keys)
    onPoweroff = try reader.optionalChoice("onPoweroff")
    onReboot = try reader.optionalChoice("onReboot")
    onCrash = try reader.optionalChoice("onCrash")
    autostart = try reader.optionalBool("autostart")
    after = reader.has("after") ? try reader.strings("after") : nil
    cpus = try reader.optionalString("cpus")
    weight = try reader.optionalInteger("weight")
    cap = try reader.optionalInteger("cap")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("onPoweroff", onPoweroff.map { .string($0.rawValue) })
    object.append("onReboot", onReboot.map { .string($0.rawValue) })
    object.append("onCrash", onCrash.map { .string($0.rawValue) })
    object.append("autostart", autostart.map { .bool($0) })
    object.append("after", after.map { .strings($0) })
    object.append("cpus", cpus.map(JSON.string))
    object.append("weight", weight.map { .number($0) })
    object.append("cap", cap.map { .number($0) })
    return .object(object)
  }
}

/// A guest's new name: the body of `POST /v1/guests/{ref}/rename`.
public struct RenameRequest: Sendable, Equatable {
  public var name: String

  public init(name: String) {
    self.name = name
  }

  public func validate() throws(APIError) {
    try Names.checkGuestName(name)
  }
}

extension RenameRequest: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: ["name"])
    name = try reader.string("name")
  }

  public var json: JSON { ["name": .string(name)] }
}

/// Checks the names of guests that have to be started before another one, named `name` where it has a name yet.
func checkPredecessors(_ names: [String], of name: String?) throws(APIError) {
  guard names.count <= CreateRequest.mostPredecessors else {
    throw .refused("after", "more than \(CreateRequest.mostPredecessors)", "\(names.count)")
  }
  for (index, predecessor) in names.enumerated() {
    let field = "after[\(index)]"
    try Names.checkGuestName(predecessor, field: field)
    guard predecessor != name else { throw .refused(field, "the guest's own name", predecessor) }
    guard !names[..<index].contains(predecessor) else { throw .refused(field, "given twice", predecessor) }
  }
}
