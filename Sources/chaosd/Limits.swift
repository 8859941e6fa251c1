import ChaosAPI
import NIOCore
import Synchronization

/// What one client may cost the others (docs/operations.md).
struct Limits: Sendable {
  var connections = 1024
  /// Of these so many are kept for root, so that an operator always gets in.
  var connectionsForRoot = 32
  /// Connections beyond, which are told that there are too many.
  var connectionsRefused = 64

  /// From a connection's start, or its last answer, until a request's head is there.
  var idle = TimeAmount.seconds(60)
  /// From the head until the body is there, but for uploads.
  var body = TimeAmount.seconds(30)
  /// Without a byte of an upload.
  var uploadStall = TimeAmount.seconds(30)
  /// For a whole upload.
  var upload = TimeAmount.minutes(15)
  /// Until a client has taken an answer.
  var answer = TimeAmount.seconds(30)
  /// In which a refused client may end what it sends.
  var refusal = TimeAmount.seconds(10)

  /// Largest body that is collected in memory, in bytes; images are streamed to the store instead.
  var bodyBytes = 1 << 20
  /// All bodies being collected.
  var allBodyBytes = 64 << 20
  var uploads = 8
  /// Bytes of an upload that wait for the disk before no more are read.
  var uploadBacklog = 1 << 20
  var consoles = 256
  var waits = 512

  /// Threads for what blocks, and what may wait for one.
  var blockingThreads = 32
  var blockingQueue = 512
}

/// A number of things of which only so many may be in use.
final class Allowance: Sendable {
  /// What was taken; it is given back when nobody holds it any more.
  final class Permit: Sendable {
    private let allowance: Allowance
    private let amount: Int

    fileprivate init(_ allowance: Allowance, _ amount: Int) {
      self.allowance = allowance
      self.amount = amount
    }

    deinit { allowance.used.subtract(amount, ordering: .relaxed) }
  }

  private let what: String
  let limit: Int
  private let used = Atomic<Int>(0)

  /// - Parameter what: named when there are no more.
  init(_ what: String, _ limit: Int) {
    self.what = what
    self.limit = limit
  }

  var inUse: Int { used.load(ordering: .relaxed) }

  /// - Parameter reserve: how much must be left after it.
  func take(_ amount: Int = 1, leaving reserve: Int = 0) throws(APIError) -> Permit {
    guard let permit = takeIfFree(amount, leaving: reserve) else {
      throw APIError(.noCapacity, "too many \(what): the limit is \(limit)")
    }
    return permit
  }

  func takeIfFree(_ amount: Int = 1, leaving reserve: Int = 0) -> Permit? {
    let now = used.add(amount, ordering: .relaxed).newValue
    if now <= limit - reserve { return Permit(self, amount) }
    used.subtract(amount, ordering: .relaxed)
    return nil
  }
}
