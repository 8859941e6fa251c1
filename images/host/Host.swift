/// A host on the network: answers ping, echoes datagrams (port 7) and tells the time (port 13, RFC 867).
@main
struct Host: Unikernel {
  static var name: StaticString { "host" }

  private static var echo: UInt16 { 7 }
  private static var daytime: UInt16 { 13 }

  mutating func answer(_ payload: Bytes, length: Int, port: UInt16) -> Int? {
    switch port {
    case Self.echo: length
    case Self.daytime: Daytime.write(Clock.wallClock / 1_000_000_000, into: payload)
    default: nil
    }
  }

  /// Typing shows that the guest is alive: characters come back, and a line is answered with its status.
  mutating func typed(_ character: UInt8, status: GuestStatus, console: inout Console) {
    guard character == UInt8(ascii: "\r") || character == UInt8(ascii: "\n") else {
      console.put(character)
      return
    }
    console.write("\r\nhost: ")
    console.write(status.name)
    console.write(" up ")
    console.writeDecimal(status.uptimeNanoseconds / 1_000_000_000)
    console.write(" s, ")
    console.writeDecimal(status.packetsIn)
    console.write(" packets in, ")
    console.writeDecimal(status.packetsOut)
    console.write(" packets out\r\n")
  }
}
