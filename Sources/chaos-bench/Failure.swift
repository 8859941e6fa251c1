import ChaosAPI
import Glibc

/// Why a row has no figures, in one line.
struct Failure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }

  /// A system call's: what was being done, and what the system answered.
  init(doing what: String) {
    description = "\(what): \(String(cString: strerror(errno)))"
  }

  init(_ error: any Error) {
    switch error {
    case let error as Failure: self = error
    case let error as APIError: description = error.message
    default: description = "\(error)"
    }
  }
}
