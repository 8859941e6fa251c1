/// Pings one host: says what to send when, and what came of it. Times are nanoseconds on one clock.
struct Pinger {
  enum Step: Equatable {
    /// Ask by ARP for the next hop.
    case resolve
    /// Send the next echo request.
    case ask
    /// The next hop did not answer ARP: a request failed before it was sent.
    case unresolved(IPv4Address)
    /// Time to say how it went so far.
    case summarize
    /// Nothing to do until then; nil: ever again.
    case wait(until: UInt64?)
  }

  /// News to tell.
  enum Event: Equatable {
    case reply(from: IPv4Address, length: Int, sequence: UInt16, time: UInt64)
    case error(from: IPv4Address, Echo.Outcome)
    case unresolved(IPv4Address)
  }

  struct Summary: Equatable {
    var sent: UInt64 = 0
    var received: UInt64 = 0
    var errors: UInt64 = 0
  }

  let settings: PingSettings
  private(set) var summary = Summary()

  private var route: Route?
  private var nextHopMAC: MACAddress?
  private var resolvingSince: UInt64?

  /// When requests were sent that nothing came of yet, by sequence number; 0: none.
  private var sentAt = InlineArray<64, UInt64>(repeating: 0)
  private var outstanding = 0
  private var lastSent: UInt64 = 0
  private var due: UInt64 = 0
  private var summarizedAt: UInt64 = 0
  private var isFinished = false

  /// When the target or its next hop was last heard of, and requests sent since.
  private var heardAt: UInt64 = 0
  private var unheard = 0

  /// How long to wait for an answer to ARP, and for the last replies.
  static var patience: UInt64 { 1_000_000_000 }
  /// A next hop unheard of for so long, and so many requests, is looked for anew.
  static var silence: UInt64 { 5_000_000_000 }
  static var unheardLimit: Int { 5 }
  /// Requests from one summary to the next.
  static var summaryPeriod: UInt64 { 25 }

  init(_ settings: PingSettings) {
    self.settings = settings
  }

  // MARK: What to do

  /// What to do now. `resolve` and `ask` stand until `write` has written their frame.
  mutating func step(at now: UInt64, via route: Route) -> Step {
    if route != self.route {
      self.route = route
      forgetNextHop()
    }
    if settings.count > 0, summary.sent >= settings.count { return finish(at: now) }
    guard now >= due else { return .wait(until: due) }
    if summary.sent > summarizedAt, summary.sent % Self.summaryPeriod == 0 {
      summarizedAt = summary.sent
      return .summarize
    }
    if unheard >= Self.unheardLimit, now >= heardAt &+ Self.silence { forgetNextHop() }
    guard nextHopMAC == nil else { return .ask }
    guard let since = resolvingSince else { return .resolve }
    guard now >= since &+ Self.patience else { return .wait(until: since &+ Self.patience) }
    giveUpResolving(at: now)
    return .unresolved(route.nextHop)
  }

  private mutating func finish(at now: UInt64) -> Step {
    guard !isFinished else { return .wait(until: nil) }
    let end = lastSent &+ Self.patience
    guard outstanding == 0 || now >= end else { return .wait(until: end) }
    isFinished = true
    return .summarize
  }

  private mutating func giveUpResolving(at now: UInt64) {
    resolvingSince = nil
    summary.sent += 1
    summary.errors += 1
    retire(slot(of: sequence))
    due = now
  }

  private mutating func forgetNextHop() {
    nextHopMAC = nil
    resolvingSince = nil
    unheard = 0
  }

  /// Writes the frame of a step. The frame is sent if this returns its length.
  mutating func write(_ step: Step, at now: UInt64, in buffer: Bytes) -> Int? {
    guard let route, let own = route.host.ipv4 else { return nil }
    switch step {
    case .resolve:
      let length = ARP.ask(for: route.nextHop, from: own, at: route.host.mac, in: buffer)
      if length != nil { resolvingSince = now }
      return length
    case .ask:
      guard let nextHopMAC else { return nil }
      let name = Echo.Name(
        target: settings.target, identifier: identifier(route.host), sequence: sequence &+ 1)
      let length = Echo.ask(
        name, size: settings.size, mayFragment: settings.mayFragment, via: nextHopMAC,
        as: route.host, in: buffer)
      if length != nil { noteSent(at: now) }
      return length
    default:
      return nil
    }
  }

  private mutating func noteSent(at now: UInt64) {
    summary.sent += 1
    unheard += 1
    retire(slot(of: sequence))
    sentAt[slot(of: sequence)] = max(now, 1)
    outstanding += 1
    lastSent = now
    due = now &+ settings.interval
  }

  // MARK: What came

  /// Takes in what a frame says of the next hop or of a request.
  mutating func observe(
    _ frame: Bytes, checksumVouched: Bool, as host: HostAddresses, at now: UInt64
  ) -> Event? {
    guard let route, route.host == host else { return nil }
    if let (address, mac) = ARP.sender(of: frame, to: host) {
      if address == route.nextHop {
        nextHopMAC = mac
        resolvingSince = nil
        noteHeard(at: now)
      }
      return nil
    }
    guard let response = Echo.response(in: frame, checksumVouched: checksumVouched, to: host),
      response.name.target == settings.target, response.name.identifier == identifier(host),
      let time = roundTrip(response.name.sequence, at: now)
    else { return nil }
    if case .reply(let length) = response.outcome {
      guard length == ICMP.headerLength + settings.size else { return nil }
      take(response.name.sequence, at: now)
      summary.received += 1
      return .reply(
        from: response.sender, length: length, sequence: response.name.sequence, time: time)
    }
    take(response.name.sequence, at: now)
    summary.errors += 1
    return .error(from: response.sender, response.outcome)
  }

  /// Nanoseconds since an outstanding request was sent; nil: there is none of that number.
  private func roundTrip(_ number: UInt16, at now: UInt64) -> UInt64? {
    guard sequence &- number < UInt16(sentAt.count) else { return nil }
    let start = sentAt[slot(of: number)]
    guard start != 0 else { return nil }
    return now > start ? now - start : 0
  }

  private mutating func take(_ number: UInt16, at now: UInt64) {
    retire(slot(of: number))
    noteHeard(at: now)
  }

  private mutating func retire(_ slot: Int) {
    guard sentAt[slot] != 0 else { return }
    sentAt[slot] = 0
    outstanding -= 1
  }

  private mutating func noteHeard(at now: UInt64) {
    heardAt = now
    unheard = 0
  }

  /// The last request's.
  private var sequence: UInt16 { UInt16(truncatingIfNeeded: summary.sent) }

  private func slot(of number: UInt16) -> Int { Int(number) % sentAt.count }

  /// Pingers on one network have different ones.
  private func identifier(_ host: HostAddresses) -> UInt16 {
    UInt16(truncatingIfNeeded: host.mac.value)
  }
}

extension TextOutput {
  mutating func write(_ event: Pinger.Event) {
    switch event {
    case .reply(let sender, let length, let sequence, let time):
      writeDecimal(UInt64(length))
      write(" bytes from ")
      write(sender)
      write(": seq=")
      writeDecimal(UInt64(sequence))
      write(" time=")
      writeDecimal(time / 1_000_000)
      write(".")
      writeDecimal(time / 100_000 % 10)
      write(" ms")
    case .error(let sender, let outcome):
      write("from ")
      write(sender)
      write(": ")
      write(outcome)
    case .unresolved(let address):
      write(address)
      write(" does not answer ARP")
    }
  }

  private mutating func write(_ outcome: Echo.Outcome) {
    switch outcome {
    case .reply: write("reply")
    case .fragmentationNeeded(let mtu):
      write("frag needed and DF set (mtu = ")
      writeDecimal(UInt64(mtu))
      write(")")
    case .unreachable(let code):
      write("unreachable (code ")
      writeDecimal(UInt64(code))
      write(")")
    case .timeExceeded: write("time exceeded")
    case .otherError(let type, let code):
      write("ICMP type ")
      writeDecimal(UInt64(type))
      write(" code ")
      writeDecimal(UInt64(code))
    }
  }

  mutating func write(_ summary: Pinger.Summary) {
    writeDecimal(summary.sent)
    write(" sent, ")
    writeDecimal(summary.received)
    write(" received, ")
    writeDecimal(summary.errors)
    write(" errors")
  }
}
