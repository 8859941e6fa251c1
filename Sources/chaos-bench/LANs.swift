import ChaosAPI

extension Measurement {
  /// Virtual LANs without members: a VXLAN device and a bridge each.
  static var lans: [Measurement] { [lansByAPI, lansByIP] }

  /// LANs that are there at the same time at the end of a run. `--samples` sets it.
  private static let mostLANs = 2000
  private static let quickLANs = 100

  private static var lansByAPI: Measurement {
    lans("lan", by: "the API on a kept connection") { bench, count in
      try bench.makeUnderlay()
      let lans = bench.newLANs(count)
      return LANTimes(
        create: try Stopwatch.seconds { for lan in lans { try bench.create(lan) } },
        delete: try Stopwatch.seconds { for lan in lans { try bench.delete(lan) } })
    }
  }

  private static var lansByIP: Measurement {
    lans("ip-batch", by: "one ip -batch") { bench, count in
      try bench.makeUnderlay()
      let peer = try LANsByIP(count)
      return LANTimes(create: try peer.create(), delete: try peer.delete())
    }
  }

  private struct LANTimes {
    /// In seconds, of all LANs together.
    let create: Double
    let delete: Double
  }

  /// An untimed run of one LAN comes first: it loads what the kernel and the programs need.
  private static func lans(
    _ name: String, by whom: String, _ run: @escaping (Workbench, _ count: Int) throws -> LANTimes
  ) -> Measurement {
    let headings = [
      Heading("\(name)-create-rate", .perSecond, "LANs created a second by \(whom)"),
      Heading("\(name)-delete-rate", .perSecond, "LANs deleted a second by \(whom), all of them there at first"),
      Heading("\(name)-cycle-rate", .perSecond, "LANs created and deleted a second by \(whom)"),
    ]
    return Measurement(headings, samples: mostLANs, quick: quickLANs) { bench, count in
      _ = try run(bench, 1)
      let times = try run(bench, count)
      return [times.create, times.delete, times.create + times.delete].map { seconds in
        Figure(
          Sample(average: Double(count) / seconds, of: count), note: "\(count) LANs in \(decimal(seconds)) s")
      }
    }
  }
}

extension Stopwatch {
  fileprivate static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let stopwatch = Stopwatch()
    try body()
    return stopwatch.seconds
  }
}
