import Glibc

@testable import Backends

/// A guest's console and powerctl pages in memory.
final class MemoryPage: ConsolePage {
  var bytes: [UInt8]

  init(pages: Int = 1) { bytes = [UInt8](repeating: 0, count: 4096 * pages) }

  func word(_ offset: Int) -> UInt32 {
    precondition(offset % 4 == 0)
    return bytes[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  func setWord(_ value: UInt32, _ offset: Int) {
    precondition(offset % 4 == 0)
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
  }

  func byte(_ offset: Int) -> UInt8 { bytes[offset] }
  func setByte(_ value: UInt8, _ offset: Int) { bytes[offset] = value }
}

/// A folder of the test's own, removed with everything in it.
final class TemporaryFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/chaos-backends.XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&template)!)
  }

  deinit {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) {
          String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        unlink("\(path)/\(name)")
      }
      closedir(directory)
    }
    rmdir(path)
  }
}

/// The ends of a connection.
struct Ends: ~Copyable {
  let one: Descriptor
  let other: Descriptor

  /// A connected pair of unix sockets.
  static func sockets(_ type: __socket_type) -> Ends {
    var ends: [Int32] = [-1, -1]
    precondition(socketpair(AF_UNIX, Int32(type.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    return Ends(one: Descriptor(adopting: ends[0]), other: Descriptor(adopting: ends[1]))
  }
}

/// Everything that can be read now, without waiting.
func readable(_ descriptor: Int32) -> [UInt8] {
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    guard count > 0 else { return bytes }
    bytes += buffer.prefix(count)
  }
}

/// Whether the other end of a connection is closed for good: nobody holds a copy of it. Waits a while for that, because
/// a process that another test is just starting may have copies until it runs its program.
func hangsUp(_ descriptor: Int32) -> Bool {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  return poll(&entry, 1, 2000) == 1 && entry.revents & Int16(POLLHUP) != 0
}

/// Repeatable noise (splitmix64).
struct Noise: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
