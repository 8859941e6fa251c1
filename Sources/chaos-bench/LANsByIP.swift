import Glibc

/// What chaos makes of LANs, made by `ip -batch` alone: devices of other names, and another UDP port.
final class LANsByIP {
  private static let prefix = "ipbatch-"
  private static let port = 4790
  /// Of a run of many LANs, in seconds.
  private static let limit = 900

  private let creation: Batch
  private let deletion: Batch

  /// Writes the batches.
  init(_ count: Int) throws {
    try Self.removeAll()
    creation = try Batch("create", (1...count).map(Self.creation).joined())
    deletion = try Batch("delete", (1...count).map(Self.deletion).joined())
  }

  deinit { try? Self.removeAll() }

  /// Makes all LANs; returns how long it took, in seconds.
  func create() throws -> Double { try creation.run() }

  func delete() throws -> Double { try deletion.run() }

  /// The mode of addresses has a line of its own, before the bridge is up: later it has its address.
  private static func creation(_ number: Int) -> String {
    let (bridge, vxlan) = ("\(prefix)b\(number)", "\(prefix)v\(number)")
    let tunnel = "id \(Workbench.firstVNI + number) local \(Workbench.vtep) dstport \(port) nolearning"
    return """
      link add \(bridge) mtu \(Workbench.lanMTU) type bridge
      link set \(bridge) addrgenmode none
      link set \(bridge) up
      link add \(vxlan) type vxlan \(tunnel)
      link set \(vxlan) master \(bridge) mtu \(Workbench.lanMTU)

      """
  }

  private static func deletion(_ number: Int) -> String {
    "link delete \(prefix)v\(number)\nlink delete \(prefix)b\(number)\n"
  }

  /// Removes what a run that failed or was interrupted left.
  static func removeAll() throws {
    let left = names(in: "/sys/class/net").filter { $0.hasPrefix(prefix) }
    guard !left.isEmpty else { return }
    _ = try Batch("remove", left.map { "link delete \($0)\n" }.joined(), options: ["-force"]).run()
  }

  /// A file of lines for ip.
  private struct Batch: ~Copyable {
    private let path: String
    private let ip: Program

    init(_ name: String, _ lines: String, options: [String] = []) throws(Failure) {
      path = "/tmp/chaos-bench.\(getpid()).ip-\(name)"
      try writeFile(lines, to: path, mode: 0o600)
      ip = try Program("ip", options + ["-batch", path])
    }

    deinit { unlink(path) }

    func run() throws(Failure) -> Double { try ip.run(seconds: limit).milliseconds / 1000 }
  }
}
