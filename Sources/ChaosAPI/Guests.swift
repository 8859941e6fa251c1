/// Where a guest is in its life.
public enum GuestState: String, Sendable, CaseIterable {
  /// Accepted, not yet unpaused for the first time.
  case starting
  case running
  case paused
  /// Ended in order; its domain is about to be removed.
  case shutdown
  case crashed
  /// Being destroyed.
  case dying
  /// Gone: only its history is left.
  case ended
}

/// Where the domain of a new guest came from.
public enum ShellKind: String, Sendable, CaseIterable {
  /// A shell with its image loaded.
  case hot
  /// A shell without an image.
  case blank
  /// The pool was not used: prepared on the spot.
  case none
}

/// How a guest ended.
public enum GuestEnd: String, Sendable, CaseIterable {
  case poweroff, reboot, crash, suspend
  /// Its watchdog's time ran out.
  case watchdog
  /// Somebody removed it.
  case destroyed
  /// It could not be made again.
  case failed
}

/// What a dump of a guest looks like.
public enum DumpFormat: String, Sendable, CaseIterable {
  /// What debuggers open: an ELF core file with a PT_LOAD for each range of memory and an NT_PRSTATUS for each vCPU.
  case elf
  /// What `xl dump-core` writes: sections, for crash and what else knows Xen's.
  case xen

  public init(_ text: String, field: String = "format") throws(APIError) {
    guard let format = DumpFormat(rawValue: text) else {
      throw .refused(field, "expected elf or xen", text)
    }
    self = format
  }
}

/// What a guest is waited for to be.
public enum WaitGoal: String, Sendable, CaseIterable {
  /// It has said that it is ready.
  case ready
  /// Its domain has ended, whatever its policy makes of that.
  case stopped
  /// There is no such guest any more.
  case gone

  /// `ended` is what version 1.0 called `stopped`.
  public init(_ text: String, field: String = "for") throws(APIError) {
    guard let goal = text == "ended" ? .stopped : WaitGoal(rawValue: text) else {
      let goals = Self.allCases.map { $0.rawValue }.joined(separator: ", ")
      throw .refused(field, "expected one of \(goals)", text)
    }
    self = goal
  }
}

/// The image a guest runs. Anonymous ones have only a digest.
public struct ImageReference: Sendable, Equatable {
  public var name: String?
  /// `sha256:` and 64 hexadecimal digits.
  public var digest: String

  public init(name: String? = nil, digest: String) {
    self.name = name
    self.digest = digest
  }
}

extension ImageReference: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.optionalString("name")
    digest = try reader.string("digest")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("name", name.map(JSON.string))
    object.append("digest", .string(digest))
    return .object(object)
  }
}

/// A guest's network interface as it is.
public struct VifInfo: Sendable, Equatable {
  public var index: Int
  public var mac: String
  /// The LAN's bridge, where it is on one.
  public var bridge: String
  /// Nil: on a bridge that is no LAN's.
  public var lan: String?
  public var tap: String
  public var ip: String?
  public var gateway: String?
  public var ip6: String?
  public var gateway6: String?
  public var mtu: Int
  /// Why it carries no packets any more; nil while it does.
  public var broken: String?

  public init(
    index: Int, mac: String, bridge: String, lan: String? = nil, tap: String, ip: String? = nil,
    gateway: String? = nil, ip6: String? = nil, gateway6: String? = nil, mtu: Int, broken: String? = nil
  ) {
    self.index = index
    self.mac = mac
    self.bridge = bridge
    self.lan = lan
    self.tap = tap
    self.ip = ip
    self.gateway = gateway
    self.ip6 = ip6
    self.gateway6 = gateway6
    self.mtu = mtu
    self.broken = broken
  }
}

extension VifInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    index = try reader.integer("index")
    mac = try reader.string("mac")
    bridge = try reader.string("bridge")
    lan = try reader.optionalString("lan")
    tap = try reader.string("tap")
    ip = try reader.optionalString("ip")
    gateway = try reader.optionalString("gateway")
    ip6 = try reader.optionalString("ip6")
    gateway6 = try reader.optionalString("gateway6")
    mtu = try reader.integer("mtu")
    broken = try reader.optionalString("broken")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("index", .number(index))
    object.append("mac", .string(mac))
    object.append("bridge", .string(bridge))
    object.append("lan", lan.map(JSON.string))
    object.append("tap", .string(tap))
    object.append("ip", ip.map(JSON.string))
    object.append("gateway", gateway.map(JSON.string))
    object.append("ip6", ip6.map(JSON.string))
    object.append("gateway6", gateway6.map(JSON.string))
    object.append("mtu", .number(mtu))
    object.append("broken", broken.map(JSON.string))
    return .object(object)
  }
}

/// A guest as it is.
public struct GuestInfo: Sendable, Equatable {
  public var name: String
  public var uuid: String
  public var domid: Int
  public var state: GuestState
  public var memoryMiB: Int
  public var vcpus: Int
  public var image: ImageReference
  public var cmdline: String
  /// RFC 3339; see `Timestamp`.
  public var created: String
  public var cpuSeconds: Double
  /// The guest has said that it is ready.
  public var ready: Bool
  /// The guest has replaced its device page by something else.
  public var tampered: Bool
  /// How often it was made again since it was created.
  public var restarts: Int
  public var policies: GuestPolicies
  /// It is started again with the host.
  public var autostart: Bool
  /// The guests that are started before it then.
  public var after: [String]
  public var scheduling: Scheduling
  public var vifs: [VifInfo]

  public init(
    name: String, uuid: String, domid: Int, state: GuestState, memoryMiB: Int, vcpus: Int,
    image: ImageReference, cmdline: String, created: String, cpuSeconds: Double, ready: Bool,
    tampered: Bool, restarts: Int = 0, policies: GuestPolicies = GuestPolicies(), autostart: Bool = false,
    after: [String] = [], scheduling: Scheduling = Scheduling(), vifs: [VifInfo]
  ) {
    self.name = name
    self.uuid = uuid
    self.domid = domid
    self.state = state
    self.memoryMiB = memoryMiB
    self.vcpus = vcpus
    self.image = image
    self.cmdline = cmdline
    self.created = created
    self.cpuSeconds = cpuSeconds
    self.ready = ready
    self.tampered = tampered
    self.restarts = restarts
    self.policies = policies
    self.autostart = autostart
    self.after = after
    self.scheduling = scheduling
    self.vifs = vifs
  }
}

extension GuestInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    uuid = try reader.string("uuid")
    domid = try reader.integer("domid")
    state = try reader.choice("state")
    memoryMiB = try reader.integer("memoryMiB")
    vcpus = try reader.integer("vcpus")
    image = try reader.value("image")
    cmdline = try reader.string("cmdline")
    created = try reader.string("created")
    cpuSeconds = try reader.double("cpuSeconds")
    ready = try reader.bool("ready")
    tampered = try reader.bool("tampered")
    // Daemons of version 1.0 have none of these.
    restarts = try reader.optionalInteger("restarts") ?? 0
    policies = try reader.optionalValue("policies") ?? GuestPolicies()
    autostart = try reader.optionalBool("autostart") ?? false
    after = try reader.strings("after")
    scheduling = try reader.optionalValue("scheduling") ?? Scheduling()
    vifs = try reader.array("vifs")
  }

  public var json: JSON {
    [
      "name": .string(name),
      "uuid": .string(uuid),
      "domid": .number(domid),
      "state": .string(state.rawValue),
      "memoryMiB": .number(memoryMiB),
      "vcpus": .number(vcpus),
      "image": image.json,
      "cmdline": .string(cmdline),
      "created": .string(created),
      "cpuSeconds": .double(cpuSeconds),
      "ready": .bool(ready),
      "tampered": .bool(tampered),
      "restarts": .number(restarts),
      "policies": policies.json,
      "autostart": .bool(autostart),
      "after": .strings(after),
      "scheduling": scheduling.json,
      "vifs": .list(vifs),
    ]
  }
}

/// The answer to one create.
public struct CreateResult: Sendable, Equatable {
  public var guest: GuestInfo
  public var shell: ShellKind
  /// From the request's arrival to the guest's start, as the daemon measured it.
  public var microseconds: Int

  public init(guest: GuestInfo, shell: ShellKind, microseconds: Int) {
    self.guest = guest
    self.shell = shell
    self.microseconds = microseconds
  }
}

extension CreateResult: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    guest = try reader.value("guest")
    shell = try reader.choice("shell")
    microseconds = try reader.integer("microseconds")
  }

  public var json: JSON {
    [
      "guest": guest.json, "shell": .string(shell.rawValue), "microseconds": .number(microseconds),
    ]
  }
}

/// One line of the answer to a create with a count.
public enum CreateLine: Sendable, Equatable {
  case made(CreateResult)
  /// The last line, when not all could be made; those made have been removed.
  case refused(APIError)
}

extension CreateLine: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    if json["error"] == nil {
      self = .made(try CreateResult(json: json, at: path))
    } else {
      self = .refused(try APIError(json: json, at: path))
    }
  }

  public var json: JSON {
    switch self {
    case .made(let result): result.json
    case .refused(let error): error.body
    }
  }
}

/// A guest that is no more, as far as it is remembered.
public struct EndedGuest: Sendable, Equatable {
  public var name: String
  public var uuid: String
  public var reason: GuestEnd
  /// RFC 3339; see `Timestamp`.
  public var ended: String
  /// One line more about the reason.
  public var message: String?

  public init(name: String, uuid: String, reason: GuestEnd, ended: String, message: String? = nil) {
    self.name = name
    self.uuid = uuid
    self.reason = reason
    self.ended = ended
    self.message = message
  }
}

extension EndedGuest: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    uuid = try reader.string("uuid")
    reason = try reader.choice("reason")
    ended = try reader.string("ended")
    message = try reader.optionalString("message")
  }

  public var json: JSON {
    var object: JSONObject = [
      "name": .string(name), "uuid": .string(uuid), "state": .string(GuestState.ended.rawValue),
      "reason": .string(reason.rawValue), "ended": .string(ended),
    ]
    object.append("message", message.map(JSON.string))
    return .object(object)
  }
}

/// The answer to `GET /v1/guests`, and to whatever else lists guests.
public struct GuestList: Sendable, Equatable {
  public var guests: [GuestInfo]
  /// Those that have ended, where they were asked for too.
  public var ended: [EndedGuest]?

  public init(guests: [GuestInfo], ended: [EndedGuest]? = nil) {
    self.guests = guests
    self.ended = ended
  }
}

extension GuestList: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    guests = try reader.array("guests")
    ended = reader.has("ended") ? try reader.array("ended") : nil
  }

  public var json: JSON {
    var object: JSONObject = ["guests": .list(guests)]
    object.append("ended", ended.map { .list($0) })
    return .object(object)
  }
}

/// The answer to waiting for a guest's end.
public struct EndResult: Sendable, Equatable {
  public var ended: GuestEnd

  public init(ended: GuestEnd) {
    self.ended = ended
  }
}

extension EndResult: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    ended = try ObjectReader(json, at: path).choice("ended")
  }

  public var json: JSON { ["ended": .string(ended.rawValue)] }
}

/// How many guests (or shells) an operation on all of them removed.
public struct DestroyedCount: Sendable, Equatable {
  public var destroyed: Int

  public init(destroyed: Int) {
    self.destroyed = destroyed
  }
}

extension DestroyedCount: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    destroyed = try ObjectReader(json, at: path).integer("destroyed")
  }

  public var json: JSON { ["destroyed": .number(destroyed)] }
}
