import Xen

/// The protocol between chaosd and chaos-backend: one message a datagram on a SOCK_SEQPACKET socket, a request
/// answered by one reply; descriptors travel beside it (SCM_RIGHTS). Little-endian, fixed-width fields.
///
/// A connection that has sent ``Request/subscribe`` gets ``Event``s instead of replies from then on.
/// Decoders are total: the socket is root's, but a version that does not fit must be refused, not guessed.
public enum ControlProtocol {
  /// Raised with every incompatible change; the first field of every message.
  public static let version: UInt16 = 2
  /// Longest message in bytes.
  public static let maxMessage = 32768

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

  public enum Request: Equatable, Sendable {
    /// Serve a domain. Descriptors: privcmd and evtchn restricted to it, its console log, then a tap queue and
    /// a vhost-net instance for each vif.
    case attach(DomainKey, vifs: [Vif])
    /// Stop serving a domain and let go of everything of it.
    case detach(DomainKey)
    /// The domain has another handle from now on (a shell was told who it is). Serving goes on meanwhile.
    case rename(DomainKey, to: DomainHandle)
    /// Serve one more vif of a domain that is served. Descriptors: privcmd restricted to it, a tap queue and a
    /// vhost-net instance.
    case attachVif(DomainKey, Vif)
    /// Stop serving one vif. Not an error when it is not served.
    case detachVif(DomainKey, slot: UInt8)
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
    /// Request bits the guest has taken up. Written by the guest.
    public var acknowledged: UInt32

    public init(key: DomainKey, status: UInt32, acknowledged: UInt32) {
      self.key = key
      self.status = status
      self.acknowledged = acknowledged
    }
  }

  public enum Reply: Equatable, Sendable {
    case done
    case failed(errno: Int32, message: String)
    case domains([Status])
  }

  /// The guest changed its half of the powerctl page.
  public typealias Event = Status
}

/// Bytes that are not a message of this version.
public struct ControlMessageError: Error, Equatable {}

// MARK: - Encoding

private struct Writer {
  var bytes: [UInt8] = []

  mutating func put(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func put(_ key: ControlProtocol.DomainKey) {
    put(key.domain.rawValue)
    bytes += key.handle.octets
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
  }
}

private struct Reader {
  private let bytes: [UInt8]
  private var at = 0

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
    ControlProtocol.Status(key: try key(), status: try integer(), acknowledged: try integer())
  }

  mutating func flag() throws(ControlMessageError) -> Bool {
    switch try integer(UInt8.self) {
    case 0: false
    case 1: true
    default: throw ControlMessageError()
    }
  }

  /// Reads the version and the message's type.
  mutating func header() throws(ControlMessageError) -> UInt16 {
    guard try integer(UInt16.self) == ControlProtocol.version else { throw ControlMessageError() }
    return try integer()
  }

  func finish() throws(ControlMessageError) {
    guard isAtEnd else { throw ControlMessageError() }
  }
}

private func message(_ type: UInt16, _ body: (inout Writer) -> Void = { _ in }) -> [UInt8] {
  var writer = Writer()
  writer.put(ControlProtocol.version)
  writer.put(type)
  body(&writer)
  return writer.bytes
}

extension ControlProtocol.Request {
  public func encoded() -> [UInt8] {
    switch self {
    case .attach(let key, let vifs):
      message(1) { writer in
        writer.put(key)
        writer.put(UInt8(vifs.count))
        for vif in vifs {
          writer.put(vif)
        }
      }
    case .detach(let key): message(2) { $0.put(key) }
    case .setFeatures(let key, let slot, let features):
      message(3) { writer in
        writer.put(key)
        writer.put(slot)
        writer.put(features)
      }
    case .console(let key, let follow, let input):
      message(4) { writer in
        writer.put(key)
        writer.put(UInt8(follow ? 1 : 0))
        writer.put(UInt8(input ? 1 : 0))
      }
    case .powerctl(let key, let bits):
      message(5) { writer in
        writer.put(key)
        writer.put(bits)
      }
    case .list(let from): message(6) { $0.put(from.rawValue) }
    case .subscribe: message(7)
    case .attachVif(let key, let vif):
      message(8) { writer in
        writer.put(key)
        writer.put(vif)
      }
    case .detachVif(let key, let slot):
      message(9) { writer in
        writer.put(key)
        writer.put(slot)
      }
    case .rename(let key, let handle):
      message(10) { writer in
        writer.put(key)
        writer.bytes += handle.octets
      }
    }
  }

  public init(decoding bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    switch try reader.header() {
    case 1:
      let key = try reader.key()
      var vifs: [ControlProtocol.Vif] = []
      let count = try reader.integer(UInt8.self)
      for _ in 0..<count {
        vifs.append(try reader.vif())
      }
      self = .attach(key, vifs: vifs)
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
    default: throw ControlMessageError()
    }
    try reader.finish()
  }
}

extension ControlProtocol.Reply {
  public func encoded() -> [UInt8] {
    switch self {
    case .done: message(0x101)
    case .failed(let errno, let text):
      message(0x102) { writer in
        writer.put(errno)
        writer.bytes += Array(text.utf8.prefix(1024))
      }
    case .domains(let statuses):
      message(0x103) { writer in
        writer.put(UInt16(statuses.count))
        for status in statuses { writer.put(status) }
      }
    }
  }

  public init(decoding bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    switch try reader.header() {
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
  public func encodedEvent() -> [UInt8] { message(0x201) { $0.put(self) } }

  public init(decodingEvent bytes: [UInt8]) throws(ControlMessageError) {
    var reader = Reader(bytes)
    guard try reader.header() == 0x201 else { throw ControlMessageError() }
    self = try reader.status()
    try reader.finish()
  }
}
