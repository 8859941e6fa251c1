import CHostile

/// A guest that breaks every rule it can reach. Its command line says which, see README.md.
@main
struct Hostile: Unikernel {
  static var name: StaticString { "hostile" }
  static var originates: Bool { true }

  private var attack: Attack?

  mutating func prepare(_ commandLine: Bytes) {
    let words = Words(commandLine)
    guard let attack = Attack(words) else { refuse(commandLine) }
    guard words.value(of: "when")?.spells("start") != true else {
      // The command line is said by the runtime, but only after this.
      tell("at start", commandLine)
      attack.carryOut()
    }
    self.attack = attack
  }

  /// Comes first when the guest is ready, its vifs are served, and it has said its command line.
  mutating func act(at now: UInt64, network: inout Network, console: inout Console) -> UInt64? {
    attack?.carryOut()
    return nil
  }

  private func refuse(_ commandLine: Bytes) -> Never {
    tell("does not know", commandLine)
    guest_crash()
  }

  private func tell(_ what: StaticString, _ commandLine: Bytes) {
    var console = Console.shared
    console.write("hostile: ")
    console.write(what)
    console.write(": ")
    console.write(commandLine)
    console.write("\r\n")
    console.flush()
  }
}

/// From before anything was done to shared_info.
private nonisolated(unsafe) var timeInfo = vcpu_time_info()

/// What the guest does. None of it ever returns.
enum Attack {
  case frames(FrameAttack, Place)
  case queue(QueueAttack)
  case flood(Flood)
  case hypercalls(seed: Int)
  case end(Ending)

  init?(_ words: Words) {
    guard let mode = words.value(of: "mode") else { return nil }
    let on = words.value(of: "on")
    if let attack = FrameAttack(rawValue: mode.index(in: FrameAttack.names)) {
      guard let place = Place(rawValue: on?.index(in: Place.names) ?? -1) else { return nil }
      self = .frames(attack, place)
    } else if mode.spells("queue"), let attack = QueueAttack(rawValue: on?.index(in: QueueAttack.names) ?? -1) {
      self = .queue(attack)
    } else if mode.spells("flood"), let flood = Flood(rawValue: on?.index(in: Flood.names) ?? -1) {
      self = .flood(flood)
    } else if mode.spells("hypercalls") {
      self = .hypercalls(seed: words.value(of: "seed")?.decimal(in: 0...Int(Int32.max)) ?? 1)
    } else if mode.spells("end"), let ending = Ending(rawValue: on?.index(in: Ending.names) ?? -1) {
      self = .end(ending)
    } else {
      return nil
    }
  }

  func carryOut() -> Never {
    timeInfo = hostile_time_info()
    // What was said on the console is to be read before the ring is anything else.
    Self.pause(milliseconds: 100)
    switch self {
    case .frames(let attack, let place): attack.carryOut(on: place)
    case .queue(let attack): attack.carryOut()
    case .flood(let flood): flood.carryOut()
    case .hypercalls(let seed): Hypercalls(seed: seed).carryOut()
    case .end(let ending): ending.carryOut()
    }
  }

  /// Stays alive and does nothing. Needs none of the special frames: any of them may be gone.
  static func rest() -> Never {
    while true { hostile_block() }
  }

  /// Lets others run for a moment: it is their harm that is looked for, not the processor's.
  static func pause(milliseconds: UInt64) {
    var port: UInt32 = 0
    guest_poll(&port, 0, hostile_time(timeInfo) &+ milliseconds * 1_000_000)
  }
}

/// How the guest ends.
enum Ending: Int {
  case powerOff, reboot, suspend, crash, watchdog, softReset, unknown
  case tripleFault, trap, spin

  static var names: InlineArray<10, StaticString> {
    ["poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset", "unknown", "triple-fault", "trap", "spin"]
  }

  func carryOut() -> Never {
    switch self {
    case .tripleFault: hostile_triple_fault()
    case .trap: fatalError()
    case .spin: hostile_spin()
    // SHUTDOWN_poweroff and those after it, in Xen's order; the last is none of them.
    default: guest_shutdown(UInt32(rawValue))
    }
  }
}

extension Bytes {
  /// Which of the names it spells; -1: none.
  func index<let count: Int>(in names: InlineArray<count, StaticString>) -> Int {
    for index in 0..<count where spells(names[index]) { return index }
    return -1
  }
}

/// Numbers that look random and are the same in every run.
struct Noise {
  private var state: UInt64

  init(seed: Int) { state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1 }

  /// Marsaglia's xorshift, with a multiplication for the sake of the low bits.
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }

  mutating func next(below limit: Int) -> Int { Int(next() >> 33) % limit }
}
