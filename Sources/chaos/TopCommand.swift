import ChaosAPI

func top(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let seconds = try invocation.integer("interval") ?? 2
  guard 1...3600 ~= seconds else {
    throw invocation.usage("option '--interval': expected 1 to 3600 seconds, got '\(seconds)'")
  }
  let isOnce = invocation.has("once")
  var client = invocation.client()
  var before = try client.statistics()
  if invocation.wantsJSON {
    printLine(before.json)
    if isOnce { return .success }
  }
  let isOnTerminal = isTerminal(Stream.output.descriptor)
  while true {
    sleep(milliseconds: seconds * 1000)
    let now = try client.statistics()
    if invocation.wantsJSON {
      printLine(now.json)
    } else {
      // A terminal's screen is written over, elsewhere one table follows another.
      printOut((isOnTerminal && !isOnce ? "\u{1b}[H\u{1b}[J" : "") + topTable(now, since: before))
      if !isOnTerminal, !isOnce { printOut("\n") }
    }
    if isOnce { return .success }
    before = now
  }
}

/// What guests used between two looks, the busiest first. Of one that is new there is nothing to say yet.
func topTable(_ now: Statistics, since before: Statistics) -> String {
  var table = Table([
    ("NAME", .left), ("DOMID", .right), ("CPU", .right), ("MEMORY", .right), ("OUT-PPS", .right),
    ("OUT-BPS", .right), ("IN-PPS", .right), ("IN-BPS", .right), ("DROPS", .right),
  ])
  let usages = now.guests.map { guest in
    Usage(
      guest, since: before.guests.first { $0.uuid == guest.uuid && $0.domid == guest.domid },
      nanoseconds: now.nanoseconds - before.nanoseconds)
  }
  for usage in usages.sorted(by: { ($0.cpuPermille ?? 0) > ($1.cpuPermille ?? 0) }) { table.add(usage.cells) }
  return table.text
}

/// A guest's share of an interval.
private struct Usage {
  private let guest: GuestStatistics
  /// Of one processor; nil where the guest is new.
  let cpuPermille: Int?
  private let rates: [Int]?
  private let drops: Int?

  init(_ guest: GuestStatistics, since before: GuestStatistics?, nanoseconds: Int) {
    self.guest = guest
    guard let before, nanoseconds > 0 else {
      cpuPermille = nil
      rates = nil
      drops = nil
      return
    }
    // Counters begin anew with a vif that was taken away and added again.
    func difference(_ counter: (GuestStatistics) -> Int) -> Int { max(0, counter(guest) - counter(before)) }
    func rate(_ counter: (VifStatistics) -> Int) -> Int {
      let total = difference { $0.vifs.reduce(0) { $0 + counter($1) } }
      return Int(Double(total) * 1e9 / Double(nanoseconds))
    }
    cpuPermille = Int(Double(difference { $0.cpuNanoseconds }) * 1000 / Double(nanoseconds))
    // What dom0 receives from its device the guest has sent.
    rates = [rate { $0.rxPackets }, rate { $0.rxBytes }, rate { $0.txPackets }, rate { $0.txBytes }]
    drops = difference { $0.vifs.reduce(0) { $0 + $1.rxDropped + $1.txDropped } }
  }

  var cells: [String] {
    let cpu = cpuPermille.map { "\($0 / 10).\($0 % 10)" } ?? ""
    let traffic = rates?.map { "\($0)" } ?? ["", "", "", ""]
    return [guest.name, "\(guest.domid)", cpu, "\(guest.memoryMiB) MiB"] + traffic + [drops.map { "\($0)" } ?? ""]
  }
}
