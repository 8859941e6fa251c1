/// A value that the API carries as JSON.
public protocol JSONConvertible {
  /// Throws `invalid_argument` naming the key below `path`, what was expected and what was there.
  init(json: JSON, at path: String) throws(APIError)
  var json: JSON { get }
}

extension JSONConvertible {
  public init(json: JSON) throws(APIError) {
    try self.init(json: json, at: "")
  }

  public init(parsing bytes: [UInt8]) throws(APIError) {
    let json: JSON
    do throws(JSONError) {
      json = try JSON(parsing: bytes)
    } catch {
      throw APIError(error)
    }
    try self.init(json: json)
  }
}

extension JSON {
  static func list(_ values: [some JSONConvertible]) -> JSON {
    .array(values.map { $0.json })
  }

  static func strings(_ values: [String]) -> JSON {
    .array(values.map(JSON.string))
  }
}

/// Takes an object apart, key by key, and says what is wrong with it in the caller's terms. A key whose value
/// is null counts as absent.
struct ObjectReader {
  private let object: JSONObject
  /// Where the object stands in the request: empty for the whole of it, else `vifs[0]`.
  private let path: String

  init(_ json: JSON, at path: String) throws(APIError) {
    guard case .object(let object) = json else {
      let place = path.isEmpty ? "the request" : path
      throw APIError(
        .invalidArgument, "\(place): expected an object, got \(json.kind)",
        field: path.isEmpty ? nil : path)
    }
    self.object = object
    self.path = path
  }

  func path(to key: String) -> String {
    path.isEmpty ? key : "\(path).\(key)"
  }

  /// Requests refuse what they do not know: a mistyped key must not be ignored in silence. Answers do not, so
  /// that an older client reads a newer daemon.
  func refuseKeys(notIn known: [String]) throws(APIError) {
    for member in object.members where !known.contains(member.key) {
      let place = path.isEmpty ? "" : " in \(path)"
      throw APIError(
        .invalidArgument, "unknown key \(quoted(member.key))\(place)", field: path(to: member.key))
    }
  }

  func has(_ key: String) -> Bool { value(key) != nil }

  private func value(_ key: String) -> JSON? {
    let value = object[key]
    return value == .null ? nil : value
  }

  private func mismatch(_ key: String, expected: String, got value: JSON?) -> APIError {
    let field = path(to: key)
    guard let value else {
      return APIError(.invalidArgument, "\(field): missing, expected \(expected)", field: field)
    }
    let shown =
      switch value {
      case .string(let text): "the string \(quoted(text))"
      case .bool, .integer, .double: "\(value.kind), \(value)"
      default: value.kind
      }
    return APIError(.invalidArgument, "\(field): expected \(expected), got \(shown)", field: field)
  }

  func string(_ key: String) throws(APIError) -> String {
    guard case .string(let text)? = value(key) else {
      throw mismatch(key, expected: "a string", got: value(key))
    }
    return text
  }

  /// - Parameter unit: what it counts, for people who wrote something else.
  func integer(_ key: String, unit: String? = nil) throws(APIError) -> Int {
    guard case .integer(let number)? = value(key) else {
      throw mismatch(key, expected: "an integer" + (unit.map { " (\($0))" } ?? ""), got: value(key))
    }
    return Int(number)
  }

  func bool(_ key: String) throws(APIError) -> Bool {
    guard case .bool(let flag)? = value(key) else {
      throw mismatch(key, expected: "true or false", got: value(key))
    }
    return flag
  }

  /// Any number: an integral one may be written without its fraction.
  func double(_ key: String) throws(APIError) -> Double {
    switch value(key) {
    case .double(let number): return number
    case .integer(let number): return Double(number)
    case let other: throw mismatch(key, expected: "a number", got: other)
    }
  }

  func optionalString(_ key: String) throws(APIError) -> String? {
    has(key) ? try string(key) : nil
  }

  func optionalInteger(_ key: String, unit: String? = nil) throws(APIError) -> Int? {
    has(key) ? try integer(key, unit: unit) : nil
  }

  func optionalBool(_ key: String) throws(APIError) -> Bool? {
    has(key) ? try bool(key) : nil
  }

  func value<Value: JSONConvertible>(_ key: String) throws(APIError) -> Value {
    guard let value = value(key) else { throw mismatch(key, expected: "an object", got: nil) }
    return try Value(json: value, at: path(to: key))
  }

  func optionalValue<Value: JSONConvertible>(_ key: String) throws(APIError) -> Value? {
    has(key) ? try value(key) : nil
  }

  /// The elements of an array with their paths. An absent array is empty.
  private func elements(_ key: String) throws(APIError) -> [(element: JSON, path: String)] {
    guard let value = value(key) else { return [] }
    guard case .array(let elements) = value else {
      throw mismatch(key, expected: "an array", got: value)
    }
    let path = path(to: key)
    return elements.enumerated().map { ($1, "\(path)[\($0)]") }
  }

  func array<Element: JSONConvertible>(_ key: String) throws(APIError) -> [Element] {
    var result: [Element] = []
    for (element, path) in try elements(key) {
      result.append(try Element(json: element, at: path))
    }
    return result
  }

  func strings(_ key: String) throws(APIError) -> [String] {
    var result: [String] = []
    for (element, path) in try elements(key) {
      guard case .string(let text) = element else {
        throw APIError(
          .invalidArgument, "\(path): expected a string, got \(element.kind)", field: path)
      }
      result.append(text)
    }
    return result
  }

  /// A string out of a fixed list.
  func choice<Value: RawRepresentable & CaseIterable>(
    _ key: String
  ) throws(APIError) -> Value where Value.RawValue == String {
    let text = try string(key)
    guard let value = Value(rawValue: text) else {
      let choices = Value.allCases.map { $0.rawValue }.joined(separator: ", ")
      throw .refused(path(to: key), "expected one of \(choices)", text)
    }
    return value
  }

  func optionalChoice<Value: RawRepresentable & CaseIterable>(
    _ key: String
  ) throws(APIError) -> Value? where Value.RawValue == String {
    has(key) ? try choice(key) : nil
  }
}
