import ChaosAPI
import NetworkAddresses

/// Takes an object of a configuration or a result apart, key by key, and says what is wrong with it by its path.
/// A key whose value is null counts as absent, because runtimes written in Go write their empty lists so.
struct ConfigurationReader {
  private let json: JSON
  /// Where the object stands: empty for the whole configuration, else `ipam` or `prevResult.ips[0]`.
  private let path: String
  private let code: CNIError.Code

  /// - Parameter code: what a value that is not right is answered with.
  init(_ json: JSON, at path: String = "", code: CNIError.Code = .invalidConfiguration) throws(CNIError) {
    guard case .object = json else {
      let place = path.isEmpty ? "the network configuration" : path
      throw CNIError(code, "\(place): expected an object, got \(json.kind)")
    }
    self.json = json
    self.path = path
    self.code = code
  }

  func place(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  private subscript(key: String) -> JSON? {
    let value = json[key]
    return value == .null ? nil : value
  }

  func has(_ key: String) -> Bool { self[key] != nil }

  private func mismatch(_ key: String, expected: String, got value: JSON) -> CNIError {
    let shown =
      switch value {
      case .string(let text): "the string \(quoted(text))"
      case .bool, .integer, .double: "\(value.kind), \(value)"
      default: value.kind
      }
    return CNIError(code, "\(place(key)): expected \(expected), got \(shown)")
  }

  func missing(_ key: String) -> CNIError { CNIError(code, "\(place(key)): missing") }

  func refused(_ key: String, _ why: String, _ value: some CustomStringConvertible) -> CNIError {
    .refused(place(key), why, value, code: code)
  }

  func string(_ key: String) throws(CNIError) -> String? {
    guard let value = self[key] else { return nil }
    guard case .string(let text) = value else { throw mismatch(key, expected: "a string", got: value) }
    return text
  }

  func requiredString(_ key: String) throws(CNIError) -> String {
    guard let text = try string(key) else { throw missing(key) }
    return text
  }

  func integer(_ key: String, in range: ClosedRange<Int>) throws(CNIError) -> Int? {
    guard let value = self[key] else { return nil }
    guard case .integer(let number) = value else { throw mismatch(key, expected: "an integer", got: value) }
    guard let number = Int(exactly: number), range.contains(number) else {
      throw refused(key, "must be \(range.lowerBound) to \(range.upperBound)", number)
    }
    return number
  }

  func flag(_ key: String) throws(CNIError) -> Bool? {
    guard let value = self[key] else { return nil }
    guard case .bool(let flag) = value else { throw mismatch(key, expected: "true or false", got: value) }
    return flag
  }

  func object(_ key: String) throws(CNIError) -> ConfigurationReader? {
    guard let value = self[key] else { return nil }
    return try ConfigurationReader(value, at: place(key), code: code)
  }

  /// Nil when the key is absent.
  func list(_ key: String) throws(CNIError) -> [JSON]? {
    guard let value = self[key] else { return nil }
    guard case .array(let elements) = value else { throw mismatch(key, expected: "an array", got: value) }
    return elements
  }

  /// Nil when the key is absent.
  func strings(_ key: String) throws(CNIError) -> [String]? {
    guard let elements = try list(key) else { return nil }
    var texts: [String] = []
    for (index, element) in elements.enumerated() {
      guard case .string(let text) = element else {
        throw mismatch("\(key)[\(index)]", expected: "a string", got: element)
      }
      texts.append(text)
    }
    return texts
  }

  /// The objects of an array, absent or empty alike.
  func objects(_ key: String) throws(CNIError) -> [ConfigurationReader] {
    var readers: [ConfigurationReader] = []
    for (index, element) in (try list(key) ?? []).enumerated() {
      readers.append(try ConfigurationReader(element, at: "\(place(key))[\(index)]", code: code))
    }
    return readers
  }

  func value(_ key: String) -> JSON? { self[key] }

  /// A value written as a string.
  func text<Value: LosslessStringConvertible>(
    _ key: String, as what: String, _ type: Value.Type = Value.self
  ) throws(CNIError) -> Value? {
    guard let text = try string(key) else { return nil }
    guard let value = Value(text) else { throw refused(key, "not \(what)", text) }
    return value
  }
}
