import ChaosAPI
import Glibc

extension Measurement {
  /// Calls on one kept connection.
  static var callsToAPI: [Measurement] {
    [
      hotCreates, pausedCreates, create("api-create-blank", .blank, 50),
      create("api-create-no-pool", .none, 30), destroyByAPI,
    ]
  }

  /// Each create has an empty call beside it, so that what a create adds is seen in the same moments.
  private static var hotCreates: Measurement {
    let headings = [
      Heading("api-empty", .milliseconds, "GET /v1/version on a kept connection"),
      Heading("api-create-hot", .milliseconds, "POST /v1/guests from a hot shell on a kept connection"),
      Heading("api-create-added", .milliseconds, "what a hot create takes beyond an empty call"),
      Heading("api-create-inside", .milliseconds, "a hot create as chaosd measures it"),
    ]
    return Measurement(headings, samples: 100, quick: 16) { bench, samples in
      var empty: [Double] = []
      var creates: [Double] = []
      var inside: [Double] = []
      _ = try bench.client.version()
      try bench.inGroups(.hot, samples) { guests in
        for guest in guests {
          let call = Stopwatch()
          _ = try bench.client.version()
          empty.append(call.milliseconds)
          let create = Stopwatch()
          let result = try bench.create(guest, from: .hot)
          creates.append(create.milliseconds)
          inside.append(Double(result.microseconds) / 1000)
          try bench.settle(guest)
        }
      }
      let usual = Sample(empty).median
      return [empty, creates, creates.map { $0 - usual }, inside].map { Figure(Sample($0)) }
    }
  }

  /// On a host with one processor the guest runs before the answer is sent, unless it is not started.
  private static var pausedCreates: Measurement {
    let heading = Heading(
      "api-create-paused", .milliseconds, "POST /v1/guests from a hot shell, the guest not started")
    return Measurement([heading], samples: 50, quick: 8) { bench, samples in
      var times: [Double] = []
      try bench.inGroups(.hot, samples) { guests in
        for guest in guests {
          let stopwatch = Stopwatch()
          try bench.create(guest, from: .hot, paused: true)
          times.append(stopwatch.milliseconds)
        }
      }
      return [Figure(Sample(times))]
    }
  }

  private static func create(_ name: String, _ kind: ShellKind, _ samples: Int) -> Measurement {
    let summary = "POST /v1/guests from \(kind == .none ? "no" : "a blank") shell on a kept connection"
    return Measurement([Heading(name, .milliseconds, summary)], samples: samples, quick: 8) { bench, samples in
      var times: [Double] = []
      try bench.inGroups(kind, samples) { guests in
        for guest in guests {
          let stopwatch = Stopwatch()
          try bench.create(guest, from: kind)
          times.append(stopwatch.milliseconds)
          try bench.settle(guest)
        }
      }
      return [Figure(Sample(times))]
    }
  }

  private static var destroyByAPI: Measurement {
    let heading = Heading("destroy-api", .milliseconds, "DELETE of a guest, until every resource is back")
    return Measurement([heading], samples: 50, quick: 8) { bench, samples in
      var times: [Double] = []
      try bench.inGroups(.hot, samples) { guests in
        for guest in guests {
          try bench.create(guest, from: .hot)
          try bench.settle(guest)
        }
        for guest in guests {
          try bench.checkingThatAllIsBack(guest) {
            let stopwatch = Stopwatch()
            try bench.client.destroy(guest.name)
            times.append(stopwatch.milliseconds)
          }
        }
      }
      return [Figure(Sample(times))]
    }
  }
}

extension Workbench {
  /// Runs what destroys a guest, then sees that its memory and its taps are back already.
  func checkingThatAllIsBack(_ guest: Guest, _ destroy: () throws -> Void) throws {
    let taps = try client.guest(guest.name).vifs.map(\.tap)
    let before = try client.host().freeMiB
    try destroy()
    let back = try client.host().freeMiB - before
    forget(guest)
    guard back >= Self.memoryMiB else {
      throw Failure("destroy returned with \(back) MiB of \(Self.memoryMiB) back")
    }
    for tap in taps where access("/sys/class/net/\(tap)", F_OK) == 0 {
      throw Failure("destroy returned with \(tap) still there")
    }
  }
}
