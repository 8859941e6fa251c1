/// The names that requests and paths carry. Each kind is recognisable by its form alone, so that one word on
/// the command line or in a path is enough to say which guest is meant.
public enum Names {
  public static let longestName = 63

  /// A guest's name: 1 to 63 letters, digits, dots, underscores and hyphens, beginning with neither dot nor
  /// hyphen (a path would be normalised, an option seen). Names that read as a domain ID or as a UUID are
  /// refused, because they would hide one.
  public static func checkGuestName(_ name: String, field: String = "name") throws(APIError) {
    try checkName(name, field: field)
    guard !name.utf8.allSatisfy(isDigit) else {
      throw .refused(field, "digits only, which is a domain ID", name)
    }
    guard !isUUID(name) else { throw .refused(field, "reads as a UUID", name) }
  }

  /// A stored image's name: as a guest's, but it may be digits; `.elf` at its end is refused, because the
  /// command line takes such a word for a file.
  public static func checkImageName(_ name: String, field: String = "name") throws(APIError) {
    try checkName(name, field: field)
    guard !name.hasSuffix(".elf") else {
      throw .refused(field, "ends in '.elf', which is a file's name", name)
    }
  }

  /// A LAN's name: as a guest's, but no form of it means anything else.
  public static func checkLANName(_ name: String, field: String = "name") throws(APIError) {
    try checkName(name, field: field)
  }

  /// What a request may name an image by: a stored image's name or a digest.
  public static func checkImageReference(_ text: String, field: String) throws(APIError) {
    guard text.utf8.contains(UInt8(ascii: ":")) else {
      return try checkImageName(text, field: field)
    }
    guard isDigest(text) else {
      throw .refused(field, "expected a stored image's name, or 'sha256:' and 64 hex digits", text)
    }
  }

  private static func checkName(_ name: String, field: String) throws(APIError) {
    guard let first = name.utf8.first else {
      throw APIError(.invalidArgument, "\(field): empty", field: field)
    }
    guard name.utf8.count <= longestName else {
      throw .refused(field, "longer than \(longestName) characters", name)
    }
    guard name.utf8.allSatisfy(isNameByte) else {
      throw .refused(field, "only letters, digits and ._- are allowed", name)
    }
    guard first != UInt8(ascii: "."), first != UInt8(ascii: "-") else {
      throw .refused(field, "begins with '.' or '-'", name)
    }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    isLetterOrDigit(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
      || byte == UInt8(ascii: "-")
  }

  /// Five groups of 8, 4, 4, 4 and 12 hexadecimal digits.
  public static func isUUID(_ text: String) -> Bool {
    guard text.utf8.count == 36 else { return false }
    for (position, byte) in text.utf8.enumerated() {
      switch position {
      case 8, 13, 18, 23: guard byte == UInt8(ascii: "-") else { return false }
      default: guard hexadecimalDigit(byte) != nil else { return false }
      }
    }
    return true
  }

  /// `sha256:` and 64 small hexadecimal digits.
  public static func isDigest(_ text: String) -> Bool {
    let prefix = "sha256:"
    guard text.hasPrefix(prefix), text.utf8.count == prefix.utf8.count + 64 else { return false }
    return text.utf8.dropFirst(prefix.utf8.count).allSatisfy { byte in
      isDigit(byte) || (byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"))
    }
  }
}

/// How a guest is named in a path or on the command line.
public enum GuestReference: Sendable, Equatable {
  case name(String)
  /// In small letters.
  case uuid(String)
  case domid(Int)

  public init(_ text: String) throws(APIError) {
    if Names.isUUID(text) {
      self = .uuid(text.lowercased())
    } else if !text.isEmpty, text.utf8.allSatisfy(isDigit) {
      // Domain IDs end at 0x7ff0, where Xen's reserved ones begin (DOMID_FIRST_RESERVED, public/xen.h).
      guard let number = Int(text), number < 0x7ff0 else {
        throw APIError(.notFound, "no guest \(quoted(text)): not a domain ID")
      }
      self = .domid(number)
    } else {
      try Names.checkGuestName(text, field: "guest")
      self = .name(text)
    }
  }
}
