import ChaosAPI

extension Measurement {
  /// What a create and a destroy take alone on a host, and beside many other guests. The samples are the other guests.
  static var flatness: [Measurement] {
    let headings = [
      Heading("create-alone", .milliseconds, "a hot create as chaosd measures it, no other guest on the host"),
      Heading("create-beside", .milliseconds, "the same beside many guests"),
      Heading("destroy-alone", .milliseconds, "DELETE of a guest, until every resource is back, no other guest"),
      Heading("destroy-beside", .milliseconds, "the same beside many guests"),
      Heading("create-no-pool-alone", .milliseconds, "a create without a pool, the same way"),
      Heading("create-no-pool-beside", .milliseconds, "the same beside many guests"),
    ]
    return [
      Measurement(headings, samples: 600, quick: 64) { bench, samples in
        let alone = try CreateAndDestroy(bench)
        _ = try bench.makeBystanders(samples)
        let beside = try CreateAndDestroy(bench)
        let note = "beside \(samples) guests"
        return [
          Figure(Sample(alone.creates)), Figure(Sample(beside.creates), note: note),
          Figure(Sample(alone.destroys)), Figure(Sample(beside.destroys), note: note),
          Figure(Sample(alone.unpooled)), Figure(Sample(beside.unpooled), note: note),
        ]
      }
    ]
  }
}

/// Creates and destroys of a few guests, whatever others are there.
private struct CreateAndDestroy {
  private static let rounds = 4

  private(set) var creates: [Double] = []
  private(set) var destroys: [Double] = []
  private(set) var unpooled: [Double] = []

  init(_ bench: Workbench) throws {
    try bench.usePool(.hot)
    for _ in 0..<Self.rounds {
      try bench.refill()
      let guests = bench.newGuests(Workbench.group)
      creates += try Self.create(guests, bench, from: .hot)
      destroys += try Self.destroy(guests, bench)
    }
    try bench.usePool(.none)
    let guests = bench.newGuests(Workbench.group)
    unpooled = try Self.create(guests, bench, from: .none)
    destroys += try Self.destroy(guests, bench)
  }

  private static func create(
    _ guests: [Workbench.Guest], _ bench: Workbench, from kind: ShellKind
  ) throws -> [Double] {
    try guests.map { guest in
      let result = try bench.create(guest, from: kind)
      try bench.settle(guest)
      return Double(result.microseconds) / 1000
    }
  }

  private static func destroy(_ guests: [Workbench.Guest], _ bench: Workbench) throws -> [Double] {
    try guests.map { guest in
      let stopwatch = Stopwatch()
      try bench.destroy(guest)
      return stopwatch.milliseconds
    }
  }
}
