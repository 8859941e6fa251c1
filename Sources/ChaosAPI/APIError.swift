/// What the daemon answers when it does not do what was asked, and what the client says when it cannot ask.
public struct APIError: Error, Sendable, Equatable {
  /// The stable list of codes. A code never changes its meaning, HTTP status or exit status.
  public enum Code: String, Sendable, CaseIterable {
    /// The request itself is wrong; the same request will always be refused.
    case invalidArgument = "invalid_argument"
    /// There is no guest, image, flavour or LAN of that name.
    case notFound = "not_found"
    /// The name, UUID or address belongs to another.
    case conflict = "conflict"
    /// The guest or LAN is there, but not in a state that allows the operation.
    case wrongState = "wrong_state"
    /// The host has no more memory, descriptors, ports or whatever the message names.
    case noCapacity = "no_capacity"
    /// What was waited for did not happen in time.
    case timeout = "timeout"
    /// The caller may not do this; also: may not open the daemon's socket.
    case forbidden = "forbidden"
    /// The guest, its device bus or this host cannot do this at all.
    case unsupported = "unsupported"
    /// A failure of the daemon or the system under it.
    case `internal` = "internal"
    /// The daemon is not there, is stopping, or does not answer as one.
    case unavailable = "unavailable"

    public var httpStatus: Int {
      switch self {
      case .invalidArgument: 400
      case .forbidden: 403
      case .notFound: 404
      case .conflict, .wrongState: 409
      case .internal: 500
      case .unsupported: 501
      case .unavailable: 503
      case .timeout: 504
      case .noCapacity: 507
      }
    }

    /// What `chaos` exits with. 0 is success; 130, interrupted, has no code.
    public var exitStatus: Int32 {
      switch self {
      case .internal, .unsupported: 1
      case .invalidArgument: 2
      case .notFound: 3
      case .conflict, .wrongState: 4
      case .noCapacity: 5
      case .timeout: 6
      case .forbidden, .unavailable: 7
      }
    }

    /// The code that stands for an HTTP status, for answers without a body that says more.
    public init(httpStatus: Int) {
      switch httpStatus {
      case 403: self = .forbidden
      case 404: self = .notFound
      case 409: self = .conflict
      case 501: self = .unsupported
      case 503: self = .unavailable
      case 504: self = .timeout
      case 507: self = .noCapacity
      case 400..<500: self = .invalidArgument
      default: self = .internal
      }
    }
  }

  public var code: Code
  /// One line for people, with the field and the value where one is at fault.
  public var message: String
  /// The field at fault, as a path into the request: `vifs[0].mac`.
  public var field: String?

  public init(_ code: Code, _ message: String, field: String? = nil) {
    self.code = code
    self.message = message
    self.field = field
  }

  public init(_ error: JSONError) {
    self.init(.invalidArgument, error.description)
  }

  /// What is longer than may be sent.
  public static func tooLarge(limit: Int) -> APIError {
    APIError(.invalidArgument, "larger than \(limit >> 20) MiB")
  }

  /// A field's value that is refused: `field: problem: 'value'`.
  public static func refused(_ field: String, _ problem: String, _ value: String) -> APIError {
    APIError(.invalidArgument, "\(field): \(problem): \(quoted(value))", field: field)
  }
}

extension APIError: JSONConvertible {
  /// Reads both the bare object and the `{"error": ...}` that wraps it in an answer. A code this version does
  /// not know is read as `internal`, its message kept.
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json["error"] ?? json, at: path)
    code = Code(rawValue: try reader.string("code")) ?? .internal
    message = try reader.string("message")
    field = try reader.optionalString("field")
  }

  public var json: JSON {
    var object: JSONObject = ["code": .string(code.rawValue), "message": .string(message)]
    object.append("field", field.map(JSON.string))
    return .object(object)
  }

  /// The body of an answer: `{"error": {...}}`.
  public var body: JSON { ["error": json] }
}
