/// A stored image.
public struct ImageInfo: Sendable, Equatable {
  /// The largest that is taken, in bytes.
  public static let largest = 1 << 30

  /// Nil for an anonymous one, kept only while it is used.
  public var name: String?
  /// `sha256:` and 64 hexadecimal digits.
  public var digest: String
  /// In bytes.
  public var size: Int
  /// The entry address; nil for a ramdisk.
  public var entry: Int?
  /// The device-page version the image's runtime note asks for; nil without one.
  public var runtimeABI: Int?
  /// RFC 3339; see `Timestamp`.
  public var added: String

  public init(
    name: String? = nil, digest: String, size: Int, entry: Int? = nil, runtimeABI: Int? = nil,
    added: String
  ) {
    self.name = name
    self.digest = digest
    self.size = size
    self.entry = entry
    self.runtimeABI = runtimeABI
    self.added = added
  }
}

extension ImageInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.optionalString("name")
    digest = try reader.string("digest")
    size = try reader.integer("size")
    entry = try reader.optionalInteger("entry")
    runtimeABI = try reader.optionalInteger("runtimeABI")
    added = try reader.string("added")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("name", name.map(JSON.string))
    object.append("digest", .string(digest))
    object.append("size", .number(size))
    object.append("entry", entry.map { .number($0) })
    object.append("runtimeABI", runtimeABI.map { .number($0) })
    object.append("added", .string(added))
    return .object(object)
  }
}

/// The answer to `GET /v1/images`.
public struct ImageList: Sendable, Equatable {
  public var images: [ImageInfo]

  public init(images: [ImageInfo]) {
    self.images = images
  }
}

extension ImageList: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    images = try ObjectReader(json, at: path).array("images")
  }

  public var json: JSON { ["images": .list(images)] }
}

/// One thing the host has a bounded number of.
public struct HostLimit: Sendable, Equatable {
  public var name: String
  public var used: Int
  public var max: Int

  public init(name: String, used: Int, max: Int) {
    self.name = name
    self.used = used
    self.max = max
  }
}

extension HostLimit: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    used = try reader.integer("used")
    max = try reader.integer("max")
  }

  public var json: JSON { ["name": .string(name), "used": .number(used), "max": .number(max)] }
}

/// The host's capacity and what bounds it.
public struct HostInfo: Sendable, Equatable {
  public var hostname: String
  public var xenVersion: String
  /// Which versions of Xen's unstable interfaces are spoken: "domctl 0x15, sysctl 0x15".
  public var xenInterface: String
  public var capabilities: String
  public var totalMiB: Int
  public var freeMiB: Int
  /// Promised to creates in flight.
  public var reservedMiB: Int
  public var dom0MemoryMiB: Int
  /// dom0 keeps its memory (`dom0_mem=`), so that what Xen says is free stays so.
  public var dom0MemoryFixed: Bool
  public var cpus: Int
  public var guests: Int
  /// Ready in the pool.
  public var shells: Int
  public var limits: [HostLimit]
  /// One line each.
  public var warnings: [String]

  public init(
    hostname: String, xenVersion: String, xenInterface: String, capabilities: String, totalMiB: Int,
    freeMiB: Int, reservedMiB: Int, dom0MemoryMiB: Int, dom0MemoryFixed: Bool, cpus: Int, guests: Int,
    shells: Int, limits: [HostLimit], warnings: [String]
  ) {
    self.hostname = hostname
    self.xenVersion = xenVersion
    self.xenInterface = xenInterface
    self.capabilities = capabilities
    self.totalMiB = totalMiB
    self.freeMiB = freeMiB
    self.reservedMiB = reservedMiB
    self.dom0MemoryMiB = dom0MemoryMiB
    self.dom0MemoryFixed = dom0MemoryFixed
    self.cpus = cpus
    self.guests = guests
    self.shells = shells
    self.limits = limits
    self.warnings = warnings
  }
}

extension HostInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    hostname = try reader.string("hostname")
    xenVersion = try reader.string("xenVersion")
    xenInterface = try reader.string("xenInterface")
    capabilities = try reader.string("capabilities")
    totalMiB = try reader.integer("totalMiB")
    freeMiB = try reader.integer("freeMiB")
    reservedMiB = try reader.integer("reservedMiB")
    dom0MemoryMiB = try reader.integer("dom0MemoryMiB")
    dom0MemoryFixed = try reader.bool("dom0MemoryFixed")
    cpus = try reader.integer("cpus")
    guests = try reader.integer("guests")
    shells = try reader.integer("shells")
    limits = try reader.array("limits")
    warnings = try reader.strings("warnings")
  }

  public var json: JSON {
    [
      "hostname": .string(hostname),
      "xenVersion": .string(xenVersion),
      "xenInterface": .string(xenInterface),
      "capabilities": .string(capabilities),
      "totalMiB": .number(totalMiB),
      "freeMiB": .number(freeMiB),
      "reservedMiB": .number(reservedMiB),
      "dom0MemoryMiB": .number(dom0MemoryMiB),
      "dom0MemoryFixed": .bool(dom0MemoryFixed),
      "cpus": .number(cpus),
      "guests": .number(guests),
      "shells": .number(shells),
      "limits": .list(limits),
      "warnings": .strings(warnings),
    ]
  }
}

/// Who answers.
public struct VersionInfo: Sendable, Equatable {
  /// The daemon's.
  public var version: String
  /// Of this API: 1.
  public var apiVersion: Int
  /// Of the device page.
  public var abiVersion: Int
  /// The hypervisor's.
  public var xen: String
  /// Which versions of its unstable interfaces are spoken: "domctl 0x15, sysctl 0x15".
  public var xenInterface: String

  public init(version: String, apiVersion: Int = 1, abiVersion: Int, xen: String, xenInterface: String) {
    self.version = version
    self.apiVersion = apiVersion
    self.abiVersion = abiVersion
    self.xen = xen
    self.xenInterface = xenInterface
  }
}

extension VersionInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    version = try reader.string("version")
    apiVersion = try reader.integer("apiVersion")
    abiVersion = try reader.integer("abiVersion")
    xen = try reader.string("xen")
    xenInterface = try reader.string("xenInterface")
  }

  public var json: JSON {
    [
      "version": .string(version), "apiVersion": .number(apiVersion),
      "abiVersion": .number(abiVersion), "xen": .string(xen),
      "xenInterface": .string(xenInterface),
    ]
  }
}
