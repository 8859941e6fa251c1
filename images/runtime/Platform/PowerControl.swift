import CDevicePage
import CGuest

/// The powerctl page: what dom0 asks of the guest, and what the guest says of itself.
///
/// `acknowledged` mirrors `requests`: a bit is set once its request was taken up and cleared once dom0 has
/// withdrawn the request, so dom0 may ask again when it sees the bit clear.
struct PowerControl {
  struct Requests: OptionSet {
    let rawValue: UInt32

    static var powerOff: Requests { Requests(rawValue: UInt32(CHAOS_REQUEST_POWEROFF)) }
    static var reboot: Requests { Requests(rawValue: UInt32(CHAOS_REQUEST_REBOOT)) }
    static var resetVifs: Requests { Requests(rawValue: UInt32(CHAOS_REQUEST_RESET_VIFS)) }
  }

  /// The device page's generation that this guest last read.
  var generationSeen: UInt32 = 0
  /// Requests already taken up and not withdrawn since.
  private var acknowledged: UInt32 = 0

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

  var vifsToReset: UInt32 { guest_load32(Self.address(CHAOS_POWERCTL_RESET_VIFS)) }

  func announceReady() {
    guest_store32(Self.address(CHAOS_POWERCTL_GENERATION_SEEN), generationSeen)
    guest_compiler_barrier()
    guest_store32(Self.address(CHAOS_POWERCTL_STATUS), UInt32(CHAOS_STATUS_READY))
    guest_notify(UInt32(CHAOS_PORT_POWERCTL))
  }

  func reportReset(_ vifs: UInt32) {
    guest_store32(Self.address(CHAOS_POWERCTL_RESET_VIFS_DONE), vifs)
  }

  mutating func acknowledge(_ taken: Requests) {
    let standing = guest_load32(Self.address(CHAOS_POWERCTL_REQUESTS))
    acknowledged = (acknowledged | taken.rawValue) & standing
    guest_compiler_barrier()
    guest_store32(Self.address(CHAOS_POWERCTL_GENERATION_SEEN), generationSeen)
    guest_store32(Self.address(CHAOS_POWERCTL_ACKNOWLEDGED), acknowledged)
    guest_notify(UInt32(CHAOS_PORT_POWERCTL))
  }
}
