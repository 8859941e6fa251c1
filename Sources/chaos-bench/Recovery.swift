import ChaosAPI
import Glibc

extension Measurement {
  /// How long it takes until all is as it was after one of the daemons was killed. The samples are the guests.
  static var recovery: [Measurement] {
    let headings = [
      Heading(
        "recover-backend", .milliseconds, "chaos-backend killed until the last of the guests answers again"),
      Heading("recover-daemon", .milliseconds, "chaosd killed, and started at once, until it lists all guests"),
    ]
    return [
      Measurement(headings, samples: 100, quick: 16) { bench, samples in
        let guests = try bench.makeBystanders(samples)
        let backend = try Recovery.ofBackend(guests)
        let daemon = try Recovery.ofDaemon(&bench.client, guests)
        let note = "\(samples) guests"
        return [Figure(Sample([backend]), note: note), Figure(Sample([daemon]), note: note)]
      }
    ]
  }
}

private enum Recovery {
  /// Longest time that is waited for.
  private static let limit = 120.0

  static func ofBackend(_ guests: [Workbench.Guest]) throws -> Double {
    let sweep = try UDPSweep()
    let addresses = guests.map(\.address)
    if let silent = sweep.untilAnswered(addresses, seconds: limit).first {
      throw Failure("\(silent) does not answer before anything was killed")
    }
    let stopwatch = Stopwatch()
    let process = try RunningProcess(named: "chaos-backend").id
    kill(process, SIGKILL)
    // Its last moments must not count as an answer.
    while kill(process, 0) == 0 && !isDead(process) { usleep(1000) }
    if let silent = sweep.untilAnswered(addresses, seconds: limit).first {
      throw Failure("\(silent) does not answer any more")
    }
    return stopwatch.milliseconds
  }

  static func ofDaemon(_ client: inout ChaosClient, _ guests: [Workbench.Guest]) throws -> Double {
    let process = try RunningProcess(named: "chaosd")
    let arguments = try readFile("/proc/\(process.id)/cmdline").split(separator: 0).map {
      String(decoding: $0, as: UTF8.self)
    }
    let daemon = try Program("chaosd")
    let stopwatch = Stopwatch()
    kill(process.id, SIGKILL)
    while kill(process.id, 0) == 0 && !isDead(process.id) { usleep(1000) }
    // Where a service manager starts one too, the one that comes second sees that and ends.
    let log = open("/var/log/chaos/chaosd.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
    guard log >= 0 else { throw Failure(doing: "open chaosd's log") }
    defer { close(log) }
    _ = try daemon.start(Array(arguments.dropFirst()), writingTo: log)
    while true {
      let listed = Result { try client.guests().count }
      if case .success(guests.count) = listed { return stopwatch.milliseconds }
      guard stopwatch.seconds < limit else {
        throw Failure("chaosd lists not \(guests.count) guests but \(listed)")
      }
      usleep(2000)
    }
  }

  /// Whether a process is a zombie, whose locks are gone.
  private static func isDead(_ process: pid_t) -> Bool {
    let status = (try? readFile("/proc/\(process)/status")) ?? []
    return String(decoding: status, as: UTF8.self).contains("State:\tZ")
  }
}
