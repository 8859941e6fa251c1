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
  var dumps = 4
  /// In which a client takes a MiB of a dump, for which a guest stands still.
  var dumpStall = TimeAmount.seconds(10)
  var waits = 512

  /// Threads for what blocks, and what may wait for one.
  var blockingThreads = 32
  var blockingQueue = 512
  /// Of the threads, those that always stay: a system may have no others to give.
  var blockingThreadsKept = 4
  /// Threads for what only looks. They always stay.
  var lookingThreads = 2
}

/// A number of things of which only so many may be in use.
final class Allowance: Sendable {
  /// What was taken; it is given back when nobody holds it any more.
  final class Permit: Sendable {
    private let allowance: Allowance
    private let amount: Atomic<Int>

    fileprivate init(_ allowance: Allowance, _ amount: Int) {
      self.allowance = allowance
      self.amount = Atomic(amount)
    }

    /// Takes more, to be given back with the rest.
    func grow(by more: Int) throws(APIError) {
      guard allowance.reserve(more, leaving: 0) else { throw allowance.exhausted }
      amount.add(more, ordering: .relaxed)
    }

    deinit { allowance.used.subtract(amount.load(ordering: .relaxed), ordering: .relaxed) }
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

  /// - Parameter rest: how much must be left after it.
  func take(_ amount: Int = 1, leaving rest: Int = 0) throws(APIError) -> Permit {
    guard let permit = takeIfFree(amount, leaving: rest) else { throw exhausted }
    return permit
  }

  func takeIfFree(_ amount: Int = 1, leaving rest: Int = 0) -> Permit? {
    reserve(amount, leaving: rest) ? Permit(self, amount) : nil
  }

  private func reserve(_ amount: Int, leaving rest: Int) -> Bool {
    let now = used.add(amount, ordering: .relaxed).newValue
    if now <= limit - rest { return true }
    used.subtract(amount, ordering: .relaxed)
    return false
  }

  private var exhausted: APIError { APIError(.noCapacity, "too many \(what): the limit is \(limit)") }
}
