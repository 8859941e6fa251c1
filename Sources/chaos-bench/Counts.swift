import Glibc

extension Measurement {
  /// What a hot create and a destroy ask of the hypervisor and of the kernel.
  static var counts: [Measurement] {
    [
      count("create", prepare: { _, _ in }, act: { bench, guest in try bench.create(guest, from: .hot) }),
      count(
        "destroy", prepare: { bench, guest in try bench.create(guest, from: .hot) },
        act: { bench, guest in try bench.destroy(guest) }),
    ]
  }

  private typealias Step = (Workbench, Workbench.Guest) throws -> Void

  private static func count(_ verb: String, prepare: @escaping Step, act: @escaping Step) -> Measurement {
    let what = verb == "create" ? "hot create" : "destroy"
    let headings = [
      Heading("\(verb)-hypercalls", .count, "privcmd ioctls of a \(what): hypercalls and mappings"),
      Heading("\(verb)-evtchn", .count, "event-channel ioctls of a \(what), those that its guest causes included"),
      Heading("\(verb)-ioctls-chaosd", .count, "all of chaosd's ioctls of a \(what)"),
      Heading("\(verb)-ioctls-backend", .count, "all of chaos-backend's ioctls of a \(what)"),
      Heading("\(verb)-netlink", .count, "netlink messages of a \(what)"),
    ]
    return Measurement(headings, samples: Workbench.group, quick: Workbench.group) { bench, samples in
      let samples = min(samples, Workbench.shells)
      try bench.usePool(.hot)
      try bench.refill()
      let guests = bench.newGuests(samples)
      for guest in guests { try prepare(bench, guest) }
      settle()
      let trace = try SystemCallTrace()
      let outcome = Result { for guest in guests { try act(bench, guest) } }
      settle()
      let calls = try trace.end()
      try outcome.get()
      return figures(calls, samples)
    }
  }

  /// Lets what guests do when they start come to its end.
  private static func settle() { usleep(500_000) }

  private static func figures(_ calls: [SystemCallTrace.Call], _ samples: Int) -> [Figure] {
    func average(_ calls: [SystemCallTrace.Call], note: String? = nil) -> Figure {
      let messages = calls.reduce(0) { $0 + $1.messages }
      return Figure(Sample(average: Double(messages) / Double(samples), of: samples), note: note)
    }
    func shares(_ calls: [SystemCallTrace.Call]) -> String {
      let backend = calls.filter(\.isOfBackend).count
      return "chaosd \(per(calls.count - backend)), chaos-backend \(per(backend))"
    }
    func per(_ count: Int) -> String { decimal(Double(count) / Double(samples)) }
    let privcmd = calls.filter { $0.destination == .privcmd }
    let ports = calls.filter { $0.destination == .eventChannels }
    let netlink = calls.filter { $0.destination == .netlink }
    let ioctls = calls.filter { $0.destination != .netlink }
    return [
      average(privcmd, note: shares(privcmd)), average(ports, note: shares(ports)),
      average(ioctls.filter { !$0.isOfBackend }), average(ioctls.filter(\.isOfBackend)),
      average(netlink, note: "in \(per(netlink.count)) sends"),
    ]
  }
}
