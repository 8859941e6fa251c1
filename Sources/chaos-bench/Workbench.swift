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
  private static let prefix = "chaos-bench-"

  let options: Options
  var client: ChaosClient
  private var alive: Set<String> = []
  private var made = 0

  init(_ options: Options) {
    self.options = options
    client = ChaosClient(socketPath: options.socket)
  }

  /// One guest to be.
  struct Guest {
    let name: String
    let address: String

    var vif: String { "bridge=\(Workbench.bridge),ip=\(address)/16" }

    func request(
      pool: Bool = true, memoryMiB: Int = Workbench.memoryMiB, paused: Bool = false
    ) -> CreateRequest {
      CreateRequest(
        name: name, image: Workbench.image, memoryMiB: memoryMiB, paused: paused,
        vifs: [VifRequest(ip: "\(address)/16", bridge: Workbench.bridge)], pool: pool)
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
    _ = try? Program("ip").run(["link", "delete", Self.bridge])
  }

  /// After a measurement, whatever became of it.
  func clear() {
    for name in alive { try? client.destroy(name) }
    alive = []
  }

  /// A run that was interrupted leaves its guests.
  private func removeLeftovers() throws {
    for guest in try client.guests() where guest.name.hasPrefix(Self.prefix) { try client.destroy(guest.name) }
  }

  private func makeBridge() throws {
    if access("/sys/class/net/\(Self.bridge)", F_OK) == 0 { return }
    let ip = try Program("ip")
    try ip.run(["link", "add", Self.bridge, "type", "bridge"])
    try ip.run(["address", "add", "10.231.0.1/16", "dev", Self.bridge])
    try ip.run(["link", "set", Self.bridge, "up"])
  }

  // MARK: Guests

  /// A name and an address nobody had. It is destroyed by `clear()` at the latest.
  func newGuest() -> Guest {
    made += 1
    let guest = Guest(name: "\(Self.prefix)\(made)", address: "10.231.\(1 + made / 250 % 250).\(1 + made % 250)")
    alive.insert(guest.name)
    return guest
  }

  func newGuests(_ count: Int) -> [Guest] { (0..<count).map { _ in newGuest() } }

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
