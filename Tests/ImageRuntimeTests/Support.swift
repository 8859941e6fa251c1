import Testing

@testable import ImageProtocols

/// Memory for a parser to work on, with bytes after it that must stay as they are. It is never given back:
/// what a parser returns may point into it.
struct Memory {
  private static let guardLength = 64
  private let storage: UnsafeMutableRawBufferPointer
  let count: Int

  init(_ contents: [UInt8], capacity: Int? = nil) {
    count = max(capacity ?? contents.count, contents.count)
    storage = .allocate(byteCount: count + Self.guardLength, alignment: 16)
    storage.initializeMemory(as: UInt8.self, repeating: 0xa5)
    storage.copyBytes(from: contents)
  }

  var bytes: Bytes { Bytes(start: storage.baseAddress!, count: count) }
  var isGuardIntact: Bool { storage[count...].allSatisfy { $0 == 0xa5 } }

  func prefix(_ length: Int) -> [UInt8] { Array(storage[0..<length]) }
}

/// Answers what it is told to: the payload itself on port 7, a fixed text on port 13.
struct EchoService: DatagramService {
  var ports: [UInt16] = []

  mutating func answer(_ payload: Bytes, length: Int, port: UInt16) -> Int? {
    ports.append(port)
    switch port {
    case 7: return length
    case 13: return Daytime.write(0, into: payload)
    default: return nil
    }
  }
}

/// Bytes from a dump: hexadecimal digits, spaced and broken as is best to read.
func dump(_ text: String) -> [UInt8] {
  let digits = text.compactMap(\.hexDigitValue)
  return stride(from: 0, to: digits.count - 1, by: 2).map {
    UInt8(digits[$0] << 4 | digits[$0 + 1])
  }
}

let guest = HostAddresses(
  mac: MACAddress(value: 0x02ca_fe00_0005), mtu: 1500,
  ipv4: IPv4Address(value: 0x0a07_0002),
  ipv6: IPv6Address(high: 0xfd00_0000_0000_0000, low: 2))

/// What a guest with `host`'s addresses answers to a frame; nil: nothing.
func answer(
  _ frame: [UInt8], as host: HostAddresses = guest, vouched: Bool = false
) -> [UInt8]? {
  let memory = Memory(frame, capacity: 2036)
  var service = EchoService()
  let length = Ethernet.answer(
    memory.bytes, length: frame.count, checksumVouched: vouched, as: host, service: &service)
  #expect(memory.isGuardIntact)
  return length.map(memory.prefix)
}

extension [UInt8] {
  /// The bytes with those from `offset` on replaced.
  func with(_ offset: Int, _ replacement: UInt8...) -> [UInt8] {
    var copy = self
    copy.replaceSubrange(offset..<(offset + replacement.count), with: replacement)
    return copy
  }

  /// An IPv4 frame with its header checksum put right.
  var withHeaderChecksum: [UInt8] {
    let memory = Memory(with(24, 0, 0))
    let length = Int(self[14] & 15) * 4
    memory.bytes.setBig16(24, Checksum.finish(memory.bytes.internetSum(from: 14, length: length)))
    return memory.prefix(count)
  }
}

/// Repeatable noise.
struct Noise: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
