import CDevicePage
import CHostile

/// Where the toolstack put something of its own into the guest's memory.
enum Place: Int {
  case startInfo, devicePage, powerControl, sharedInfo, grantTable, rings, buffers, nextWindow, console, all

  static var names: InlineArray<10, StaticString> {
    [
      "start-info", "device-page", "powerctl", "shared-info", "grant-table", "rings", "buffers", "next-window",
      "console", "all",
    ]
  }

  /// Frames of one place; of the window of vif 0 as the smallest window is laid out.
  private var frames: Range<UInt64> {
    let window = UInt64(CHAOS_VIF_WINDOW_GFN)
    let smallest: UInt64 = 16
    return switch self {
    case .startInfo: Self.one(CHAOS_START_INFO_GFN)
    case .devicePage: Self.one(CHAOS_DEVICE_PAGE_GFN)
    case .powerControl: Self.one(CHAOS_POWERCTL_GFN)
    case .sharedInfo: Self.one(CHAOS_SHARED_INFO_GFN)
    case .grantTable: Self.one(CHAOS_GRANT_TABLE_GFN)
    case .rings: window..<window + 4
    case .buffers: window + 4..<window + smallest
    case .nextWindow: window + UInt64(CHAOS_VIF_WINDOW_STRIDE)..<window + UInt64(CHAOS_VIF_WINDOW_STRIDE) + smallest
    case .console: Self.one(CHAOS_CONSOLE_GFN)
    case .all: 0..<0
    }
  }

  private static func one(_ frame: Int32) -> Range<UInt64> { UInt64(frame)..<UInt64(frame) + 1 }

  /// Every frame of the place. The console comes last of all places.
  func forEachFrame(_ body: (UInt64) -> Void) {
    guard self == .all else {
      for frame in frames { body(frame) }
      return
    }
    for number in 0..<Place.all.rawValue {
      Place(rawValue: number).unsafelyUnwrapped.forEachFrame(body)
    }
  }
}

/// What is done to frames that dom0 has mapped, or will map again.
enum FrameAttack: Int {
  /// A frame of the guest's RAM takes their place.
  case remap
  /// They go back to Xen, and fresh ones come.
  case replace
  /// They go back to Xen.
  case giveAway
  /// Noise is written to them without end.
  case scribble

  static var names: InlineArray<4, StaticString> { ["remap", "replace", "give-away", "scribble"] }

  func carryOut(on place: Place) -> Never {
    var spare = UInt64(guest_heap_end()) >> 12
    var frames: UInt64 = 0
    var done: UInt64 = 0
    if self != .scribble {
      place.forEachFrame { frame in
        frames += 1
        if takeAway(frame, spare: &spare) { done += 1 }
      }
      tell(done, of: frames)
      Attack.rest()
    }
    // Nobody hears this where the console itself is scribbled on.
    tell(0, of: 0)
    scribble(on: place)
  }

  private func takeAway(_ frame: UInt64, spare: inout UInt64) -> Bool {
    switch self {
    case .remap:
      spare -= 1
      return hostile_move_frame(spare, frame)
    case .replace:
      // What dom0 has mapped stays the guest's until it lets go: to get a frame, one that nobody has mapped must go.
      spare -= 1
      _ = hostile_give_frame(spare)
      _ = hostile_give_frame(frame)
      return hostile_take_frame(frame)
    case .giveAway, .scribble:
      return hostile_give_frame(frame)
    }
  }

  private func scribble(on place: Place) -> Never {
    var noise = Noise(seed: 1)
    while true {
      place.forEachFrame { frame in
        let start = UInt(frame) << 12
        for offset in stride(from: UInt(0), to: 4096, by: 4) {
          guest_store32(start + offset, UInt32(truncatingIfNeeded: noise.next()))
        }
      }
      for port in 0..<UInt32(CHAOS_PORT_VIF0) + 2 { guest_notify(port) }
      Attack.pause(milliseconds: 20)
    }
  }

  private func tell(_ done: UInt64, of frames: UInt64) {
    var console = Console.shared
    console.write("hostile: ")
    console.write(Self.names[rawValue])
    console.write(" did ")
    console.writeDecimal(done)
    console.write(" of ")
    console.writeDecimal(frames)
    console.write("\r\n")
    console.flush()
  }
}
