import Glibc

/// Xen's own toolstack with the same kernel on the same bridge.
final class XL {
  /// What xl runs to connect a vif.
  enum Script: String, CaseIterable {
    /// The script that comes with Xen.
    case stock
    /// Two commands and nothing else.
    case script
  }

  private let create: Program
  private let destroy: Program
  private let folder: String
  private var alive: [String] = []

  /// xl is measured alone: the pool is empty meanwhile.
  init(_ bench: Workbench, _ script: Script) throws {
    guard access("/run/xenstored/socket", F_OK) == 0 else {
      throw Failure("xenstored does not run, which xl needs (box/run --xenstore)")
    }
    _ = try bench.client.drainPool()
    folder = "/tmp/chaos-bench.\(getpid()).xl"
    mkdir(folder, 0o700)
    let config = "\(folder)/\(script.rawValue).cfg"
    create = try Program("xl", "create", config)
    destroy = try Program("xl", "destroy")
    try writeFile(Self.hotplug, to: "\(folder)/hotplug", mode: 0o755)
    let kernel = try Self.absolute(bench.options.image)
    try writeFile(
      Self.config(kernel, script == .stock ? nil : "\(folder)/hotplug"), to: config, mode: 0o644)
    try warmUp()
  }

  deinit {
    for name in alive { _ = try? destroy.run([name]) }
    for file in ["hotplug"] + Script.allCases.map({ "\($0.rawValue).cfg" }) { unlink("\(folder)/\(file)") }
    rmdir(folder)
  }

  /// The first run reads programs from disk that the others find in memory. It also shows that xl does its work.
  private func warmUp() throws {
    try makeGuest("chaos-bench-xl-0")
    let ports = names(in: "/sys/class/net/\(Workbench.bridge)/brif")
    guard ports.contains(where: { $0.hasPrefix("vif") }) else {
      throw Failure("xl create left no vif on the bridge, which has [\(ports.joined(separator: ", "))]")
    }
    try destroyGuest("chaos-bench-xl-0")
  }

  /// The guest has no net front-end, so its vif stays unconnected. Whatever it does, it stays until it is destroyed.
  private static func config(_ kernel: String, _ script: String?) -> String {
    let vif = "bridge=\(Workbench.bridge)" + (script.map { ",script=\($0)" } ?? "")
    return """
      name = "chaos-bench-xl"
      type = "pvh"
      kernel = "\(kernel)"
      memory = \(Workbench.memoryMiB)
      vcpus = 1
      vif = [ "\(vif)" ]
      on_poweroff = "preserve"
      on_reboot = "preserve"
      on_crash = "preserve"

      """
  }

  private static let hotplug = """
    #!/bin/sh
    [ "$1" = online ] || exit 0
    ip link set "$vif" master \(Workbench.bridge) up
    xenstore-write "$XENBUS_PATH/hotplug-status" connected

    """

  /// Throws when xl exits with another status than 0.
  @discardableResult
  func makeGuest(_ name: String) throws(Failure) -> Program.Outcome {
    alive.append(name)
    return try create.run(["name=\"\(name)\""])
  }

  @discardableResult
  func destroyGuest(_ name: String) throws(Failure) -> Program.Outcome {
    alive.removeAll { $0 == name }
    return try destroy.run([name])
  }

  /// The oldest guest when there are more than so many.
  func oldest(beyond count: Int) -> String? { alive.count > count ? alive.first : nil }

  private static func absolute(_ path: String) throws(Failure) -> String {
    guard let resolved = realpath(path, nil) else { throw Failure(doing: path) }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
