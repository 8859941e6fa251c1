import ChaosAPI
import StateFiles
import VirtualLAN

/// Why an operation failed, as the runtime is told ("Error" in the CNI specification).
public struct CNIError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: Code
  /// One line that names the field and the value.
  public let message: String
  /// More about it, or how to mend it, on one line too. May be empty.
  public let details: String

  /// Codes below 100 have the meanings of the CNI specification's table; the others are this plug-in's.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int

    public init(rawValue: Int) { self.rawValue = rawValue }

    public static let incompatibleVersion = Code(rawValue: 1)
    public static let unsupportedField = Code(rawValue: 2)
    public static let invalidEnvironment = Code(rawValue: 4)
    public static let io = Code(rawValue: 5)
    public static let decoding = Code(rawValue: 6)
    public static let invalidConfiguration = Code(rawValue: 7)
    public static let tryAgain = Code(rawValue: 11)
    public static let unavailable = Code(rawValue: 50)

    /// The kernel or the file system refused.
    public static let system = Code(rawValue: 100)
    /// The container has the attachment, or an interface of that name, already.
    public static let alreadyAttached = Code(rawValue: 101)
    /// CHECK: something is no longer as ADD left it.
    public static let changed = Code(rawValue: 102)
    /// The IPAM plug-in could not be run, or what it said could not be read.
    public static let delegate = Code(rawValue: 103)
  }

  public init(_ code: Code, _ message: String, details: String = "") {
    self.code = code
    self.message = oneLine(message)
    self.details = oneLine(details)
  }

  /// "field: why: 'value'".
  static func refused(
    _ field: String, _ why: String, _ value: some CustomStringConvertible, code: Code = .invalidConfiguration
  ) -> CNIError {
    CNIError(code, "\(field): \(why): \(quoted(value.description))")
  }

  public var description: String { details.isEmpty ? message : "\(message); \(details)" }

  /// What goes to standard output. The version is the configuration's, or the latest where it had none.
  public func json(version: CNIVersion?) -> JSON {
    [
      "cniVersion": .string((version ?? .latest).rawValue), "code": .number(code.rawValue),
      "msg": .string(message), "details": .string(details),
    ]
  }
}

extension CNIError {
  init(_ error: LANError) {
    switch error.kind {
    case .invalid, .notFound: self.init(.invalidConfiguration, error.description)
    case .conflict, .system: self.init(.system, error.description)
    case .unavailable: self.init(.tryAgain, error.description)
    }
  }

  init(_ error: NetlinkError) { self.init(.system, error.description) }

  init(_ failure: StateFile.Failure) { self.init(.system, failure.description) }

  /// Gives a body's failures this form, whatever layer they come from.
  static func wrapping<Result: ~Copyable>(_ body: () throws -> Result) throws(CNIError) -> Result {
    do {
      return try body()
    } catch let error as CNIError {
      throw error
    } catch let error as LANError {
      throw CNIError(error)
    } catch let error as NetlinkError {
      throw CNIError(error)
    } catch let error as AttachmentStore.Unreadable {
      throw error.error
    } catch let error as StateFile.Failure {
      throw CNIError(error)
    } catch {
      throw CNIError(.system, "\(error)")
    }
  }
}

/// A value as an error message shows it: in quotes, and no longer than a line.
func quoted(_ value: String) -> String {
  let longest = 80
  let isLong = value.unicodeScalars.count > longest
  return "'\(String(value.unicodeScalars.prefix(longest)))\(isLong ? "..." : "")'"
}

/// A text without anything that ends a line or that a terminal acts on.
private func oneLine(_ text: String) -> String {
  var line = String.UnicodeScalarView()
  for scalar in text.unicodeScalars {
    switch scalar.value {
    // Controls; line and paragraph separators; the marks that turn the direction of what follows.
    case 0..<0x20, 0x7f..<0xa0, 0x2028...0x202e, 0x2066...0x2069: line.append("\u{fffd}")
    default: line.append(scalar)
    }
  }
  return String(line)
}
