/// Pings a host and tells how it went. What it does stands on its command line, see README.md.
@main
struct Ping: Unikernel {
  static var name: StaticString { "ping" }
  static var originates: Bool { true }
  /// Frames of 9,000 bytes of IP fit, and then some: larger than a network's MTU on purpose.
  static var bufferSize: Int { 9216 }

  private(set) var announces = true
  private var console = Console.shared
  private var pinger: Pinger?
  /// What is wrong with the command line, until it was said.
  private var defect: (PingSettings.Defect, in: Words)?
  private var isStranded = false

  private static var largestSize: Int { bufferSize - 12 - Echo.overhead }
  /// How long to wait for a buffer to come free.
  private static var shortWhile: UInt64 { 10_000_000 }

  mutating func prepare(_ commandLine: Bytes) {
    let words = Words(commandLine)
    announces = words.value(of: "announce")?.spells("no") != true
    do throws(PingSettings.Defect) {
      pinger = try PingSettings(words, largestSize: Self.largestSize).map(Pinger.init)
    } catch {
      defect = (error, in: words)
    }
  }

  mutating func observe(_ frame: Bytes, checksumVouched: Bool, as host: HostAddresses) {
    let event = pinger?.observe(frame, checksumVouched: checksumVouched, as: host, at: Clock.now)
    if let event { tell(event) }
  }

  mutating func act(at now: UInt64, network: inout Network, console: inout Console) -> UInt64? {
    if let (defect, words) = defect {
      startLine()
      self.console.write(defect, in: words)
      endLine()
    }
    defect = nil
    return proceed(at: now, by: &network)
  }

  /// Any key asks how it goes.
  mutating func typed(_ character: UInt8, status: GuestStatus, console: inout Console) {
    summarize()
  }

  /// Does what is to be done by now; returns when there is more.
  private mutating func proceed(at now: UInt64, by network: inout Network) -> UInt64? {
    while let target = pinger?.settings.target {
      guard let (slot, route) = network.route(to: target) else {
        complain(of: target)
        return nil
      }
      isStranded = false
      guard let step = pinger?.step(at: now, via: route) else { return nil }
      switch step {
      case .wait(let moment): return moment
      case .summarize: summarize()
      case .unresolved(let nextHop): tell(.unresolved(nextHop))
      case .resolve, .ask:
        let isSent = network.send(by: slot) { buffer, _ in pinger?.write(step, at: now, in: buffer) }
        guard isSent else { return now + Self.shortWhile }
      }
    }
    return nil
  }

  private mutating func complain(of target: IPv4Address) {
    guard !isStranded else { return }
    isStranded = true
    startLine()
    console.write("no vif leads to ")
    console.write(target)
    endLine()
  }

  private mutating func tell(_ event: Pinger.Event) {
    console.write(event)
    endLine()
  }

  private mutating func summarize() {
    guard let summary = pinger?.summary else { return }
    startLine()
    console.write(summary)
    endLine()
  }

  private mutating func startLine() { console.write("ping: ") }

  private mutating func endLine() {
    console.write("\r\n")
    console.flush()
  }
}
