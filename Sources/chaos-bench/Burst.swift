import ChaosAPI
import Synchronization

extension Measurement {
  /// More creates at once than there are shells.
  static var burst: [Measurement] {
    let headings = [
      Heading(
        "burst-64", .milliseconds,
        "64 creates at once by 8 clients, a pool of 16: each from its start to its answer"),
      Heading("burst-64-no-pool", .milliseconds, "the same without a pool"),
    ]
    return [
      Measurement(headings, samples: 3, quick: 1) { bench, samples in
        var pooled: [Double] = []
        var hot = 0
        var unpooled: [Double] = []
        for _ in 0..<samples {
          try bench.usePool(.hot, low: Workbench.shells / 2)
          try bench.refill()
          let burst = try Burst.run(bench, pool: true)
          pooled += burst.times
          hot += burst.hot
          bench.clear()
          try bench.usePool(.none)
          unpooled += try Burst.run(bench, pool: false).times
          bench.clear()
        }
        return [
          Figure(Sample(pooled), note: "\(hot / max(1, samples)) of 64 from hot shells"), Figure(Sample(unpooled)),
        ]
      }
    ]
  }
}

/// Creates by several clients at once.
private final class Burst: Sendable {
  static let guests = 64
  private static let clients = 8

  private struct State {
    var waiting: [Workbench.Guest]
    var times: [Double] = []
    var hot = 0
    var failure: Failure?
  }

  private let socket: String
  private let pool: Bool
  private let state: Mutex<State>

  private init(_ socket: String, pool: Bool, _ guests: [Workbench.Guest]) {
    self.socket = socket
    self.pool = pool
    state = Mutex(State(waiting: guests))
  }

  static func run(_ bench: Workbench, pool: Bool) throws -> (times: [Double], hot: Int) {
    let burst = Burst(bench.options.socket, pool: pool, bench.newGuests(guests))
    let threads = try (0..<clients).map { _ in try Thread { burst.work() } }
    for thread in threads { thread.join() }
    return try burst.state.withLock { state in
      if let failure = state.failure { throw failure }
      return (state.times, state.hot)
    }
  }

  /// One client, until no guest is left to be made.
  private func work() {
    var client = ChaosClient(socketPath: socket)
    do {
      while let guest = state.withLock({ $0.failure == nil ? $0.waiting.popLast() : nil }) {
        let stopwatch = Stopwatch()
        let result = try client.create(guest.request(pool: pool))
        state.withLock { state in
          state.times.append(stopwatch.milliseconds)
          if result.shell == .hot { state.hot += 1 }
        }
      }
    } catch {
      state.withLock { $0.failure = $0.failure ?? Failure(error) }
    }
  }
}
