import CDevicePage
import CGuest

/// The powerctl page: what dom0 asks of the guest, and what the guest says of itself.
///
/// What the guest reports mirrors what dom0 asks: a bit of `acknowledged` or `resetVifsDone` is set once it
/// was taken up and cleared once dom0 has withdrawn it. dom0 may ask again when it sees the bit clear.
struct PowerControl {
  struct Requests: OptionSet {
    let rawValue: UInt32

    static var powerOff: Requests { Requests(rawValue: UInt32(CHAOS_REQUEST_POWEROFF)) }
    static var reboot: Requests { Requests(rawValue: UInt32(CHAOS_REQUEST_REBOOT)) }
  }

  /// The device page's generation that this guest last read.
  var generationSeen: UInt32 = 0
  /// Requests already taken up and not withdrawn since.
  private var acknowledged: UInt32 = 0
  /// Vifs already reset on a request that stands.
  private var resetVifsDone: UInt32 = 0

  private static func address(_ offset: Int32) -> UInt {
    UInt(CHAOS_POWERCTL_GFN) << 12 + UInt(offset)
  }

  /// Requests that are new.
  var requests: Requests {
    Requests(
      rawValue: guest_load32(Self.address(CHAOS_POWERCTL_REQUESTS)) & ~acknowledged)
  }

  /// A comparison, not a request bit: no change is lost, however often dom0 asks.
  var generationChanged: Bool { DevicePageReader.generation != generationSeen }

  /// Vifs that dom0 asks to reset and that were not yet, by bit. They count as reset from now on.
  mutating func takeVifsToReset() -> UInt32 {
    let isAsked =
      guest_load32(Self.address(CHAOS_POWERCTL_REQUESTS))
      & UInt32(CHAOS_REQUEST_RESET_VIFS) != 0
    let asked = isAsked ? guest_load32(Self.address(CHAOS_POWERCTL_RESET_VIFS)) : 0
    let new = asked & ~resetVifsDone
    resetVifsDone = asked
    return new
  }

  func announceReady() {
    guest_store32(Self.address(CHAOS_POWERCTL_GENERATION_SEEN), generationSeen)
    guest_compiler_barrier()
    guest_store32(Self.address(CHAOS_POWERCTL_STATUS), UInt32(CHAOS_STATUS_READY))
    guest_notify(UInt32(CHAOS_PORT_POWERCTL))
  }

  mutating func acknowledge(_ taken: Requests) {
    let standing = guest_load32(Self.address(CHAOS_POWERCTL_REQUESTS))
    acknowledged = (acknowledged | taken.rawValue) & standing
    guest_compiler_barrier()
    guest_store32(Self.address(CHAOS_POWERCTL_GENERATION_SEEN), generationSeen)
    guest_store32(Self.address(CHAOS_POWERCTL_RESET_VIFS_DONE), resetVifsDone)
    guest_store32(Self.address(CHAOS_POWERCTL_ACKNOWLEDGED), acknowledged)
    guest_notify(UInt32(CHAOS_PORT_POWERCTL))
  }
}
