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

  /// Asks the guest to start a vif's queues anew.
  static func requestReset(ofVif slot: Int, _ page: borrowing some ConsolePage & ~Copyable, base: Int) {
    let offset = base + Int(CHAOS_POWERCTL_RESET_VIFS)
    page.setWord(page.word(offset) | 1 << UInt32(slot), offset)
    request(UInt32(CHAOS_REQUEST_RESET_VIFS), page, base: base)
  }

  /// Withdraws the request for resets once the guest did them all, so that it can be made again.
  ///
  /// - Returns: whether it was.
  static func withdrawResetsDone(_ page: borrowing some ConsolePage & ~Copyable, base: Int) -> Bool {
    let requests = page.word(base + Int(CHAOS_POWERCTL_REQUESTS))
    let asked = page.word(base + Int(CHAOS_POWERCTL_RESET_VIFS))
    let done = page.word(base + Int(CHAOS_POWERCTL_RESET_VIFS_DONE))
    guard requests & UInt32(CHAOS_REQUEST_RESET_VIFS) != 0, asked & ~done == 0 else { return false }
    page.setWord(requests & ~UInt32(CHAOS_REQUEST_RESET_VIFS), base + Int(CHAOS_POWERCTL_REQUESTS))
    page.setWord(0, base + Int(CHAOS_POWERCTL_RESET_VIFS))
    return true
  }
}
