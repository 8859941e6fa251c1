import Backends
import ChaosAPI
import Glibc
import ImageStore
import ShellPool
import StateFiles
import Threads
import VirtualLAN
import Xen

extension APIError {
  /// What a caller is told of a failure below the API: the leaf's own words, under the code that fits.
  public init(_ failure: any Error) {
    switch failure {
    case let error as APIError: self = error
    case let error as XenError: self.init(Self.code(error.errno), error.description)
    case let error as NetlinkError: self.init(error.code.map(Self.code) ?? .internal, error.description)
    case let error as BackendError: self.init(Self.code(error.errno), error.description)
    case let error as StateFile.Failure: self.init(Self.code(error.errno), error.description)
    case let error as BlockingPool.Full: self.init(.noCapacity, error.description)
    case let error as BackgroundThread.Failure: self.init(.noCapacity, error.description)
    case let error as LANError: self.init(error)
    case let error as EVPNError: self.init(error)
    case let error as ImageStoreError: self.init(error, field: nil)
    default: self.init(.internal, "\(failure)")
    }
  }

  /// The code for what the system answered: what a host can run out of, and who was waited for in vain, is no fault of
  /// the daemon's.
  static func code(_ errno: Int32) -> Code {
    switch errno {
    case ETIMEDOUT: .timeout
    // EXFULL: a bridge without a free port.
    case EMFILE, ENFILE, ENOMEM, ENOBUFS, ENOSPC, EDQUOT, EXFULL: .noCapacity
    default: .internal
    }
  }

  public init(_ error: LANError) {
    let code: Code =
      switch error.kind {
      case .invalid: .invalidArgument
      case .notFound: .notFound
      case .conflict: .conflict
      case .unavailable: .wrongState
      case .system: error.errno.map(Self.code) ?? .internal
      }
    self.init(code, error.description, field: error.field)
  }

  public init(_ error: EVPNError) {
    let code: Code =
      switch error.kind {
      case .invalid: .invalidArgument
      case .conflict: .conflict
      case .unavailable: .unsupported
      case .system: .internal
      }
    self.init(code, error.description, field: error.field)
  }

  public init(_ error: ImageStoreError, field: String?) {
    let text = field.map { "\($0): \(error)" } ?? error.description
    switch error {
    case .unknown: self.init(.notFound, text, field: field)
    case .notAKernel, .tooLarge: self.init(.invalidArgument, text, field: field)
    case .quotaUsed, .diskFull: self.init(.noCapacity, text, field: field)
    case .damaged, .unreadable: self.init(.internal, text, field: field)
    case .file(_, _, let code): self.init(Self.code(code), text, field: field)
    }
  }
}
