import Glibc

extension Measurement {
  /// What a hot create and a destroy ask of the hypervisor and of the kernel.
  static var counts: [Measurement] {
    [
      count("create", prepare: { _, _ in }, act: { bench, guest in try bench.create(guest, from: .hot) }),
      count(
        "destroy", prepare: { bench, guest in try bench.create(guest, from: .hot) },
        act: { bench, guest in try bench.destroy(guest) }),
      createsOnLAN, lanMessages,
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
      return figures(try traced { for guest in guests { try act(bench, guest) } }, samples)
    }
  }

  /// The first member of a LAN sets its VXLAN device up; those that are counted come after it.
  private static var createsOnLAN: Measurement {
    let heading = Heading(
      "create-lan-netlink", .count, "netlink messages of a hot create on a LAN that has a member here")
    return Measurement([heading], samples: Workbench.group, quick: Workbench.group) { bench, samples in
      let samples = min(samples, Workbench.shells - 1)
      try bench.usePool(.hot)
      try bench.refill()
      try bench.makeUnderlay()
      let lan = bench.newLANs(1)[0]
      try bench.create(lan)
      let guests = bench.newGuests(1 + samples, on: lan.name)
      try bench.create(guests[0], from: .hot)
      let calls = try traced { for guest in guests.dropFirst() { try bench.create(guest, from: .hot) } }
      return [netlink(calls, samples)]
    }
  }

  private static var lanMessages: Measurement {
    let heading = Heading("lan-netlink", .count, "netlink messages of a LAN, created and deleted by the API")
    return Measurement([heading], samples: Workbench.group, quick: Workbench.group) { bench, samples in
      try bench.makeUnderlay()
      let lans = bench.newLANs(samples)
      let creates = try traced { for lan in lans { try bench.create(lan) } }
      let deletes = try traced { for lan in lans { try bench.delete(lan) } }
      let (create, delete) = (netlink(creates, samples), netlink(deletes, samples))
      let note = "create \(decimal(create.sample.median)), delete \(decimal(delete.sample.median))"
      return [Figure(netlink(creates + deletes, samples).sample, note: note)]
    }
  }

  /// The system calls of what `body` does, and of what it starts.
  private static func traced(_ body: () throws -> Void) throws -> [SystemCallTrace.Call] {
    settle()
    let trace = try SystemCallTrace()
    let outcome = Result { try body() }
    settle()
    let calls = try trace.end()
    try outcome.get()
    return calls
  }

  /// Lets what guests do when they start come to its end.
  private static func settle() { usleep(500_000) }

  private static func figures(_ calls: [SystemCallTrace.Call], _ samples: Int) -> [Figure] {
    func shares(_ calls: [SystemCallTrace.Call]) -> String {
      let backend = calls.filter(\.isOfBackend).count
      return "chaosd \(per(calls.count - backend, samples)), chaos-backend \(per(backend, samples))"
    }
    let privcmd = calls.filter { $0.destination == .privcmd }
    let ports = calls.filter { $0.destination == .eventChannels }
    let ioctls = calls.filter { $0.destination != .netlink }
    return [
      average(privcmd, samples, note: shares(privcmd)), average(ports, samples, note: shares(ports)),
      average(ioctls.filter { !$0.isOfBackend }, samples), average(ioctls.filter(\.isOfBackend), samples),
      netlink(calls, samples),
    ]
  }

  private static func netlink(_ calls: [SystemCallTrace.Call], _ samples: Int) -> Figure {
    let sends = calls.filter { $0.destination == .netlink }
    return average(sends, samples, note: "in \(per(sends.count, samples)) sends")
  }

  private static func average(_ calls: [SystemCallTrace.Call], _ samples: Int, note: String? = nil) -> Figure {
    let messages = calls.reduce(0) { $0 + $1.messages }
    return Figure(Sample(average: Double(messages) / Double(samples), of: samples), note: note)
  }

  private static func per(_ count: Int, _ samples: Int) -> String { decimal(Double(count) / Double(samples)) }
}
