import ChaosAPI
import Synchronization
import Threads

/// Decides what becomes of a request. ``Routes`` does so for the toolstack.
protocol Router: Sendable {
  /// Where a request's body goes while it comes in; nil when it is collected instead.
  func bodySink(for request: RequestHead) throws -> (any BodySink)?
  /// - Parameter body: the whole body, for all but uploads.
  func reply(to request: RequestHead, body: [UInt8]) throws -> Reply
}

/// What all connections share.
final class Edge: Sendable {
  let pool: BlockingPool
  /// For what only looks, so that no operation that waits keeps a list waiting.
  let looks: BlockingPool
  /// For tasks, which wait for guests and for clients.
  let tasks: TaskThread
  let limits: Limits
  let metrics = RequestMetrics()
  let audit: AuditLog?
  let connections: Allowance
  let refusedConnections: Allowance
  let bodies: Allowance
  let uploads: Allowance
  let waits: Allowance
  let consoles: Allowance
  let dumps: Allowance
  private let stopping = Atomic<Bool>(false)

  init(
    pool: BlockingPool, tasks: TaskThread, limits: Limits, audit: AuditLog?
  ) throws(BackgroundThread.Failure) {
    self.pool = pool
    self.tasks = tasks
    looks = try BlockingPool(
      name: "chaos-looks",
      .init(threads: limits.lookingThreads, queued: limits.blockingQueue, kept: limits.lookingThreads))
    self.limits = limits
    self.audit = audit
    connections = Allowance("connections", limits.connections)
    refusedConnections = Allowance("refused connections", limits.connectionsRefused)
    bodies = Allowance("bytes of requests under way", limits.allBodyBytes)
    uploads = Allowance("uploads under way", limits.uploads)
    consoles = Allowance("consoles open", limits.consoles)
    dumps = Allowance("dumps under way", limits.dumps)
    waits = Allowance("waits under way", limits.waits)
  }

  /// From now on requests are refused; what is under way goes on.
  func stop() { stopping.store(true, ordering: .relaxed) }

  var isStopping: Bool { stopping.load(ordering: .relaxed) }
}
