import ChaosAPI

extension Measurement {
  /// UDP between dom0 and one guest.
  static var packets: [Measurement] {
    [roundTrip, rate]
  }

  private static let inFlight = 32
  private static let exchanged = 10_000

  private static var roundTrip: Measurement {
    let heading = Heading("udp-round-trip", .microseconds, "UDP echo from dom0, one in flight")
    return Measurement([heading], samples: 1000, quick: 200) { bench, samples in
      let echo = try bench.startEcho()
      var lost = 0
      var times: [Double] = []
      for _ in 0..<samples {
        let stopwatch = Stopwatch()
        if echo.ask() { times.append(Double(stopwatch.nanoseconds) / 1000) } else { lost += 1 }
      }
      return [Figure(Sample(times), note: lost > 0 ? "\(lost) lost" : nil)]
    }
  }

  private static var rate: Measurement {
    let heading = Heading(
      "udp-echo-rate", .perSecond, "UDP echoes from dom0, \(inFlight) in flight; two packets each")
    return Measurement([heading], samples: 5, quick: 2) { bench, samples in
      let echo = try bench.startEcho()
      var lost = 0
      let rates = (0..<samples).map { _ in
        let stopwatch = Stopwatch()
        let missing = echo.exchange(exchanged, inFlight: inFlight)
        lost += missing
        return Double(exchanged - missing) / stopwatch.seconds
      }
      return [Figure(Sample(rates), note: lost > 0 ? "\(lost) of \(samples * exchanged) lost" : nil)]
    }
  }
}

extension Workbench {
  /// Makes a guest and returns when it answers.
  fileprivate func startEcho() throws -> UDPEcho {
    try usePool(.none)
    let guest = newGuest()
    try create(guest, from: .none)
    let echo = try UDPEcho(guest.address, limit: 500)
    guard echo.waitUntilAnswered(seconds: 20) else { throw Failure("\(guest.address) does not answer") }
    // Earlier questions may be answered late.
    echo.drain()
    return echo
  }
}
