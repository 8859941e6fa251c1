// Embedded Swift, in which the command line is built, has neither decoders nor encoders.
#if !hasFeature(Embedded)
  extension MACAddress: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPv4Address: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPv6Address: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPv4Interface: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPv6Interface: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPAddress: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  extension IPInterface: Codable {
    public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder) }
    public func encode(to encoder: any Encoder) throws { try encodeText(self, to: encoder) }
  }

  /// Every type of this room is one string in JSON: the form its `description` writes and its text
  /// initialiser reads.
  func decodeText<Value: LosslessStringConvertible>(from decoder: any Decoder) throws -> Value {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let value = Value(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' is not a valid \(Value.self)")
    }
    return value
  }

  func encodeText(_ value: some LosslessStringConvertible, to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value.description)
  }
#endif
