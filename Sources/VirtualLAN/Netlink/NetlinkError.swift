import Glibc

/// What went wrong between this room and the kernel. The description is one line.
public enum NetlinkError: Error, Hashable, Sendable {
  /// The kernel refused the request.
  case refused(Refusal)
  /// Some requests of a batch were refused, in the batch's order; the others were carried out.
  case partlyRefused([RefusedRequest])
  /// A system call failed, so that the kernel never answered: `operation` and `subject` say what it was for.
  case call(String, operation: String, subject: String, code: CInt)
  /// The interface to be opened does not exist.
  case noSuchInterface(operation: String, name: InterfaceName)
  /// The answer could not be read.
  case malformedAnswer(operation: String, subject: String, NetlinkFormatError)
  /// The kernel left the request without an answer.
  case noAnswer(operation: String, subject: String)
  /// The interfaces changed during each of so many attempts to list them.
  case changing(operation: String, attempts: Int)

  /// The kernel's answer to one request.
  public struct Refusal: Hashable, Sendable {
    /// What was asked: "create bridge", "change link".
    public let operation: String
    /// The interface it was asked of: by its name or, where that was not known, its index.
    public let subject: String
    /// An errno, positive.
    public let code: CInt
    /// The kernel's own words (extended acknowledgement), where it had any.
    public let message: String?
  }

  /// A request of a batch and its refusal.
  public struct RefusedRequest: Hashable, Sendable {
    /// Where the request stood in the batch.
    public let position: Int
    public let refusal: Refusal
  }

  /// The errno behind the failure, where there is exactly one.
  public var code: CInt? {
    switch self {
    case .refused(let refusal): refusal.code
    // The first is what went wrong; later requests of a batch build on it.
    case .partlyRefused(let refused): refused.first?.refusal.code
    case .call(_, _, _, let code): code
    case .noSuchInterface: ENODEV
    case .malformedAnswer, .noAnswer, .changing: nil
    }
  }
}

extension NetlinkError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .refused(let refusal):
      refusal.description
    case .partlyRefused(let refused):
      Self.describe(refused)
    case .call(let call, let operation, let subject, let code):
      "\(operation) \(subject): \(call): \(text(ofCode: code))"
    case .noSuchInterface(let operation, let name):
      "\(operation) '\(name)': \(text(ofCode: ENODEV))"
    case .malformedAnswer(let operation, let subject, let error):
      "\(operation) \(subject): the kernel's answer is malformed: \(error)"
    case .noAnswer(let operation, let subject):
      "\(operation) \(subject): the kernel did not answer"
    case .changing(let operation, let attempts):
      "\(operation): the interfaces changed during each of \(attempts) attempts"
    }
  }

  private static func describe(_ refused: [RefusedRequest]) -> String {
    guard let first = refused.first else { return "no request was refused" }
    let others = refused.count == 1 ? "" : " (and \(refused.count - 1) more refused)"
    return "\(first.refusal)\(others)"
  }
}

extension NetlinkError.Refusal: CustomStringConvertible {
  public var description: String {
    "\(operation) \(subject): \(text(ofCode: code))" + (message.map { ": \($0)" } ?? "")
  }
}

/// The C library's words for an errno.
private func text(ofCode code: CInt) -> String {
  String(cString: strerror(code))
}
