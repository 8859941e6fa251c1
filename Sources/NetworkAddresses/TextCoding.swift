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
