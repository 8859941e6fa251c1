/// Something that happened to a guest: a line of the answer to `GET /v1/events`.
public struct Event: Sendable, Equatable {
  /// What happened. A daemon may know kinds that its client does not.
  public struct Kind: RawRepresentable, Sendable, Equatable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// Made, and unpaused unless it was to be paused.
    public static let created = Kind(rawValue: "created")
    /// The guest has said that it is ready.
    public static let ready = Kind(rawValue: "ready")
    public static let paused = Kind(rawValue: "paused")
    public static let unpaused = Kind(rawValue: "unpaused")
    /// Asked by somebody to reboot.
    public static let rebooted = Kind(rawValue: "rebooted")
    public static let renamed = Kind(rawValue: "renamed")
    /// Its domain has ended, for `reason`.
    public static let ended = Kind(rawValue: "ended")
    /// Made again, by its policy or because somebody asked.
    public static let restarted = Kind(rawValue: "restarted")
    /// What was to be done to it could not be done.
    public static let failed = Kind(rawValue: "failed")
    /// The guest has replaced its device page.
    public static let tampered = Kind(rawValue: "tampered")
    /// One of its vifs carries no packets any more.
    public static let vifBroken = Kind(rawValue: "vif-broken")
  }

  /// Grows by one with each event of the host, also over the daemon's restarts.
  public var number: Int
  /// RFC 3339; see `Timestamp`.
  public var time: String
  public var kind: Kind
  /// The guest's name at that time.
  public var guest: String
  public var uuid: String
  /// How it ended, of kind `ended`.
  public var reason: GuestEnd?
  /// One line for people.
  public var message: String?

  public init(
    number: Int, time: String, kind: Kind, guest: String, uuid: String, reason: GuestEnd? = nil,
    message: String? = nil
  ) {
    self.number = number
    self.time = time
    self.kind = kind
    self.guest = guest
    self.uuid = uuid
    self.reason = reason
    self.message = message
  }
}

extension Event: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    number = try reader.integer("number")
    time = try reader.string("time")
    kind = Kind(rawValue: try reader.string("kind"))
    guest = try reader.string("guest")
    uuid = try reader.string("uuid")
    reason = try reader.optionalChoice("reason")
    message = try reader.optionalString("message")
  }

  public var json: JSON {
    var object: JSONObject = [
      "number": .number(number), "time": .string(time), "kind": .string(kind.rawValue), "guest": .string(guest),
      "uuid": .string(uuid),
    ]
    object.append("reason", reason.map { .string($0.rawValue) })
    object.append("message", message.map(JSON.string))
    return .object(object)
  }
}

/// Where events are to begin: the `since` of `GET /v1/events`.
public enum EventStart: Sendable, Equatable {
  /// With the one after the event of this number.
  case after(number: Int)
  /// With the first one at or after this moment, in seconds since 1970.
  case at(seconds: Int)

  /// Reads a number, or a moment in RFC 3339.
  public init(_ text: String, field: String = "since") throws(APIError) {
    if !text.isEmpty, text.utf8.allSatisfy(isDigit), let number = Int(text) {
      self = .after(number: number)
    } else if let seconds = Timestamp.seconds(text) {
      self = .at(seconds: seconds)
    } else {
      throw .refused(field, "expected an event's number or a time, as 2026-03-01T12:00:00Z", text)
    }
  }

  /// As it is read.
  public var text: String {
    switch self {
    case .after(let number): "\(number)"
    case .at(let seconds): Timestamp.format(seconds: seconds)
    }
  }
}
