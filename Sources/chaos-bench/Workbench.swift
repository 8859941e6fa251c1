import ChaosAPI
import Glibc

/// The host that is measured on: a bridge, an image in the store, pool flavours, and the guests made so far.
final class Workbench {
  static let bridge = "chaos-bench"
  static let image = "chaos-bench-host"
  static let memoryMiB = CreateRequest.defaultMemoryMiB
  /// Guests made between two refills of the pool.
  static let group = 8
  /// The most shells kept: more would measure a pool that nobody keeps.
  static let shells = 16
  /// Guests on one of the bridges of many: what one of them broadcasts wakes all the others there.
  static let neighbours = 50
  private static let prefix = "chaos-bench-"
  /// The interface that LANs are sent from, and its address.
  private static let underlay = "chaos-bench-lan"
  static let vtep = "10.97.0.1"
  /// What the underlay leaves, in bytes.
  static let lanMTU = 1450
  /// LANs have the numbers after it.
  static let firstVNI = 0x97_0000

  let options: Options
  var client: ChaosClient
  private var alive: Set<String> = []
  private var made = 0
  private var laid: Set<String> = []
  /// Bridges of guests that stand by, by name.
  private var moreBridges: Set<String> = []

  init(_ options: Options) {
    self.options = options
    client = ChaosClient(socketPath: options.socket)
  }

  /// One guest to be.
  struct Guest {
    let name: String
    let address: String
    /// On this LAN instead of the bridge.
    var lan: String?
    var bridge = Workbench.bridge

    var vif: String { "bridge=\(bridge),ip=\(address)/16" }

    func request(
      pool: Bool = true, memoryMiB: Int = Workbench.memoryMiB, paused: Bool = false
    ) -> CreateRequest {
      CreateRequest(
        name: name, image: Workbench.image, memoryMiB: memoryMiB, paused: paused,
        vifs: [VifRequest(ip: "\(address)/16", bridge: lan == nil ? bridge : nil, lan: lan)], pool: pool)
    }
  }

  // MARK: Set-up

  func setUp() throws {
    try removeLeftovers()
    try makeBridge()
    _ = try client.addImage(Self.image, .bytes(try readFile(options.image)))
  }

  func tearDown() {
    clear()
    try? usePool(.none)
    try? client.removeImage(Self.image)
    for link in [Self.bridge, Self.underlay] + moreBridges where access("/sys/class/net/\(link)", F_OK) == 0 {
      _ = try? Program("ip").run(["link", "delete", link])
    }
  }

  /// After a measurement, whatever became of it.
  func clear() {
    for name in alive { try? client.destroy(name) }
    alive = []
    for name in laid { try? client.deleteLAN(name, force: true) }
    laid = []
  }

  /// A run that was interrupted leaves its guests and LANs.
  private func removeLeftovers() throws {
    for guest in try client.guests() where guest.name.hasPrefix(Self.prefix) { try client.destroy(guest.name) }
    for lan in try client.lans() where lan.name.hasPrefix(Self.prefix) {
      try client.deleteLAN(lan.name, force: true)
    }
    try LANsByIP.removeAll()
  }

  private func makeBridge() throws {
    if access("/sys/class/net/\(Self.bridge)", F_OK) == 0 { return }
    try make(bridge: Self.bridge, address: "10.231.0.1/16")
  }

  private func make(bridge: String, address: String) throws {
    let ip = try Program("ip")
    try ip.run(["link", "add", bridge, "type", "bridge"])
    try ip.run(["address", "add", address, "dev", bridge])
    try ip.run(["link", "set", bridge, "up"])
  }

  // MARK: Guests

  /// A name and an address nobody had. It is destroyed by `clear()` at the latest.
  func newGuest(on lan: String? = nil) -> Guest {
    made += 1
    let guest = Guest(
      name: "\(Self.prefix)\(made)", address: "10.231.\(1 + made / 250 % 250).\(1 + made % 250)", lan: lan)
    alive.insert(guest.name)
    return guest
  }

  func newGuests(_ count: Int, on lan: String? = nil) -> [Guest] { (0..<count).map { _ in newGuest(on: lan) } }

  /// Makes many guests that stand by and answer, on bridges of their own with few guests each, and waits for them.
  func makeBystanders(_ count: Int) throws -> [Guest] {
    let guests = try (0..<count).map { number in
      let (bridge, host) = (number / Self.neighbours, number % Self.neighbours)
      return try newBystander("chaos-bench\(bridge)", network: "10.\(64 + bridge).0", host: 2 + host)
    }
    for guest in guests {
      try create(guest, from: .none)
      try settle(guest)
    }
    return guests
  }

  private func newBystander(_ bridge: String, network: String, host: Int) throws -> Guest {
    if access("/sys/class/net/\(bridge)", F_OK) != 0 {
      try make(bridge: bridge, address: "\(network).1/16")
      moreBridges.insert(bridge)
    }
    made += 1
    let guest = Guest(name: "\(Self.prefix)\(made)", address: "\(network).\(host)", bridge: bridge)
    alive.insert(guest.name)
    return guest
  }

  @discardableResult
  func create(_ guest: Guest, from kind: ShellKind, paused: Bool = false) throws -> CreateResult {
    let result = try client.create(guest.request(pool: kind != .none, paused: paused))
    guard result.shell == kind else {
      throw Failure("the guest was made from shell '\(result.shell.rawValue)' instead of '\(kind.rawValue)'")
    }
    return result
  }

  /// Returns when the guest has started, so that its first moments, on the same processors, are not counted as the
  /// next sample's. The sustained rows have no such pauses.
  func settle(_ guest: Guest) throws {
    _ = try client.waitUntilReady(guest.name, timeoutSeconds: 30)
  }

  func destroy(_ guest: Guest) throws {
    try client.destroy(guest.name)
    forget(guest)
  }

  /// It was destroyed in another way.
  func forget(_ guest: Guest) { alive.remove(guest.name) }

  // MARK: LANs

  /// Makes the interface that LANs are sent from, unless it is there.
  func makeUnderlay() throws {
    if access("/sys/class/net/\(Self.underlay)", F_OK) == 0 { return }
    let ip = try Program("ip")
    try ip.run(["link", "add", Self.underlay, "type", "dummy"])
    try ip.run(["address", "add", "\(Self.vtep)/24", "dev", Self.underlay])
    try ip.run(["link", "set", Self.underlay, "up"])
  }

  /// LANs to be, with numbers of their own.
  func newLANs(_ count: Int) -> [LANRequest] {
    (1...count).map { number in
      LANRequest(
        name: "\(Self.prefix)\(number)", vni: Self.firstVNI + number, mode: .static, vtep: Self.vtep)
    }
  }

  /// It is deleted by `clear()` at the latest.
  func create(_ lan: LANRequest) throws {
    laid.insert(lan.name)
    _ = try client.createLAN(lan)
  }

  func delete(_ lan: LANRequest) throws {
    try client.deleteLAN(lan.name)
    laid.remove(lan.name)
  }

  // MARK: Pool

  /// Keeps shells of one kind and of no other. They are made up only when `refill()` asks for it (unless `low`
  /// says so), so that no refill falls between two samples.
  func usePool(_ kind: ShellKind, low: Int = 0) throws {
    try setFlavour(image: Self.image, low: low, high: kind == .hot ? Self.shells : 0)
    try setFlavour(image: nil, low: low, high: kind == .blank ? Self.shells : 0)
  }

  private func setFlavour(image: String?, low: Int, high: Int) throws {
    _ = try client.setPool(
      PoolSetRequest(image: image, memoryMiB: Self.memoryMiB, vifs: 1, low: min(low, high), high: high))
  }

  func refill() throws {
    let pool = try client.fillPool(wait: true)
    for flavour in pool.flavours where flavour.ready < min(flavour.high, Self.group) {
      throw Failure("the pool has only \(flavour.ready) shells of \(flavour.id)")
    }
  }

  /// Calls `body` with at most a group of new guests at a time, the pool full before each, until there were so
  /// many; what is left of a group is destroyed. An untimed guest comes first, as the peers have an untimed run.
  func inGroups(_ kind: ShellKind, _ total: Int, _ body: ([Guest]) throws -> Void) throws {
    try usePool(kind)
    try refill()
    let first = newGuest()
    try create(first, from: kind)
    try destroy(first)
    var left = total
    while left > 0 {
      try refill()
      try body(newGuests(min(left, Self.group)))
      left -= Self.group
      clear()
    }
  }
}

func readFile(_ path: String) throws(Failure) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw Failure(doing: path) }
  defer { close(descriptor) }
  var content: [UInt8] = []
  var part = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = read(descriptor, &part, part.count)
    guard count >= 0 else { throw Failure(doing: path) }
    if count == 0 { return content }
    content += part.prefix(count)
  }
}

func writeFile(_ text: String, to path: String, mode: mode_t) throws(Failure) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
  guard descriptor >= 0 else { throw Failure(doing: path) }
  defer { close(descriptor) }
  let bytes = Array(text.utf8)
  guard write(descriptor, bytes, bytes.count) == bytes.count else { throw Failure(doing: path) }
}
