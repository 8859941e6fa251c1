import CNetlink
import Glibc
import StateFiles

/// The `filter` table of iptables or ip6tables in their older guise, as the kernel hands it out
/// (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h, linux/netfilter/x_tables.h).
struct LegacyTable: Hashable {
  /// FORWARD drops what none of its rules decides about.
  let dropsForwarded: Bool
  /// A rule of FORWARD asks by which port of a bridge a packet came or goes (`physdev`).
  let looksAtBridgePorts: Bool

  /// Whoever looks at bridge ports in FORWARD was told of bridged packets there.
  var dropsBridged: Bool { dropsForwarded && !looksAtBridgePorts }
}

// MARK: - Reading

extension LegacyTable {
  /// `struct ipt_getinfo`, of which `struct ip6t_getinfo` is a copy.
  enum Info {
    static let size = 84
    /// `hook_entry[NF_INET_FORWARD]`: where the rules of FORWARD begin.
    static let start = 36 + 4 * 2
    /// `underflow[NF_INET_FORWARD]`: where its policy is, behind its rules.
    static let policy = 56 + 4 * 2
    static let entriesSize = 80
  }

  /// `struct ipt_get_entries` without the entries: a name and their size.
  static let entriesHeaderSize = 40

  /// `struct xt_entry_match` and `struct xt_entry_target` alike: size, name, revision.
  private static let extensionHeaderSize = 32

  /// Reads a table; nil for bytes that are none. Reading is total: no bytes trap.
  ///
  /// - Parameters:
  ///   - info: what IPT_SO_GET_INFO gave.
  ///   - entries: what IPT_SO_GET_ENTRIES gave, behind its header.
  init?(info: [UInt8], entries: [UInt8], isIPv6: Bool) {
    let info = info.span.bytes
    guard let start: UInt32 = info.integer(at: Info.start), let policy: UInt32 = info.integer(at: Info.policy)
    else {
      return nil
    }
    let entries = entries.span.bytes
    var looksAtBridgePorts = false
    var offset = Int(start)
    while offset < Int(policy) {
      guard let entry = Entry(in: entries, at: offset, isIPv6: isIPv6) else { return nil }
      looksAtBridgePorts = looksAtBridgePorts || entry.matches("physdev", in: entries)
      offset = entry.end
    }
    guard offset == Int(policy), let last = Entry(in: entries, at: offset, isIPv6: isIPv6),
      let verdict: Int32 = entries.integer(at: last.target + Self.extensionHeaderSize)
    else { return nil }
    // A verdict is written as -1 - NF_*, and NF_DROP is 0.
    self.init(dropsForwarded: verdict == -1, looksAtBridgePorts: looksAtBridgePorts)
  }

  /// `struct ipt_entry` or `struct ip6t_entry`: what addresses it is for, matches, target.
  private struct Entry {
    let firstMatch: Int
    let target: Int
    let end: Int

    /// Nil when it does not lie within the entries, with its parts in order.
    init?(in entries: RawSpan, at offset: Int, isIPv6: Bool) {
      let headerSize = isIPv6 ? 168 : 112
      // Behind the addresses (`struct ipt_ip`, `struct ip6t_ip6`) and a word.
      let offsets = offset + (isIPv6 ? 136 : 84) + 4
      guard let targetOffset: UInt16 = entries.integer(at: offsets),
        let length: UInt16 = entries.integer(at: offsets + 2),
        targetOffset >= headerSize, length >= targetOffset, offset + Int(length) <= entries.byteCount
      else { return nil }
      firstMatch = offset + headerSize
      target = offset + Int(targetOffset)
      end = offset + Int(length)
    }

    func matches(_ name: StaticString, in entries: RawSpan) -> Bool {
      var offset = firstMatch
      while offset + extensionHeaderSize <= target {
        guard let size: UInt16 = entries.integer(at: offset), size >= extensionHeaderSize else { return false }
        let found = entries.extracting((offset + 2)..<(offset + extensionHeaderSize)).copied.prefix { $0 != 0 }
        if found.elementsEqual(name.withUTF8Buffer(Array.init)) { return true }
        offset += Int(size)
      }
      return false
    }
  }
}

// MARK: - Asking

extension LegacyTable {
  /// IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
  private static let getInfo: CInt = 64
  /// IPT_SO_GET_ENTRIES and IP6T_SO_GET_ENTRIES.
  private static let getEntries: CInt = 65
  private static let mostAttempts = 8

  /// The calling thread's network namespace's table; nil where it has none. Asking for one that is not there would make
  /// it, and load its module.
  ///
  /// - Throws: `NetlinkError.call`.
  static func filter(isIPv6: Bool) throws(NetlinkError) -> LegacyTable? {
    let names = KernelFile.text("/proc/thread-self/net/\(isIPv6 ? "ip6" : "ip")_tables_names")
    guard names?.split(separator: "\n").contains("filter") == true else { return nil }
    func failed(_ call: String, _ code: CInt) -> NetlinkError {
      .call(call, operation: "read", subject: isIPv6 ? "ip6tables' filter" : "iptables' filter", code: code)
    }
    let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw failed("socket", errno) }
    let socket = Descriptor(owning: descriptor)

    let name = Array("filter".utf8)
    for _ in 0..<mostAttempts {
      var info = name + [UInt8](repeating: 0, count: Info.size - name.count)
      guard socket.ask(isIPv6, getInfo, &info) == 0 else { throw failed("getsockopt", errno) }
      guard let size: UInt32 = info.span.bytes.integer(at: Info.entriesSize) else { return nil }
      var entries = name + [UInt8](repeating: 0, count: entriesHeaderSize + Int(size) - name.count)
      entries.overwrite(at: 32, with: size)
      if socket.ask(isIPv6, getEntries, &entries) == 0 {
        return LegacyTable(info: info, entries: Array(entries[entriesHeaderSize...]), isIPv6: isIPv6)
      }
      // The table was replaced by one of another size in between.
      guard errno == EAGAIN else { throw failed("getsockopt", errno) }
    }
    throw .changing(operation: "read filter", attempts: mostAttempts)
  }
}

extension Descriptor {
  /// Reads a socket option that is as long as the bytes, which say what is asked for; the result is `getsockopt`'s.
  fileprivate borrowing func ask(_ isIPv6: Bool, _ option: CInt, _ bytes: inout [UInt8]) -> CInt {
    var size = socklen_t(bytes.count)
    return getsockopt(rawValue, CInt(isIPv6 ? IPPROTO_IPV6 : IPPROTO_IP), option, &bytes, &size)
  }
}
