import ChaosAPI
import Threads

/// Looks whether all is well; called on a thread that may block.
typealias HealthChecks = @Sendable (borrowing Blocking) -> Health

extension Routes {
  /// `GET /v1/health`
  func health(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .answer { blocking in Answer(health(blocking)) }
  }
}
