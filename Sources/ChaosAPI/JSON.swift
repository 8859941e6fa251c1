/// A JSON value (RFC 8259). Integers and fractions are kept apart, so that a memory size of `8` can be told
/// from one of `8.5`; the members of an object keep the order they were written in.
public enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  /// A number written without fraction or exponent that fits 64 bits.
  case integer(Int64)
  /// Every other number. Always finite when it was parsed.
  case double(Double)
  case string(String)
  case array([JSON])
  case object(JSONObject)

  /// The value of a member; nil when this is no object or has no such member.
  public subscript(key: String) -> JSON? {
    guard case .object(let object) = self else { return nil }
    return object[key]
  }

  /// The kind of value with its article, as messages name it: "a string".
  public var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .double: "a number with a fraction"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }

  /// Wraps any of Swift's integers; one beyond 64 bits is clamped.
  public static func number(_ value: some BinaryInteger) -> JSON {
    .integer(Int64(clamping: value))
  }
}

/// The members of a JSON object, in order. Objects are small here (a request has a dozen members), so looking
/// one up walks the list.
public struct JSONObject: Sendable, Equatable {
  public struct Member: Sendable, Equatable {
    public var key: String
    public var value: JSON
  }

  public private(set) var members: [Member] = []

  public init() {}

  /// For the parser, which has seen to it that no key comes twice.
  init(uniqueMembers members: [Member]) {
    self.members = members
  }

  /// Setting nil removes the member; setting an absent one appends it.
  public subscript(key: String) -> JSON? {
    get {
      for member in members where member.key == key { return member.value }
      return nil
    }
    set {
      let position = members.firstIndex { $0.key == key }
      switch (position, newValue) {
      case (let position?, let value?): members[position].value = value
      case (let position?, nil): members.remove(at: position)
      case (nil, let value?): members.append(Member(key: key, value: value))
      case (nil, nil): break
      }
    }
  }

  /// Appends members that are not nil, for objects written out in one go. The keys are the caller's own and
  /// distinct.
  mutating func append(_ key: String, _ value: JSON?) {
    guard let value else { return }
    members.append(Member(key: key, value: value))
  }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
  /// A key that comes twice keeps its last value.
  public init(dictionaryLiteral elements: (String, JSON)...) {
    for (key, value) in elements { self[key] = value }
  }
}

extension JSON: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, JSON)...) {
    var object = JSONObject()
    for (key, value) in elements { object[key] = value }
    self = .object(object)
  }
}

extension JSON: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
}

extension JSON: ExpressibleByStringLiteral {
  public init(stringLiteral value: String) { self = .string(value) }
}

extension JSON: ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int64) { self = .integer(value) }
}

extension JSON: ExpressibleByFloatLiteral {
  public init(floatLiteral value: Double) { self = .double(value) }
}

extension JSON: ExpressibleByBooleanLiteral {
  public init(booleanLiteral value: Bool) { self = .bool(value) }
}
