import ChaosAPI

extension Measurement {
  /// The processor time of a guest's two phases, in chaosd and chaos-backend.
  static var cpuByPhase: [Measurement] {
    let headings = [
      Heading("cpu-prepare", .milliseconds, "processor time of preparing one hot shell"),
      Heading("cpu-execute", .milliseconds, "processor time of one hot create, its request included"),
    ]
    return [
      Measurement(headings, samples: 5, quick: 2) { bench, samples in
        let processes = try ChaosProcesses()
        try bench.usePool(.hot)
        var prepare: [Double] = []
        var execute: [Double] = []
        for _ in 0..<samples {
          _ = try bench.client.drainPool()
          prepare.append(try processes.cpuMilliseconds(during: bench.refill) / Double(Workbench.shells))
          let guests = bench.newGuests(Workbench.group)
          let creates = try processes.cpuMilliseconds {
            for guest in guests { try bench.create(guest, from: .hot) }
          }
          execute.append(creates / Double(guests.count))
          bench.clear()
        }
        return [Figure(Sample(prepare)), Figure(Sample(execute))]
      }
    ]
  }
}

extension ChaosProcesses {
  fileprivate func cpuMilliseconds(during body: () throws -> Void) rethrows -> Double {
    let before = cpuMilliseconds
    try body()
    return cpuMilliseconds - before
  }
}
