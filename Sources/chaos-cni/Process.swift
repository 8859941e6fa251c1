import Glibc

/// What this process was started with.
enum Process {
  /// Variables that are no UTF-8 are none of CNI's, and left out.
  static var environment: [String: String] {
    var variables: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      next += 1
      guard let text = String(validatingCString: entry), let mark = text.utf8.firstIndex(of: UInt8(ascii: "="))
      else { continue }
      variables[String(text[..<mark])] = String(text[text.utf8.index(after: mark)...])
    }
    return variables
  }
}
