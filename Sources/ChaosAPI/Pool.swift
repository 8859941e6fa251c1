/// A kind of prepared shell the pool keeps, and how it stands.
public struct FlavourInfo: Sendable, Equatable {
  public var id: String
  /// Nil: blank shells, without an image.
  public var image: ImageReference?
  public var ramdisk: ImageReference?
  public var memoryMiB: Int
  public var vcpus: Int
  public var vifs: Int
  public var windowKiB: Int
  /// The pool refills when fewer than this many shells are ready...
  public var low: Int
  /// ...up to this many.
  public var high: Int
  public var ready: Int
  /// Guests made from this flavour since the daemon started.
  public var hits: Int

  public init(
    id: String, image: ImageReference? = nil, ramdisk: ImageReference? = nil, memoryMiB: Int,
    vcpus: Int, vifs: Int, windowKiB: Int, low: Int, high: Int, ready: Int, hits: Int
  ) {
    self.id = id
    self.image = image
    self.ramdisk = ramdisk
    self.memoryMiB = memoryMiB
    self.vcpus = vcpus
    self.vifs = vifs
    self.windowKiB = windowKiB
    self.low = low
    self.high = high
    self.ready = ready
    self.hits = hits
  }
}

extension FlavourInfo: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    id = try reader.string("id")
    image = try reader.optionalValue("image")
    ramdisk = try reader.optionalValue("ramdisk")
    memoryMiB = try reader.integer("memoryMiB")
    vcpus = try reader.integer("vcpus")
    vifs = try reader.integer("vifs")
    windowKiB = try reader.integer("windowKiB")
    low = try reader.integer("low")
    high = try reader.integer("high")
    ready = try reader.integer("ready")
    hits = try reader.integer("hits")
  }

  public var json: JSON {
    var object: JSONObject = ["id": .string(id)]
    object.append("image", image?.json)
    object.append("ramdisk", ramdisk?.json)
    object.append("memoryMiB", .number(memoryMiB))
    object.append("vcpus", .number(vcpus))
    object.append("vifs", .number(vifs))
    object.append("windowKiB", .number(windowKiB))
    object.append("low", .number(low))
    object.append("high", .number(high))
    object.append("ready", .number(ready))
    object.append("hits", .number(hits))
    return .object(object)
  }
}

/// How many creates each kind of shell served since the daemon started.
public struct ShellHits: Sendable, Equatable {
  public var hot: Int
  public var blank: Int
  public var none: Int

  public init(hot: Int, blank: Int, none: Int) {
    self.hot = hot
    self.blank = blank
    self.none = none
  }
}

extension ShellHits: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    hot = try reader.integer("hot")
    blank = try reader.integer("blank")
    none = try reader.integer("none")
  }

  public var json: JSON {
    ["hot": .number(hot), "blank": .number(blank), "none": .number(none)]
  }
}

/// The pool as it stands.
public struct PoolStatus: Sendable, Equatable {
  public var flavours: [FlavourInfo]
  /// The memory that ready shells may take.
  public var budgetMiB: Int
  public var usedMiB: Int
  /// Drained: the pool stays empty until it is filled or set.
  public var draining: Bool
  public var hits: ShellHits

  public init(
    flavours: [FlavourInfo], budgetMiB: Int, usedMiB: Int, draining: Bool, hits: ShellHits
  ) {
    self.flavours = flavours
    self.budgetMiB = budgetMiB
    self.usedMiB = usedMiB
    self.draining = draining
    self.hits = hits
  }
}

extension PoolStatus: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    flavours = try reader.array("flavours")
    budgetMiB = try reader.integer("budgetMiB")
    usedMiB = try reader.integer("usedMiB")
    draining = try reader.bool("draining")
    hits = try reader.value("hits")
  }

  public var json: JSON {
    [
      "flavours": .list(flavours),
      "budgetMiB": .number(budgetMiB),
      "usedMiB": .number(usedMiB),
      "draining": .bool(draining),
      "hits": hits.json,
    ]
  }
}

/// Sets one flavour of the pool; `low` and `high` both zero remove it.
public struct PoolSetRequest: Sendable, Equatable {
  /// Nil: blank shells.
  public var image: String?
  public var ramdisk: String?
  public var memoryMiB: Int
  public var vcpus: Int
  public var vifs: Int
  public var windowKiB: Int?
  public var low: Int
  public var high: Int
  /// Nil leaves the pool's memory budget as it is.
  public var budgetMiB: Int?

  public init(
    image: String? = nil, ramdisk: String? = nil,
    memoryMiB: Int = CreateRequest.defaultMemoryMiB, vcpus: Int = 1, vifs: Int = 0,
    windowKiB: Int? = nil, low: Int, high: Int, budgetMiB: Int? = nil
  ) {
    self.image = image
    self.ramdisk = ramdisk
    self.memoryMiB = memoryMiB
    self.vcpus = vcpus
    self.vifs = vifs
    self.windowKiB = windowKiB
    self.low = low
    self.high = high
    self.budgetMiB = budgetMiB
  }
}

extension PoolSetRequest: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    try reader.refuseKeys(notIn: [
      "image", "ramdisk", "memoryMiB", "vcpus", "vifs", "windowKiB", "low", "high", "budgetMiB",
    ])
    image = try reader.optionalString("image")
    ramdisk = try reader.optionalString("ramdisk")
    memoryMiB = try reader.integer("memoryMiB")
    vcpus = try reader.integer("vcpus")
    vifs = try reader.integer("vifs")
    windowKiB = try reader.optionalInteger("windowKiB")
    low = try reader.integer("low")
    high = try reader.integer("high")
    budgetMiB = try reader.optionalInteger("budgetMiB")
  }

  public var json: JSON {
    var object = JSONObject()
    object.append("image", image.map(JSON.string))
    object.append("ramdisk", ramdisk.map(JSON.string))
    object.append("memoryMiB", .number(memoryMiB))
    object.append("vcpus", .number(vcpus))
    object.append("vifs", .number(vifs))
    object.append("windowKiB", windowKiB.map { .number($0) })
    object.append("low", .number(low))
    object.append("high", .number(high))
    object.append("budgetMiB", budgetMiB.map { .number($0) })
    return .object(object)
  }
}
