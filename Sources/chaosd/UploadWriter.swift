import NIOCore
import Synchronization
import Threads

/// Takes a request's body as it comes: called on threads that may block, by one at a time, in order.
protocol BodySink: AnyObject, Sendable {
  func append(_ bytes: UnsafeRawBufferPointer, _ blocking: borrowing Blocking) throws
  func finish(_ blocking: borrowing Blocking) throws -> Response
  /// Forgets what came. Nothing is called after it.
  func abandon()
}

/// Brings an upload's pieces to its sink on the blocking pool, so that a slow disk holds up nobody else.
final class UploadWriter: Sendable {
  enum Event: Sendable {
    /// So many bytes are written.
    case wrote(Int)
    case finished(Response)
    case failed(any Error)
  }

  private struct State {
    var waiting: [ByteBuffer] = []
    var isComplete = false
    var isAbandoned = false
    /// A job of the pool's is at work, or will be.
    var hasJob = false
  }

  private let sink: any BodySink
  private let pool: BlockingPool
  private let notify: @Sendable (Event) -> Void
  private let state = Mutex(State())

  /// - Parameter notify: called on a thread of the pool's.
  init(_ sink: any BodySink, _ pool: BlockingPool, _ notify: @escaping @Sendable (Event) -> Void) {
    self.sink = sink
    self.pool = pool
    self.notify = notify
  }

  func append(_ piece: ByteBuffer) throws(BlockingPool.Full) { try proceed { $0.waiting.append(piece) } }

  /// The body is complete.
  func finish() throws(BlockingPool.Full) { try proceed { $0.isComplete = true } }

  /// The client is gone, or refused. Safe to repeat.
  func abandon() {
    do throws(BlockingPool.Full) {
      try proceed { $0.isAbandoned = true }
    } catch {
      // Better a file removed on this thread than one left.
      sink.abandon()
    }
  }

  private func proceed(_ change: (inout State) -> Void) throws(BlockingPool.Full) {
    let needsJob = state.withLock { state in
      change(&state)
      defer { state.hasJob = true }
      return !state.hasJob
    }
    guard needsJob else { return }
    do throws(BlockingPool.Full) {
      try pool.submit { [self] blocking in work(blocking) }
    } catch {
      state.withLock { $0.hasJob = false }
      throw error
    }
  }

  private enum Step {
    case write([ByteBuffer])
    case finish
    case abandon
    case rest
  }

  private func work(_ blocking: borrowing Blocking) {
    do {
      while true {
        switch next() {
        case .write(let pieces):
          for piece in pieces { try piece.withUnsafeReadableBytes { try sink.append($0, blocking) } }
          notify(.wrote(pieces.reduce(0) { $0 + $1.readableBytes }))
        case .finish: return notify(.finished(try sink.finish(blocking)))
        case .abandon: return sink.abandon()
        case .rest: return
        }
      }
    } catch {
      sink.abandon()
      notify(.failed(error))
    }
  }

  /// What to do now. Only after `.rest` there is another job.
  private func next() -> Step {
    state.withLock { state in
      if state.isAbandoned { return .abandon }
      if !state.waiting.isEmpty {
        defer { state.waiting = [] }
        return .write(state.waiting)
      }
      if state.isComplete { return .finish }
      state.hasJob = false
      return .rest
    }
  }
}
