import CDevicePage
import NetworkAddresses

/// What one guest's device page says (ABI version 1, docs/device-page.md).
///
/// Everything here is chaosd's own, from the guest's record; the page is a projection of it and is never read
/// back as truth, because a hostile guest can replace the frame.
public struct DevicePage: Equatable, Sendable {
  /// Seqlock counter: even when the page is whole.
  public var generation: UInt32
  /// Nanoseconds the guest adds to pvclock and wall-clock time.
  public var clockOffset: Int64
  public var identity: Identity
  /// At most 17: console, powerctl and 15 vifs.
  public var devices: [Device]

  public init(generation: UInt32 = 0, clockOffset: Int64 = 0, identity: Identity, devices: [Device]) {
    self.generation = generation
    self.clockOffset = clockOffset
    self.identity = identity
    self.devices = devices
  }

  /// Who the guest is.
  public struct Identity: Equatable, Sendable {
    /// 16 bytes, RFC 4122 order.
    public var uuid: [UInt8]
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    public var created: UInt64
    /// SHA-256 of the kernel image: 32 bytes.
    public var imageDigest: [UInt8]
    /// At most 63 bytes of UTF-8.
    public var name: String
    /// At most 1,024 bytes, without NUL.
    public var commandLine: String
    public var vcpus: UInt32
    /// KiB of guest memory, windows and special pages included.
    public var memoryKiB: UInt32

    public init(
      uuid: [UInt8], created: UInt64, imageDigest: [UInt8], name: String, commandLine: String,
      vcpus: UInt32, memoryKiB: UInt32
    ) {
      self.uuid = uuid
      self.created = created
      self.imageDigest = imageDigest
      self.name = name
      self.commandLine = commandLine
      self.vcpus = vcpus
      self.memoryKiB = memoryKiB
    }
  }

  /// A device's place and state, as the guest finds it in the table.
  public struct Device: Equatable, Sendable {
    public enum Kind: UInt16, Sendable {
      case console = 1
      case powerctl = 2
      case vif = 3
    }

    public enum State: UInt16, Sendable {
      case absent = 0
      case connected = 1
      case closing = 2
    }

    public var kind: Kind
    /// Number within its kind, from 0.
    public var index: UInt16
    public var state: State
    /// Event-channel port on the guest's side.
    public var port: UInt32
    /// First grant reference, 0 when the frames are not granted.
    public var grant: UInt32
    /// Guest frame number of the ring page or of the window's first frame.
    public var firstFrame: UInt64
    public var frameCount: UInt32
    /// Present exactly when `kind` is `.vif`.
    public var vif: Vif?

    public init(
      kind: Kind, index: UInt16, state: State, port: UInt32, grant: UInt32 = 0, firstFrame: UInt64,
      frameCount: UInt32, vif: Vif? = nil
    ) {
      self.kind = kind
      self.index = index
      self.state = state
      self.port = port
      self.grant = grant
      self.firstFrame = firstFrame
      self.frameCount = frameCount
      self.vif = vif
    }
  }

  /// A vif's own fields.
  public struct Vif: Equatable, Sendable {
    public var mac: MACAddress
    /// Bytes of the largest packet, without the Ethernet header.
    public var mtu: UInt16
    /// The virtio feature bits in force; nothing is negotiated.
    public var features: UInt64
    public var rings: VifRings
    public var ipv4: IPv4Interface?
    public var ipv4Gateway: IPv4Address?
    public var ipv6: IPv6Interface?
    public var ipv6Gateway: IPv6Address?

    public init(
      mac: MACAddress, mtu: UInt16, features: UInt64, rings: VifRings, ipv4: IPv4Interface? = nil,
      ipv4Gateway: IPv4Address? = nil, ipv6: IPv6Interface? = nil, ipv6Gateway: IPv6Address? = nil
    ) {
      self.mac = mac
      self.mtu = mtu
      self.features = features
      self.rings = rings
      self.ipv4 = ipv4
      self.ipv4Gateway = ipv4Gateway
      self.ipv6 = ipv6
      self.ipv6Gateway = ipv6Gateway
    }
  }
}

/// Why bytes are not a device page of version 1.
public struct DevicePageError: Error, Equatable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}
