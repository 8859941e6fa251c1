import CDevicePage
import CGuest

/// A unikernel: its name, and what it does when the network or the console has something for it.
///
/// Mark the type `@main`. `DatagramService.answer` is called for every valid UDP datagram to one of the
/// guest's addresses; ARP, neighbour discovery and echo requests are answered by the runtime.
protocol Unikernel: DatagramService {
  static var name: StaticString { get }
  /// Whether vifs are driven. A constant, so that an image without network carries no driver.
  static var usesNetwork: Bool { get }
  init()
  /// A character was typed on the console.
  mutating func typed(_ character: UInt8, status: GuestStatus, console: inout Console)
}

extension Unikernel {
  static var usesNetwork: Bool { true }
  mutating func answer(_ payload: Bytes, length: Int, port: UInt16) -> Int? { nil }
  mutating func typed(_ character: UInt8, status: GuestStatus, console: inout Console) {}

  static func main() {
    guard guest_enter_xen() else {
      var serial = SerialPort()
      serial.write(name)
      serial.write(": this image runs on Xen, and there is no Xen here\r\n")
      guest_halt()
    }
    Guest(image: Self()).run()
  }
}

/// What a unikernel can ask about the guest it is.
struct GuestStatus {
  /// As the device page has it.
  let name: Bytes
  let uptimeNanoseconds: UInt64
  let packetsIn: UInt64
  let packetsOut: UInt64
}
