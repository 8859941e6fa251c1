extension XL.Script {
  fileprivate var description: String {
    switch self {
    case .stock: "Xen's hotplug script"
    case .script: "a hotplug script of two commands"
    }
  }
}

extension Measurement {
  /// `xl create` and `xl destroy` from start to exit.
  static var createsByXL: [Measurement] {
    [creates(by: .stock, samples: 5, quick: 2), creates(by: .script, samples: 10, quick: 3)]
  }

  private static func creates(by script: XL.Script, samples: Int, quick: Int) -> Measurement {
    let headings = [
      Heading("xl-create-\(script.rawValue)", .milliseconds, "xl create with \(script.description)"),
      Heading("xl-destroy-\(script.rawValue)", .milliseconds, "xl destroy with \(script.description)"),
    ]
    return Measurement(headings, samples: samples, quick: quick) { bench, samples in
      let xl = try XL(bench, script)
      var creates: [Double] = []
      var destroys: [Double] = []
      for number in 1...samples {
        creates.append(try xl.makeGuest("chaos-bench-xl-\(number)").milliseconds)
        destroys.append(try xl.destroyGuest("chaos-bench-xl-\(number)").milliseconds)
      }
      return [Figure(Sample(creates)), Figure(Sample(destroys))]
    }
  }

  /// The same load as for chaos with one client.
  static var sustainedByXL: [Measurement] {
    [sustained(by: .stock), sustained(by: .script)]
  }

  private static func sustained(by script: XL.Script) -> Measurement {
    let headings = [
      Heading("xl-sustained-\(script.rawValue)", .perSecond, "creates a second by xl with \(script.description)"),
      Heading("xl-cpu-\(script.rawValue)", .milliseconds, "processor time a guest meanwhile, xenstored's included"),
    ]
    return Measurement(headings, samples: 1, quick: 1) { bench, _ in
      let xl = try XL(bench, script)
      let daemons = [try RunningProcess(named: "xenstored"), try RunningProcess(named: "xenconsoled")]
      let before = daemons.map(\.cpuMilliseconds).reduce(0, +)
      var own = 0.0
      var made = 0
      let limit = sustainedSeconds(bench.options)
      let stopwatch = Stopwatch()
      repeat {
        made += 1
        own += try xl.makeGuest("chaos-bench-xl-\(made)").cpuMilliseconds
        if let oldest = xl.oldest(beyond: sustainedGuests) { own += try xl.destroyGuest(oldest).cpuMilliseconds }
      } while stopwatch.seconds < limit
      let seconds = stopwatch.seconds
      let cpu = own + daemons.map(\.cpuMilliseconds).reduce(0, +) - before
      return [
        Figure(
          Sample(average: Double(made) / seconds, of: made), note: "\(made) guests in \(decimal(seconds)) s"),
        Figure(Sample(average: cpu / Double(made), of: made)),
      ]
    }
  }
}
