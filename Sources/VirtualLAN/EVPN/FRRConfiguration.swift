import NetworkAddresses

/// The text of FRR's configuration (`/etc/frr/frr.conf`) with, perhaps, chaos's block in it.
///
/// What stands outside the block is its user's and stays as it is, byte for byte. One thing counts as chaos's
/// wherever it stands, the peer group `CHAOS`: FRR's own `write memory` writes the file anew, without comments, so
/// that block and user's lines become one.
struct FRRConfiguration: Hashable, Sendable {
  let bytes: [UInt8]
  /// The block with its marks; nil when there is none.
  private let block: Range<Int>?
  private let facts: Facts

  static let peerGroup = "CHAOS"
  private static let beginMark = "! chaos begin"
  private static let endMark = "! chaos end"
  private static let beginLine =
    "\(beginMark): what follows is replaced by 'chaos lan evpn enable' and removed by 'chaos lan evpn disable'"
  /// For a text that did not end its last line: what must not stay when the block goes is said by the mark.
  private static let addedNewline = "(and so is the end of the line above)"

  /// FRR makes no more than 100 neighbours of those that connect, unless told (BGP_DYNAMIC_NEIGHBORS_LIMIT_DEFAULT in
  /// bgpd/bgpd.h); this is its largest number.
  private static let neighborLimit = 65535

  /// Without these zebra does not take the default route for a way to a neighbour or a VTEP, unless its defaults are
  /// the traditional ones: with `frr defaults datacenter`, announcements of hosts behind a gateway would never be
  /// used. All else in the block is bgpd's.
  static let nextHopTracking = ["ip nht resolve-via-default", "ipv6 nht resolve-via-default"]

  /// Reads a text, of which any bytes will do.
  ///
  /// - Throws: `EVPNError` of the kind `conflict` when the block's marks do not come as one pair.
  init(_ bytes: [UInt8]) throws(EVPNError) {
    let lines = FRRLine.lines(of: bytes)
    self.bytes = bytes
    let marked = try Self.findBlock(in: lines)
    block = marked.map { lines[$0.lowerBound].range.lowerBound..<lines[$0.upperBound].range.upperBound }
    facts = Facts(lines, block: block)
  }

  init(_ text: String) throws(EVPNError) { try self.init(Array(text.utf8)) }

  /// The positions of the lines with the marks.
  private static func findBlock(in lines: [FRRLine]) throws(EVPNError) -> ClosedRange<Int>? {
    let begins = lines.indices.filter { lines[$0].comment?.hasPrefix(beginMark) == true }
    let ends = lines.indices.filter { lines[$0].comment?.hasPrefix(endMark) == true }
    if begins.isEmpty && ends.isEmpty { return nil }
    if begins.count == 1 && ends.count == 1 && begins[0] < ends[0] { return begins[0]...ends[0] }
    let numbers = (begins + ends).sorted().map { String(lines[$0].number) }.joined(separator: ", ")
    throw EVPNError(
      .conflict,
      "frr.conf: '\(beginMark)' and '\(endMark)' do not come as one pair (line \(numbers)): remove what is left of them"
    )
  }

  /// What the text asks of EVPN through the peer group `CHAOS`; nil when it does not.
  var settings: EVPNSettings? {
    guard let asNumber = facts.asNumber else { return nil }
    if facts.isReflector {
      return try? EVPNSettings(asNumber: asNumber, role: .reflector(listen: facts.ranges))
    }
    return try? EVPNSettings(asNumber: asNumber, role: .client(neighbors: facts.neighbors))
  }
}

// MARK: - Facts

extension FRRConfiguration {
  /// What the lines say that matters here.
  private struct Facts: Hashable {
    /// Of the peer group.
    var asNumber: UInt32?
    var neighbors: [IPAddress] = []
    var ranges: [IPInterface] = []
    var isReflector = false
    /// The lines outside the block that speak of the peer group.
    var stray: [Range<Int>] = []

    /// What the user has of his own.
    var userInstances: [UserInstance] = []
    var userHasRouterID = false
    var userHasNeighborLimit = false
    var userAnnounces = false
    /// Of `nextHopTracking`, what the user decided one way or the other.
    var userNextHopTracking: Set<String> = []
    /// What is in force unless said otherwise (`frr defaults`).
    var hasTraditionalDefaults = true
    /// A line in a `router bgp` section that chaos never writes.
    var hasForeignLine = false
    /// What the block has besides its peer group.
    var routerID: String?
    var hasNeighborLimit = false
    var announces = false

    struct UserInstance: Hashable {
      let asNumber: UInt32?
      let isDefault: Bool
      let line: Int
    }

    init(_ lines: [FRRLine], block: Range<Int>?) {
      var context = FRRContext()
      for line in lines {
        context.enter(line)
        guard !line.words.isEmpty else { continue }
        let isOurs = block?.contains(line.range.lowerBound) == true
        if context.instance?.isDefault == true, takePeerGroup(line, context) {
          if !isOurs { stray.append(line.range) }
        } else if isOurs {
          takeOurs(line.words)
        } else {
          takeUsers(line, context)
        }
      }
    }

    /// Whether the line is about the peer group.
    private mutating func takePeerGroup(_ line: FRRLine, _ context: FRRContext) -> Bool {
      let group = FRRConfiguration.peerGroup
      let words = line.words
      if words.starts(with: ["neighbor", group]) || words.starts(with: ["no", "neighbor", group]) {
        if words.dropFirst(2) == ["peer-group"] { asNumber = context.instance?.asNumber }
        if words.dropFirst(2) == ["route-reflector-client"], context.isEVPN { isReflector = true }
        return true
      }
      if words.count == 4, words[0] == "neighbor", words[2...] == ["peer-group", group] {
        if let address = IPAddress(words[1]) { neighbors.append(address) }
        return true
      }
      if words.count == 6, words[..<3] == ["bgp", "listen", "range"], words[4...] == ["peer-group", group] {
        if let range = IPInterface(words[3]) { ranges.append(range) }
        return true
      }
      return false
    }

    private mutating func takeOurs(_ words: [String]) {
      if words.starts(with: ["bgp", "router-id"]) { routerID = words.last }
      if words.starts(with: ["bgp", "listen", "limit"]) { hasNeighborLimit = true }
      if words == ["advertise-all-vni"] { announces = true }
    }

    private mutating func takeUsers(_ line: FRRLine, _ context: FRRContext) {
      let words = line.words
      guard let instance = context.instance else {
        let tracking = words.drop { $0 == "no" }.joined(separator: " ")
        if FRRConfiguration.nextHopTracking.contains(tracking) { userNextHopTracking.insert(tracking) }
        if words.starts(with: ["frr", "defaults"]) { hasTraditionalDefaults = words.last == "traditional" }
        if words[0] == "router-id" || words.starts(with: ["ip", "router-id"]) { userHasRouterID = true }
        return
      }
      if words[0] == "router" {
        userInstances.append(
          UserInstance(asNumber: instance.asNumber, isDefault: instance.isDefault, line: instance.line))
      }
      guard instance.isDefault else { return }
      if words.starts(with: ["bgp", "router-id"]) {
        userHasRouterID = true
      } else if words.starts(with: ["bgp", "listen", "limit"]) {
        userHasNeighborLimit = true
      } else if words == ["advertise-all-vni"] {
        userAnnounces = true
      } else if !["router", "address-family", "exit-address-family", "exit"].contains(words[0]) {
        hasForeignLine = true
      }
    }
  }
}

// MARK: - The block

extension FRRConfiguration {
  /// The text with a block for these settings at its end, instead of the block it has.
  ///
  /// - Throws: `EVPNError` of the kind `conflict` that names both numbers when the user's BGP is in another AS.
  func replacingBlock(
    with settings: EVPNSettings, routerID: IPv4Address
  ) throws(EVPNError) -> FRRConfiguration {
    try refuseOtherAS(than: settings.asNumber)
    var bytes = withoutBlock
    var begin = Self.beginLine
    if let last = bytes.last, last != UInt8(ascii: "\n") {
      bytes.append(UInt8(ascii: "\n"))
      begin += " \(Self.addedNewline)"
    }
    for line in [begin] + blockLines(settings, routerID: routerID) + [Self.endMark] {
      bytes += Array("\(line)\n".utf8)
    }
    return try FRRConfiguration(bytes)
  }

  /// The text as its user wrote it.
  func removingBlock() throws(EVPNError) -> FRRConfiguration { try FRRConfiguration(withoutBlock) }

  private func refuseOtherAS(than asNumber: UInt32) throws(EVPNError) {
    for instance in facts.userInstances where instance.isDefault {
      guard let other = instance.asNumber, other != asNumber else { continue }
      throw EVPNError(
        .conflict,
        "as: this host's BGP is in AS \(other) ('router bgp \(other)' in line \(instance.line) of frr.conf) "
          + "and cannot be in AS \(asNumber) too: '\(asNumber)'", field: "as")
    }
  }

  private var withoutBlock: [UInt8] {
    var gone = facts.stray
    if let block {
      let text = String(decoding: bytes[block].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
      // What was written behind the block since would otherwise end up on the line above it.
      let endsLineAbove = text.contains(Self.addedNewline) && block.upperBound == bytes.count
      gone.append(block.lowerBound - (endsLineAbove && block.lowerBound > 0 ? 1 : 0)..<block.upperBound)
    }
    var rest: [UInt8] = []
    var start = 0
    for range in gone.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      rest += bytes[start..<max(start, range.lowerBound)]
      start = max(start, range.upperBound)
    }
    return rest + bytes[start...]
  }

  /// FRR merges it with a `router bgp` section of the user's. What the user said there is not said again.
  private func blockLines(_ settings: EVPNSettings, routerID: IPv4Address) -> [String] {
    let group = "neighbor \(Self.peerGroup)"
    var lines = Self.nextHopTracking.filter { !facts.userNextHopTracking.contains($0) }
    lines.append("router bgp \(settings.asNumber)")
    if !facts.userHasRouterID { lines.append(" bgp router-id \(routerID)") }
    if settings.isReflector && !facts.userHasNeighborLimit {
      lines.append(" bgp listen limit \(Self.neighborLimit)")
    }
    lines += [
      " \(group) peer-group",
      " \(group) remote-as \(settings.asNumber)",
      // Keepalive and hold time in seconds: a host that died is given up after 9 s, not 180.
      " \(group) timers 3 9",
      // Seconds until a reflector that was away is tried again.
      " \(group) timers connect 1",
    ]
    lines += settings.neighbors.map { " neighbor \($0) peer-group \(Self.peerGroup)" }
    lines += settings.ranges.map { " bgp listen range \($0) peer-group \(Self.peerGroup)" }
    lines += [
      " address-family ipv4 unicast", "  no \(group) activate", " exit-address-family",
      " address-family l2vpn evpn", "  \(group) activate",
    ]
    if settings.isReflector { lines.append("  \(group) route-reflector-client") }
    if !facts.userAnnounces { lines.append("  advertise-all-vni") }
    return lines + [" exit-address-family", "exit"]
  }

  /// The block's commands for a bgpd that runs already; they change nothing where they are in force.
  var blockCommands: [String] { commands.filter { !Self.nextHopTracking.contains($0) } }

  /// The block's commands for zebra.
  var zebraCommands: [String] { commands.filter { Self.nextHopTracking.contains($0) } }

  private var commands: [String] {
    guard let block else { return [] }
    return FRRLine.lines(of: Array(bytes[block])).compactMap { line in
      line.words.isEmpty ? nil : line.words.joined(separator: " ")
    }
  }

  /// The commands that zebra lacks of the block; `running` is what it says that it is configured to do, which does
  /// not name its defaults.
  func missingZebraCommands(running: FRRConfiguration) -> [String] {
    if running.facts.hasTraditionalDefaults { return [] }
    return zebraCommands.filter { !running.facts.userNextHopTracking.contains($0) }
  }
}

// MARK: - Taking back

extension FRRConfiguration {
  /// The commands that take back, in daemons that run, what chaos once set there and other settings do not want:
  /// sessions that both want stay up.
  ///
  /// - Parameters:
  ///   - running: what the daemons say they are configured to do.
  ///   - settings: what is wanted; nil for nothing.
  func withdrawal(running: FRRConfiguration, wanted settings: EVPNSettings?) -> [String] {
    guard let asNumber = running.facts.asNumber else { return [] }
    if let settings, settings.asNumber == asNumber, settings.isReflector == running.facts.isReflector {
      return withdrawal(of: running.facts, keeping: settings)
    }
    return withdrawalOfAll(asNumber, running: running)
  }

  /// The commands that take back what the block set in zebra and `wanted` does not; none where it is zebra's default.
  func zebraWithdrawal(running: FRRConfiguration, wanted: FRRConfiguration) -> [String] {
    if running.facts.hasTraditionalDefaults { return [] }
    let kept = wanted.facts.userNextHopTracking.union(wanted.zebraCommands)
    return zebraCommands.filter { !kept.contains($0) }.map { "no \($0)" }
  }

  /// The commands that withdraw this host's routes and leave its sessions up; none where it is the user who
  /// announces them.
  var farewell: [String] {
    guard facts.announces, let asNumber = facts.asNumber else { return [] }
    return ["router bgp \(asNumber)"] + Self.withdrawal + ["exit"]
  }

  private static let withdrawal = ["address-family l2vpn evpn", "no advertise-all-vni", "exit-address-family"]

  private func withdrawal(of running: Facts, keeping settings: EVPNSettings) -> [String] {
    let neighbors = running.neighbors.filter { !settings.neighbors.contains($0) }.map { "no neighbor \($0)" }
    let ranges = running.ranges.filter { !settings.ranges.contains($0) }.map {
      "no bgp listen range \($0) peer-group \(Self.peerGroup)"
    }
    if neighbors.isEmpty && ranges.isEmpty { return [] }
    return ["router bgp \(settings.asNumber)"] + neighbors + ranges + ["exit"]
  }

  private func withdrawalOfAll(_ asNumber: UInt32, running: FRRConfiguration) -> [String] {
    if !sharesBGP(with: running) { return ["no router bgp \(asNumber)"] }
    var commands = ["router bgp \(asNumber)"]
    commands += running.facts.ranges.map { "no bgp listen range \($0) peer-group \(Self.peerGroup)" }
    commands += running.facts.neighbors.map { "no neighbor \($0)" }
    commands.append("no neighbor \(Self.peerGroup) peer-group")
    if facts.hasNeighborLimit { commands.append("no bgp listen limit") }
    if let routerID = facts.routerID { commands.append("no bgp router-id \(routerID)") }
    if facts.announces { commands += Self.withdrawal }
    return commands + ["exit"]
  }

  /// Whether the BGP that runs is the user's too, saved or not.
  private func sharesBGP(with running: FRRConfiguration) -> Bool {
    !facts.userInstances.isEmpty || running.facts.hasForeignLine
      || running.facts.userInstances.contains { !$0.isDefault }
  }
}
