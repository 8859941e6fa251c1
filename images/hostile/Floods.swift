import CDevicePage
import CHostile

/// More of what is allowed than anybody needs, without end.
enum Flood: Int {
  case events, console, powerControl

  static var names: InlineArray<3, StaticString> { ["events", "console", "powerctl"] }

  func carryOut() -> Never {
    var round: UInt32 = 0
    while true {
      round &+= 1
      switch self {
      case .events: ring()
      case .console: print(round)
      case .powerControl: toggle(round)
      }
    }
  }

  /// Every port, also those of vifs that are not there.
  private func ring() {
    for port in 1..<UInt32(CHAOS_PORT_VIF0) + UInt32(CHAOS_MAX_VIFS) { guest_notify(port) }
  }

  /// A full ring of short lines; now and then indices that make no sense.
  private func print(_ round: UInt32) {
    let ring = UInt(CHAOS_CONSOLE_GFN) << 12
    let consumed = guest_load32(ring + 3080)
    for offset in stride(from: UInt(1024), to: 3072, by: 4) {
      guest_store32(ring + offset, 0x0a6f_6f62)  // "boo\n"
    }
    guest_compiler_barrier()
    guest_store32(ring + 3084, round % 64 == 0 ? consumed &+ 0x8000_0000 : consumed &+ 2048)
    guest_store32(ring + 3072, round)
    guest_notify(UInt32(CHAOS_PORT_CONSOLE))
  }

  /// Ready and not ready, everything acknowledged and nothing: each is news to dom0.
  private func toggle(_ round: UInt32) {
    let page = UInt(CHAOS_POWERCTL_GFN) << 12
    guest_store32(page + UInt(CHAOS_POWERCTL_STATUS), round & 1 == 0 ? .max : 0)
    guest_store32(page + UInt(CHAOS_POWERCTL_ACKNOWLEDGED), round & 1 == 0 ? .max : 0)
    guest_store32(page + UInt(CHAOS_POWERCTL_GENERATION_SEEN), round)
    guest_notify(UInt32(CHAOS_PORT_POWERCTL))
  }
}
