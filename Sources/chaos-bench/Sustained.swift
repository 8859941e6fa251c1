import ChaosAPI
import Synchronization

extension Measurement {
  /// Creates and destroys as fast as they go, the pool refilling meanwhile.
  static var sustained: [Measurement] {
    [sustained(clients: 1), sustained(clients: 8)]
  }

  /// Guests that stay alive; beyond, each create destroys the oldest.
  static let sustainedGuests = 32

  static func sustainedSeconds(_ options: Options) -> Double {
    Double(options.seconds ?? (options.isQuick ? 4 : 20))
  }

  private static func sustained(clients: Int) -> Measurement {
    let who = clients == 1 ? "1 client" : "\(clients) clients"
    let headings = [
      Heading("sustained-\(clients)", .perSecond, "creates and destroys a second by \(who), refill included"),
      Heading("cpu-sustained-\(clients)", .milliseconds, "processor time a guest meanwhile, its end included"),
    ]
    return Measurement(headings, samples: 1, quick: 1) { bench, _ in
      let processes = try ChaosProcesses()
      try bench.usePool(.hot, low: Workbench.shells / 2)
      try bench.refill()
      let load = Load(socket: bench.options.socket, seconds: sustainedSeconds(bench.options))
      let hitsBefore = try bench.client.pool().hits
      let cpuBefore = processes.cpuMilliseconds
      let stopwatch = Stopwatch()
      let threads = try (0..<clients).map { number in
        try Thread { load.run(bench: number) }
      }
      for thread in threads { thread.join() }
      let seconds = stopwatch.seconds
      let cpu = processes.cpuMilliseconds - cpuBefore
      let hits = try bench.client.pool().hits
      let made = try load.finish(&bench.client)
      let note =
        "\(made) guests in \(decimal(seconds)) s: \(hits.hot - hitsBefore.hot) hot, "
        + "\(hits.none - hitsBefore.none) without a shell"
      return [
        Figure(Sample(average: Double(made) / seconds, of: made), note: note),
        Figure(Sample(average: cpu / Double(made), of: made)),
      ]
    }
  }
}

/// What the clients of a sustained run share.
private final class Load: Sendable {
  private struct State {
    var alive: [String] = []
    var made = 0
    var failure: Failure?
  }

  private let socket: String
  private let seconds: Double
  private let stopwatch = Stopwatch()
  private let state = Mutex(State())

  init(socket: String, seconds: Double) {
    self.socket = socket
    self.seconds = seconds
  }

  /// One client, until the time is over or something fails.
  func run(bench number: Int) {
    var client = ChaosClient(socketPath: socket)
    var made = 0
    do {
      while stopwatch.seconds < seconds, state.withLock({ $0.failure == nil }) {
        made += 1
        let guest = Workbench.Guest(
          name: "chaos-bench-load-\(number)-\(made)", address: "10.231.\(100 + number).\(1 + made % 250)")
        _ = try client.create(guest.request())
        if let oldest = add(guest.name) { try client.destroy(oldest) }
      }
    } catch {
      state.withLock { $0.failure = $0.failure ?? Failure(error) }
    }
  }

  /// Notes a guest; returns the oldest one when there are enough without it.
  private func add(_ name: String) -> String? {
    state.withLock { state in
      state.made += 1
      state.alive.append(name)
      return state.alive.count > Measurement.sustainedGuests ? state.alive.removeFirst() : nil
    }
  }

  /// Destroys what is left, and says how many there were in all.
  func finish(_ client: inout ChaosClient) throws -> Int {
    let (alive, made, failure) = state.withLock { ($0.alive, $0.made, $0.failure) }
    for name in alive { try? client.destroy(name) }
    if let failure { throw failure }
    return made
  }
}
