import Xen

/// The protocol between chaosd and chaos-backend: one message a datagram on a SOCK_SEQPACKET socket, a request
/// answered by one reply; descriptors travel beside it (SCM_RIGHTS). Little-endian, fixed-width fields.
///
/// A connection that has sent ``Request/subscribe`` gets ``Event``s instead of replies from then on.
/// Decoders are total: the socket is root's, but a version that does not fit must be refused, not guessed.
///
/// chaosd and chaos-backend are replaced one after the other, so a client speaks its peer's version when that is an
/// older one. It learns it from the answer to its first request: a back-end answers a version it does not know with
/// a failure in its own.
public enum ControlProtocol {
  /// Raised with every incompatible change; the first field of every message.
  public enum Version: UInt16, CaseIterable, Sendable {
    /// chaos 0.1.0. Some requests name domains by number alone; nothing is said of broken vifs.
    case one = 1
    case two = 2

    public static let current = Version.two
  }

  /// Longest message in bytes.
  public static let maxMessage = 36864

  /// Most instances that one ``Request/own`` names: it holds the back-end up for 25 ms.
  public static let mostOwned = 32

  public typealias DomainKey = DomainIdentity

  public struct Vif: Equatable, Sendable {
    /// ABI slot, 0..<15.
    public var slot: UInt8
    /// 4 KiB frames of the window.
    public var windowFrames: UInt32
    /// virtio feature bits in force.
    public var features: UInt64

    public init(slot: UInt8, windowFrames: UInt32, features: UInt64) {
      self.slot = slot
      self.windowFrames = windowFrames
      self.features = features
    }
  }

  /// A vif that is not served though it should be.
  public struct BrokenVif: Equatable, Sendable {
    public enum Reason: UInt8, CaseIterable, CustomStringConvertible, Sendable {
      /// A frame of its window cannot be mapped: the guest gave it up.
      case unmappedFrame
      /// The kernel refused a vhost-net instance or a port for it.
      case notStarted
      /// The kernel stopped at what the guest wrote into its rings.
      case rings

      /// For people, in a few words.
      public var description: String {
        switch self {
        case .unmappedFrame: "its window has a frame that the guest gave up"
        case .notStarted: "the kernel does not serve it"
        case .rings: "the guest wrote into its rings what makes no sense"
        }
      }
    }

    /// ABI slot, 0..<15.
    public var slot: UInt8
    public var reason: Reason

    public init(slot: UInt8, reason: Reason) {
      self.slot = slot
      self.reason = reason
    }
  }

  public enum Request: Equatable, Sendable {
    /// Serve a domain. Descriptors: privcmd and evtchn restricted to it, its console log, then a tap queue and
    /// a vhost-net instance for each vif. If `partial`, vifs that cannot be served are told of in the domain's
    /// status and the rest is served; otherwise one of them fails the request.
    case attach(DomainKey, vifs: [Vif], partial: Bool = false)
    /// Stop serving a domain and let go of everything of it.
    case detach(DomainKey)
    /// The domain has another handle from now on (a shell was told who it is). Serving goes on meanwhile.
    case rename(DomainKey, to: DomainHandle)
    /// Serve one more vif of a domain that is served. Descriptors: privcmd restricted to it, a tap queue and a
    /// vhost-net instance.
    case attachVif(DomainKey, Vif)
    /// Stop serving one vif. Not an error when it is not served.
    case detachVif(DomainKey, slot: UInt8)
    /// Begin a vif anew, broken or not: its window is mapped again, its rings are zeroed, and the guest is asked to
    /// start at index 0. The tap queue stays. Descriptors: privcmd restricted to the domain, a vhost-net instance.
    case resetVif(DomainKey, slot: UInt8)
    /// Own vhost-net instances that are to serve vifs soon (VHOST_SET_OWNER), which costs a grace period of the kernel's
    /// for all of them that it costs for one. Descriptors: the instances, ``mostOwned`` at most.
    case own
    /// The features in force on a vif changed (an image was loaded into a blank shell).
    case setFeatures(DomainKey, slot: UInt8, features: UInt64)
    /// Show a domain's console on the stream socket that comes along: what is in the log, then, if `follow`,
    /// what the guest writes; what arrives on it goes to the guest if `input`.
    case console(DomainKey, follow: Bool, input: Bool)
    /// Set request bits in the powerctl page and ring the guest.
    case powerctl(DomainKey, bits: UInt32)
    /// The domains served, from this domain ID on, at most 1,000 a reply.
    case list(from: DomainID)
    case subscribe
  }

  public struct Status: Equatable, Sendable {
    public var key: DomainKey
    /// CHAOS_STATUS_* bits. Written by the guest.
    public var status: UInt32
    /// Request bits the guest has taken up. Written by the guest. In an event also bits that it had set since the
    /// event before, if only for a moment.
    public var acknowledged: UInt32
    /// Slots of the vifs that the back-end has, broken ones too; nil where its version does not say.
    public var vifs: Set<Int>?
    /// In the order of their slots, each once.
    public var brokenVifs: [BrokenVif]

    public init(
      key: DomainKey, status: UInt32, acknowledged: UInt32, vifs: Set<Int>? = [], brokenVifs: [BrokenVif] = []
    ) {
      self.vifs = vifs
      self.key = key
      self.status = status
      self.acknowledged = acknowledged
      self.brokenVifs = brokenVifs
    }
  }

  public enum Reply: Equatable, Sendable {
    case done
    case failed(errno: Int32, message: String)
    case domains([Status])
  }

  /// The guest changed its half of the powerctl page, or a vif broke. A guest that changes it faster than a few times a
  /// second is told of less often; the newest state always comes.
  public typealias Event = Status
}

/// Bytes that are not a message of this version.
public struct ControlMessageError: Error, Equatable {}

// MARK: - Encoding

private struct Writer {
  let version: ControlProtocol.Version
  var bytes: [UInt8] = []

  mutating func put(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func put(_ flag: Bool) { put(UInt8(flag ? 1 : 0)) }

  mutating func put(_ key: ControlProtocol.DomainKey) {
    put(key.domain.rawValue)
    bytes += key.handle.octets
  }

  /// Names a domain in the requests that version 1 has no handle in.
  mutating func putName(_ key: ControlProtocol.DomainKey) {
    if version == .one { put(key.domain.rawValue) } else { put(key) }
  }

  mutating func put(_ vif: ControlProtocol.Vif) {
    put(vif.slot)
    put(vif.windowFrames)
    put(vif.features)
  }

  mutating func put(_ status: ControlProtocol.Status) {
    put(status.key)
    put(status.status)
    put(status.acknowledged)
    guard version != .one else { return }
    put((status.vifs ?? []).reduce(UInt16(0)) { $0 | 1 << UInt16($1) })
    // One mask of slots a reason, so that all statuses have one length.
    for reason in ControlProtocol.BrokenVif.Reason.allCases {
      put(status.brokenVifs.reduce(UInt16(0)) { $1.reason == reason ? $0 | 1 << UInt16($1.slot) : $0 })
    }
  }
}

private struct Reader {
  private let bytes: [UInt8]
  private var at = 0
  private(set) var version = ControlProtocol.Version.current

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { at == bytes.count }

  mutating func integer<Value: FixedWidthInteger>(
    _ type: Value.Type = Value.self
  ) throws(ControlMessageError) -> Value {
    var value: Value = 0
    for (index, byte) in try take(MemoryLayout<Value>.size).enumerated() {
      value |= Value(truncatingIfNeeded: byte) << Value(truncatingIfNeeded: 8 * index)
    }
    return value
  }

  mutating func take(_ count: Int) throws(ControlMessageError) -> ArraySlice<UInt8> {
    guard count <= bytes.count - at else { throw ControlMessageError() }
    defer { at += count }
    return bytes[at..<at + count]
  }

  mutating func domain() throws(ControlMessageError) -> DomainID { DomainID(rawValue: try integer()) }

  mutating func key() throws(ControlMessageError) -> ControlProtocol.DomainKey {
    ControlProtocol.DomainKey(domain: try domain(), handle: try handle())
  }

  mutating func handle() throws(ControlMessageError) -> DomainHandle {
    guard let handle = DomainHandle(try take(16)) else { throw ControlMessageError() }
    return handle
  }

  mutating func vif() throws(ControlMessageError) -> ControlProtocol.Vif {
    ControlProtocol.Vif(slot: try integer(), windowFrames: try integer(), features: try integer())
  }

  mutating func status() throws(ControlMessageError) -> ControlProtocol.Status {
    var status = ControlProtocol.Status(key: try key(), status: try integer(), acknowledged: try integer())
    status.vifs = nil
    if version != .one {
      let mask: UInt16 = try integer()
      guard mask & 0x8000 == 0 else { throw ControlMessageError() }
      status.vifs = Set((0..<15).filter { mask & 1 << UInt16($0) != 0 })
      status.brokenVifs = try brokenVifs()
    }
    return status
  }

  private mutating func brokenVifs() throws(ControlMessageError) -> [ControlProtocol.BrokenVif] {
    var vifs: [ControlProtocol.BrokenVif] = []
    var seen: UInt16 = 0x8000
    for reason in ControlProtocol.BrokenVif.Reason.allCases {
      let mask: UInt16 = try integer()
      // A vif is broken for one reason.
      guard mask & seen == 0 else { throw ControlMessageError() }
      seen |= mask
      guard mask != 0 else { continue }
      for slot in UInt8(0)..<15 where mask & 1 << UInt16(slot) != 0 {
        vifs.append(ControlProtocol.BrokenVif(slot: slot, reason: reason))
      }
    }
    return vifs.sorted { $0.slot < $1.slot }
  }

  mutating func flag() throws(ControlMessageError) -> Bool {
    switch try integer(UInt8.self) {
    case 0: false
    case 1: true
    default: throw ControlMessageError()
    }
  }

  /// Reads the version, which is one of `versions`, and the message's type.
  mutating func header(_ versions: [ControlProtocol.Version]) throws(ControlMessageError) -> UInt16 {
    guard let version = ControlProtocol.Version(rawValue: try integer()), versions.contains(version) else {
      throw ControlMessageError()
    }
    self.version = version
    return try integer()
  }

  func finish() throws(ControlMessageError) {
    guard isAtEnd else { throw ControlMessageError() }
  }
}

private func message(
  _ version: ControlProtocol.Version, _ type: UInt16, _ body: (inout Writer) -> Void = { _ in }
) -> [UInt8] {
  var writer = Writer(version: version)
  writer.put(version.rawValue)
  writer.put(type)
  body(&writer)
  return writer.bytes
}

extension ControlProtocol {
  /// The version that a message says it is of, known or not; nil when it is too short to say.
  static func statedVersion(of bytes: [UInt8]) -> UInt16? {
    var reader = Reader(bytes)
    return try? reader.integer()
  }
}

extension ControlProtocol.Request {
  /// The request's bytes in a version of the protocol; nil when that has no such request.
  public func encoded(for version: ControlProtocol.Version = .current) -> [UInt8]? {
    switch self {
    case .attach(let key, let vifs, let partial):
      message(version, 1) { writer in
        writer.put(key)
        if version != .one { writer.put(partial) }
        writer.put(UInt8(vifs.count))
        for vif in vifs { writer.put(vif) }
      }
    case .detach(let key): message(version, 2) { $0.putName(key) }
    case .setFeatures(let key, let slot, let features):
      message(version, 3) { writer in
        writer.putName(key)
        writer.put(slot)
        writer.put(features)
      }
    case .console(let key, let follow, let input):
      message(version, 4) { writer in
        writer.putName(key)
        writer.put(follow)
        writer.put(input)
      }
    case .powerctl(let key, let bits):
      message(version, 5) { writer in
        writer.putName(key)
        writer.put(bits)
      }
    case .list(let from): message(version, 6) { $0.put(from.rawValue) }
    case .subscribe: message(version, 7)
    case .attachVif(let key, let vif):
      message(version, 8) { writer in
        writer.put(key)
        writer.put(vif)
      }
    case .detachVif(let key, let slot):
      message(version, 9) { writer in
        writer.put(key)
        writer.put(slot)
      }
    case .rename, .resetVif, .own: version == .one ? nil : encodedSinceTwo(version)
    }
  }

  /// The requests that version 2 brought.
  private func encodedSinceTwo(_ version: ControlProtocol.Version) -> [UInt8]? {
    switch self {
    case .rename(let key, let handle):
      message(version, 10) { writer in
        writer.put(key)
        writer.bytes += handle.octets
      }
    case .resetVif(let key, let slot):
      message(version, 11) { writer in
        writer.put(key)
        writer.put(slot)
      }
    case .own: message(version, 12)
    default: nil
    }
  }

  /// Reads a request of the current version.
  public init(decoding bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    switch try reader.header([.current]) {
    case 1:
      let key = try reader.key()
      let partial = try reader.flag()
      var vifs: [ControlProtocol.Vif] = []
      let count = try reader.integer(UInt8.self)
      for _ in 0..<count {
        vifs.append(try reader.vif())
      }
      self = .attach(key, vifs: vifs, partial: partial)
    case 2: self = .detach(try reader.key())
    case 3:
      self = .setFeatures(try reader.key(), slot: try reader.integer(), features: try reader.integer())
    case 4: self = .console(try reader.key(), follow: try reader.flag(), input: try reader.flag())
    case 5: self = .powerctl(try reader.key(), bits: try reader.integer())
    case 6: self = .list(from: try reader.domain())
    case 7: self = .subscribe
    case 8: self = .attachVif(try reader.key(), try reader.vif())
    case 9: self = .detachVif(try reader.key(), slot: try reader.integer())
    case 10: self = .rename(try reader.key(), to: try reader.handle())
    case 11: self = .resetVif(try reader.key(), slot: try reader.integer())
    case 12: self = .own
    default: throw ControlMessageError()
    }
    try reader.finish()
  }
}

extension ControlProtocol.Reply {
  public func encoded(for version: ControlProtocol.Version = .current) -> [UInt8] {
    switch self {
    case .done: message(version, 0x101)
    case .failed(let errno, let text):
      message(version, 0x102) { writer in
        writer.put(errno)
        writer.bytes += Array(text.utf8.prefix(1024))
      }
    case .domains(let statuses):
      message(version, 0x103) { writer in
        writer.put(UInt16(statuses.count))
        for status in statuses { writer.put(status) }
      }
    }
  }

  /// Reads a reply of the version it says it is of.
  public init(decoding bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    switch try reader.header(ControlProtocol.Version.allCases) {
    case 0x101: self = .done
    case 0x102:
      let errno: Int32 = try reader.integer()
      self = .failed(errno: errno, message: String(decoding: bytes.dropFirst(8), as: UTF8.self))
      return
    case 0x103:
      var statuses: [ControlProtocol.Status] = []
      let count = try reader.integer(UInt16.self)
      for _ in 0..<count { statuses.append(try reader.status()) }
      self = .domains(statuses)
    default: throw ControlMessageError()
    }
    try reader.finish()
  }
}

extension ControlProtocol.Status {
  public func encodedEvent(for version: ControlProtocol.Version = .current) -> [UInt8] {
    message(version, 0x201) { $0.put(self) }
  }

  /// Reads an event of the version it says it is of.
  public init(decodingEvent bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    guard try reader.header(ControlProtocol.Version.allCases) == 0x201 else { throw ControlMessageError() }
    self = try reader.status()
    try reader.finish()
  }
}
