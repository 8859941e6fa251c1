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
  /// Bytes of each buffer of a vif's window, whose number is what fits. A constant; the largest frame has 12 less.
  static var bufferSize: Int { get }
  /// Whether the image sends of its own accord: then `act` is called. A constant.
  static var originates: Bool { get }
  init()
  /// Called once, before any vif is taken up.
  mutating func prepare(_ commandLine: Bytes)
  /// Whether the guest tells a network of its addresses when it comes up there.
  var announces: Bool { get }
  /// A frame that came, before the runtime answers it. It is anybody's, untrusted, and not to be changed.
  mutating func observe(_ frame: Bytes, checksumVouched: Bool, as host: HostAddresses)
  /// Called whenever the guest has woken up and served what there was.
  ///
  /// - Returns: when it is to be called next if nothing happens till then, on `Clock`; nil: then not at all.
  mutating func act(at now: UInt64, network: inout Network, console: inout Console) -> UInt64?
  /// A character was typed on the console.
  mutating func typed(_ character: UInt8, status: GuestStatus, console: inout Console)
}

extension Unikernel {
  static var usesNetwork: Bool { true }
  static var bufferSize: Int { 2048 }
  static var originates: Bool { false }
  mutating func prepare(_ commandLine: Bytes) {}
  var announces: Bool { true }
  mutating func observe(_ frame: Bytes, checksumVouched: Bool, as host: HostAddresses) {}
  mutating func act(at now: UInt64, network: inout Network, console: inout Console) -> UInt64? { nil }
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
