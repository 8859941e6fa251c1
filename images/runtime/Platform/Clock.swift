import CGuest

/// Time, in nanoseconds. Neither clock jumps when the guest moves to another host.
enum Clock {
  /// Since some moment before the guest started.
  static var now: UInt64 { guest_system_time() &+ DevicePageReader.clockOffset }

  /// Since 1970-01-01T00:00:00Z.
  static var wallClock: UInt64 { guest_wall_clock_base() &+ now }
}
