/// What a vif has carried, by its device in dom0: what the guest sent is received (rx), as everywhere in the API.
public struct VifStatistics: Sendable, Equatable {
  public var index: Int
  public var rxPackets: Int
  public var rxBytes: Int
  public var rxDropped: Int
  public var txPackets: Int
  public var txBytes: Int
  public var txDropped: Int

  public init(
    index: Int, rxPackets: Int = 0, rxBytes: Int = 0, rxDropped: Int = 0, txPackets: Int = 0, txBytes: Int = 0,
    txDropped: Int = 0
  ) {
    self.index = index
    self.rxPackets = rxPackets
    self.rxBytes = rxBytes
    self.rxDropped = rxDropped
    self.txPackets = txPackets
    self.txBytes = txBytes
    self.txDropped = txDropped
  }
}

extension VifStatistics: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    index = try reader.integer("index")
    rxPackets = try reader.integer("rxPackets")
    rxBytes = try reader.integer("rxBytes")
    rxDropped = try reader.integer("rxDropped")
    txPackets = try reader.integer("txPackets")
    txBytes = try reader.integer("txBytes")
    txDropped = try reader.integer("txDropped")
  }

  public var json: JSON {
    [
      "index": .number(index),
      "rxPackets": .number(rxPackets), "rxBytes": .number(rxBytes), "rxDropped": .number(rxDropped),
      "txPackets": .number(txPackets), "txBytes": .number(txBytes), "txDropped": .number(txDropped),
    ]
  }
}

/// What a guest has used since its domain was made.
public struct GuestStatistics: Sendable, Equatable {
  public var name: String
  public var uuid: String
  public var domid: Int
  public var cpuNanoseconds: Int
  public var memoryMiB: Int
  public var vifs: [VifStatistics]

  public init(
    name: String, uuid: String, domid: Int, cpuNanoseconds: Int, memoryMiB: Int, vifs: [VifStatistics] = []
  ) {
    self.name = name
    self.uuid = uuid
    self.domid = domid
    self.cpuNanoseconds = cpuNanoseconds
    self.memoryMiB = memoryMiB
    self.vifs = vifs
  }
}

extension GuestStatistics: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    name = try reader.string("name")
    uuid = try reader.string("uuid")
    domid = try reader.integer("domid")
    cpuNanoseconds = try reader.integer("cpuNanoseconds")
    memoryMiB = try reader.integer("memoryMiB")
    vifs = try reader.array("vifs")
  }

  public var json: JSON {
    [
      "name": .string(name), "uuid": .string(uuid), "domid": .number(domid),
      "cpuNanoseconds": .number(cpuNanoseconds), "memoryMiB": .number(memoryMiB), "vifs": .list(vifs),
    ]
  }
}

/// The answer to `GET /v1/stats`.
public struct Statistics: Sendable, Equatable {
  /// The host's monotonic clock when the counters were read, so that two answers give rates.
  public var nanoseconds: Int
  public var guests: [GuestStatistics]

  public init(nanoseconds: Int, guests: [GuestStatistics]) {
    self.nanoseconds = nanoseconds
    self.guests = guests
  }
}

extension Statistics: JSONConvertible {
  public init(json: JSON, at path: String) throws(APIError) {
    let reader = try ObjectReader(json, at: path)
    nanoseconds = try reader.integer("nanoseconds")
    guests = try reader.array("guests")
  }

  public var json: JSON { ["nanoseconds": .number(nanoseconds), "guests": .list(guests)] }
}
