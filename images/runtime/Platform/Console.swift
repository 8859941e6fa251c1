import CDevicePage
import CGuest

/// The guest's console: Xen's ring in a page shared with dom0.
struct Console: TextOutput {
  private let ring: UInt
  private let port: UInt32
  /// The ring was found full and nobody made room: output is dropped until the next flush.
  private var isStuck = false

  /// At the place and port that the ABI gives it.
  static var shared: Console {
    Console(ring: UInt(CHAOS_CONSOLE_GFN) << 12, port: UInt32(CHAOS_PORT_CONSOLE))
  }

  /// Where Xen's parameters say it is: for a guest that found no device page.
  static var named: Console {
    let frame = guest_console_frame_parameter()
    return frame == 0
      ? shared : Console(ring: UInt(frame) << 12, port: guest_console_port_parameter())
  }

  private init(ring: UInt, port: UInt32) {
    self.ring = ring
    self.port = port
  }

  /// Never waits for a reader: one chance to make room, then the rest of the line is lost.
  @inline(never)  // it is called once for every character that is written anywhere
  mutating func put(_ byte: UInt8) {
    if isStuck || guest_console_put(ring, byte) { return }
    guest_notify(port)
    guest_yield()
    isStuck = !guest_console_put(ring, byte)
  }

  /// Tells dom0 that there is something to read.
  mutating func flush() {
    isStuck = false
    guest_notify(port)
  }

  /// The next typed character.
  func next() -> UInt8? {
    let character = guest_console_get(ring)
    return character < 0 ? nil : UInt8(truncatingIfNeeded: character)
  }
}

/// For an image that was started without Xen.
struct SerialPort: TextOutput {
  func put(_ byte: UInt8) { guest_serial_put(byte) }
}

/// A trap ended Swift code, or the processor met something it could not do. Called from Boot.S.
@c(guest_trapped)
func trapped(at instruction: UInt) -> Never {
  var console = Console.shared
  console.write("trap at ")
  console.writeHexadecimal(UInt64(instruction))
  console.write("\r\n")
  console.flush()
  guest_crash()
}
