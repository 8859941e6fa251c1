/// What a guest is to be: the create config, the body of `POST /v1/guests`.
///
/// Reading one checks its shape only (known keys, right types); `validate()` checks the values.
public struct CreateRequest: Sendable, Equatable {
  /// How it is virtualised, as xl has it: ``defaultType`` is the only one.
  public var type: String
  /// Nil: the daemon makes one up.
  public var name: String?
  /// Chosen by the client so that a retry returns the same guest instead of a second one.
  public var uuid: String?
  /// The kernel: a stored image's name, or `sha256:` and its digest.
  public var image: String
  public var ramdisk: String?
  public var cmdline: String
  public var memoryMiB: Int
  public var vcpus: Int
  /// Create the guest without starting it.
  public var paused: Bool
  public var vifs: [VifRequest]
  /// Take a prepared shell if there is one that fits.
  public var pool: Bool
  /// Make this many guests, named NAME-1, NAME-2, ...; nil is one guest of just that name.
  public var count: Int?
  /// The size of each vif's window of shared memory; nil is the host's default.
  public var windowKiB: Int?
  /// What becomes of it when it ends by itself.
  public var policies: GuestPolicies
  /// Start it again with the host, until it is destroyed.
  public var autostart: Bool
  /// The names of guests that are to be started before it then.
  public var after: [String]
  public var scheduling: Scheduling

  public init(
    type: String = Self.defaultType, name: String? = nil, uuid: String? = nil, image: String,
    ramdisk: String? = nil, cmdline: String = "", memoryMiB: Int = Self.defaultMemoryMiB,
    vcpus: Int = 1, paused: Bool = false, vifs: [VifRequest] = [], pool: Bool = true, count: Int? = nil,
    windowKiB: Int? = nil, policies: GuestPolicies = GuestPolicies(), autostart: Bool = false,
    after: [String] = [], scheduling: Scheduling = Scheduling()
  ) {
    self.type = type
    self.name = name
    self.uuid = uuid
    self.image = image
    self.ramdisk = ramdisk
    self.cmdline = cmdline
    self.memoryMiB = memoryMiB
    self.vcpus = vcpus
    self.paused = paused
    self.vifs = vifs
    self.pool = pool
    self.count = count
    self.windowKiB = windowKiB
    self.policies = policies
    self.autostart = autostart
    self.after = after
    self.scheduling = scheduling
  }

  public static let defaultMemoryMiB = 8
  public static let defaultType = "pvh"
}

extension CreateRequest: JSONConvertible {
  static let keys = [
    "type", "name", "uuid", "kernel", "image", "ramdisk", "cmdline", "memory", "vcpus", "paused", "vifs", "pool",
    "count", "window", "onPoweroff", "onReboot", "onCrash", "autostart", "after", "cpus", "weight",
    "cap",
  ]

  /// `kernel` and `image` are two names of one key, at most one of them given. Neither leaves `image` empty
  /// for the caller to fill in; `validate()` refuses it when nobody did.
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: Self.keys)
    if reader.has("kernel"), reader.has("image") {
      throw APIError(
        .invalidArgument, "kernel: given together with 'image', which is the same", field: "kernel")
    }
    type = try reader.optionalString("type") ?? Self.defaultType
    name = try reader.optionalString("name")
    uuid = try reader.optionalString("uuid")
    image = try reader.optionalString(reader.has("kernel") ? "kernel" : "image") ?? ""
    ramdisk = try reader.optionalString("ramdisk")
    cmdline = try reader.optionalString("cmdline") ?? ""
    memoryMiB = try reader.optionalInteger("memory", unit: "MiB") ?? Self.defaultMemoryMiB
    vcpus = try reader.optionalInteger("vcpus") ?? 1
    paused = try reader.optionalBool("paused") ?? false
    vifs = try reader.array("vifs")
    pool = try reader.optionalBool("pool") ?? true
    count = try reader.optionalInteger("count")
    windowKiB = try reader.optionalInteger("window", unit: "KiB")
    policies = GuestPolicies()
    if let policy: RestartPolicy = try reader.optionalChoice("onPoweroff") { policies.onPoweroff = policy }
    if let policy: RestartPolicy = try reader.optionalChoice("onReboot") { policies.onReboot = policy }
    if let policy: RestartPolicy = try reader.optionalChoice("onCrash") { policies.onCrash = policy }
    autostart = try reader.optionalBool("autostart") ?? false
    after = try reader.strings("after")
    // Keys of the request itself, as those of the policies are.
    scheduling = try Scheduling(json: json, at: path)
  }

  /// What is as it would be anyway is left out.
  public var json: JSON {
    var object = JSONObject()
    object.append("type", type == Self.defaultType ? nil : .string(type))
    object.append("name", name.map(JSON.string))
    object.append("uuid", uuid.map(JSON.string))
    object.append("kernel", .string(image))
    object.append("ramdisk", ramdisk.map(JSON.string))
    object.append("cmdline", cmdline.isEmpty ? nil : .string(cmdline))
    object.append("memory", .number(memoryMiB))
    object.append("vcpus", .number(vcpus))
    object.append("paused", paused ? true : nil)
    object.append("vifs", vifs.isEmpty ? nil : .list(vifs))
    object.append("pool", pool ? nil : false)
    object.append("count", count.map { .number($0) })
    object.append("window", windowKiB.map { .number($0) })
    let usual = GuestPolicies()
    object.append("onPoweroff", Self.json(policies.onPoweroff, unless: usual.onPoweroff))
    object.append("onReboot", Self.json(policies.onReboot, unless: usual.onReboot))
    object.append("onCrash", Self.json(policies.onCrash, unless: usual.onCrash))
    object.append("autostart", autostart ? true : nil)
    object.append("after", after.isEmpty ? nil : .strings(after))
    object.append("cpus", scheduling.cpus.map(JSON.string))
    object.append("weight", scheduling.weight.map { .number($0) })
    object.append("cap", scheduling.cap.map { .number($0) })
    return .object(object)
  }
}

extension CreateRequest {
  private static func json(_ policy: RestartPolicy, unless usual: RestartPolicy) -> JSON? {
    policy == usual ? nil : .string(policy.rawValue)
  }
}

/// One network interface of a guest to be made.
public struct VifRequest: Sendable, Equatable {
  /// Nil: the daemon makes one up. A range `FIRST-LAST` where several guests are made.
  public var mac: String?
  /// Address and prefix, `10.1.0.2/24`, told to the guest on its device page. A range `FIRST-LAST/PREFIX`
  /// where several guests are made.
  public var ip: String?
  public var gateway: String?
  public var ip6: String?
  public var gateway6: String?
  /// The bridge the vif's tap joins; either this or `lan`.
  public var bridge: String?
  /// The virtual LAN the vif's tap joins.
  public var lan: String?
  /// Nil: the bridge's, or the LAN's.
  public var mtu: Int?

  public init(
    mac: String? = nil, ip: String? = nil, gateway: String? = nil, ip6: String? = nil,
    gateway6: String? = nil, bridge: String? = nil, lan: String? = nil, mtu: Int? = nil
  ) {
    self.mac = mac
    self.ip = ip
    self.gateway = gateway
    self.ip6 = ip6
    self.gateway6 = gateway6
    self.bridge = bridge
    self.lan = lan
    self.mtu = mtu
  }
}

extension VifRequest: JSONConvertible {
  static let keys = ["mac", "ip", "gateway", "ip6", "gateway6", "bridge", "lan", "mtu"]

  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: Self.keys)
    mac = try reader.optionalString("mac")
    ip = try reader.optionalString("ip")
    gateway = try reader.optionalString("gateway")
    ip6 = try reader.optionalString("ip6")
    gateway6 = try reader.optionalString("gateway6")
    bridge = try reader.optionalString("bridge")
    lan = try reader.optionalString("lan")
    mtu = try reader.optionalInteger("mtu")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("mac", mac.map(JSON.string))
    object.append("ip", ip.map(JSON.string))
    object.append("gateway", gateway.map(JSON.string))
    object.append("ip6", ip6.map(JSON.string))
    object.append("gateway6", gateway6.map(JSON.string))
    object.append("bridge", bridge.map(JSON.string))
    object.append("lan", lan.map(JSON.string))
    object.append("mtu", mtu.map { .number($0) })
    return .object(object)
  }
}
