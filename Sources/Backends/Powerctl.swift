import CDevicePage

/// Dom0's end of the powerctl page (docs/device-page.md): dom0 writes the first 64 bytes, the guest the next.
enum Powerctl {
  /// What the guest says of itself. Any bits may be set; only known ones mean anything.
  struct GuestState: Equatable {
    var status: UInt32
    var acknowledged: UInt32
  }

  /// - Parameter base: the powerctl page's offset in `page`.
  static func read(_ page: borrowing some ConsolePage & ~Copyable, base: Int) -> GuestState {
    GuestState(
      status: page.word(base + Int(CHAOS_POWERCTL_STATUS)),
      acknowledged: page.word(base + Int(CHAOS_POWERCTL_ACKNOWLEDGED)))
  }

  /// Adds request bits to those already set.
  static func request(_ bits: UInt32, _ page: borrowing some ConsolePage & ~Copyable, base: Int) {
    let offset = base + Int(CHAOS_POWERCTL_REQUESTS)
    page.setWord(page.word(offset) | bits, offset)
  }
}
