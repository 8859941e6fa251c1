import ChaosAPI
import Foundation
import NetworkAddresses
import StateFiles
import Testing
import VirtualLAN

@testable import ContainerNetwork

/// A host of a test's own: a network namespace with an underlay interface, and a mount namespace with nothing of
/// chaos in /etc, /run and /var/lib. It is gone, with all that was made in it, when its last process has ended.
final class Sandbox: Sendable {
  private let holder: Foundation.Process
  private let leave: Pipe

  /// - Throws: where the kernel makes no namespaces for us: these tests need root.
  init() throws {
    let enter = """
      mount -t tmpfs t /etc && mount -t tmpfs t /run && mount -t tmpfs t /var/lib && mkdir /run/netns && echo ready
      read -r end
      """
    ignoresBrokenPipes
    holder = Foundation.Process()
    leave = Pipe()
    let ready = Pipe()
    holder.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
    holder.arguments = ["--net", "--mount", "--propagation", "private", "/bin/sh", "-c", enter]
    holder.standardInput = leave
    holder.standardOutput = ready
    try holder.run()
    let answer = ready.fileHandleForReading.availableData
    try #require(answer == Data("ready\n".utf8), "these tests need root (CAP_SYS_ADMIN)")
    try makeUnderlay()
  }

  deinit {
    try? leave.fileHandleForWriting.close()
    holder.waitUntilExit()
  }

  /// Where a file of the sandbox is for this process.
  func path(_ path: String) -> String { "/proc/\(holder.processIdentifier)/root\(path)" }

  // MARK: Network

  /// Speaks to the sandbox's host, or to a container in it.
  func ask<Result>(
    _ container: String? = nil, _ body: (inout RouteSocket) throws -> Result
  ) throws -> Result {
    let file = container.map { path("/run/netns/\($0)") } ?? "/proc/\(holder.processIdentifier)/ns/net"
    let namespace = try NamespaceHandle(path: file)
    var socket = try RouteSocket(namespace: namespace.descriptor)
    return try body(&socket)
  }

  private func makeUnderlay() throws {
    try ask { socket in
      let near = InterfaceName("under0")!
      let far = InterfaceName("under1")!
      try socket.perform(.createVethPair(host: near, hostMTU: 1500, peer: VethPeer(name: far, mtu: 1500)))
      for name in [far, near, InterfaceName("lo")!] {
        try socket.perform(.changeLink(.name(name), LinkChange(isUp: true)))
      }
      let index = try #require(try socket.link(named: near)).index
      try socket.perform(.addAddress(IPInterface("192.0.2.1/24")!, to: index))
      try socket.perform(.addRoute(destination: nil, gateway: IPAddress("192.0.2.254"), device: index))
    }
  }

  func link(_ name: String, in container: String? = nil) throws -> Link? {
    try ask(container) { try $0.link(named: InterfaceName(name)!) }
  }

  func addresses(of name: String, in container: String?) throws -> [String] {
    try ask(container) { socket in
      guard let index = try socket.link(named: InterfaceName(name)!)?.index else { return [] }
      return try socket.addresses().filter { $0.index == index && !$0.address.address.isLinkLocal }
        .map { $0.address.description }.sorted()
    }
  }

  /// The members of a bridge besides its VXLAN device.
  func members(of bridge: String) throws -> [String] {
    try ask { socket in
      guard let index = try socket.link(named: InterfaceName(bridge)!)?.index else { return [] }
      return try socket.links().filter { $0.master == index && $0.kind != .vxlan }.map(\.name.description).sorted()
    }
  }

  /// Every interface of the host but its underlay, and every record.
  func leftovers() throws -> [String] {
    let links = try ask { try $0.links() }.map(\.name.description)
    return links.filter { !["lo", "under0", "under1"].contains($0) }.sorted() + records
  }

  var records: [String] { StateFile.names(in: path("/var/lib/chaos/cni")).sorted() }

  // MARK: Making things

  func makeContainer(_ name: String) throws {
    try shell(": > /run/netns/\(name) && unshare --net=/run/netns/\(name) true")
  }

  func deleteContainer(_ name: String) throws {
    try shell("umount /run/netns/\(name) && rm /run/netns/\(name)")
  }

  func makeLAN(_ name: String, vni: UInt32, mode: LANDefinition.Mode = .evpn, mtu: Int? = nil) throws {
    try store.save(LANDefinition(name: name, vni: VNI(rawValue: vni)!, mode: mode, mtu: mtu))
  }

  func deleteLAN(_ name: String) throws { try store.remove(name) }

  var store: LANStore { LANStore(definitions: path("/etc/chaos/lans"), locks: path("/run/chaos/lans")) }

  /// An IPAM plug-in that notes in /run/ipam what it is called for, and gives 10.9.0.5/24.
  func makeAddressManager(failing command: String? = nil) throws {
    try shell(
      #"""
      mkdir -p /run/cni && cat > /run/cni/stub <<'EOF'
      #!/bin/sh
      echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS" >> /run/ipam
      [ "$CNI_COMMAND" = "\#(command ?? "none")" ] && { echo '{"code":11,"msg":"no more"}'; exit 1; }
      [ $CNI_COMMAND = ADD ] && echo '{"ips":[{"address":"10.9.0.5/24","gateway":"10.9.0.1"}],"routes":[{"dst":"10.0.0.0/8"}]}'
      exit 0
      EOF
      chmod +x /run/cni/stub; : > /run/ipam
      """#)
  }

  /// What the IPAM plug-in was called for.
  var addressManagerCalls: [String] {
    let text = (try? String(contentsOfFile: path("/run/ipam"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").map(String.init)
  }

  @discardableResult
  func shell(_ command: String) throws -> String {
    let outcome = try start("/bin/sh", ["-c", command], environment: [:], input: "").finish()
    try #require(outcome.status == 0, "\(command): \(outcome.output)")
    return outcome.output
  }

  // MARK: Calling the plug-in

  struct Outcome {
    let status: Int32
    let output: String

    var json: JSON { (try? JSON(parsing: output)) ?? .null }
    var code: CNIError.Code? {
      guard case .integer(let code)? = json["code"] else { return nil }
      return CNIError.Code(rawValue: Int(code))
    }
    var message: String {
      guard case .string(let text)? = json["msg"] else { return "" }
      return text
    }
  }

  final class Running {
    fileprivate let process = Foundation.Process()
    fileprivate let output = Pipe()

    var processIdentifier: Int32 { process.processIdentifier }

    func finish() -> Outcome {
      let data = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return Outcome(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
    }
  }

  func start(_ program: String, _ arguments: [String], environment: [String: String], input: String) throws
    -> Running
  {
    let running = Running()
    let feed = Pipe()
    running.process.executableURL = URL(fileURLWithPath: "/usr/bin/nsenter")
    running.process.arguments =
      ["--target", "\(holder.processIdentifier)", "--net", "--mount", "--", program] + arguments
    running.process.environment = environment.merging(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]) { $1 }
    running.process.standardInput = feed
    running.process.standardOutput = running.output
    try running.process.run()
    // Shorter than a pipe holds, so that this never waits.
    try? feed.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try feed.fileHandleForWriting.close()
    return running
  }

  /// The programs under test: built beside this one.
  private static let programs =
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
  private static let program = programs.appendingPathComponent("chaos-cni").path

  /// Starts a call, for a container whose namespace is called as it is.
  func starting(
    _ command: String, _ container: String? = nil, interface: String = "eth0", namespace: String? = nil,
    arguments: String = "", extra: [String: String] = [:], _ configuration: String
  ) throws -> Running {
    var environment = ["CNI_COMMAND": command, "CNI_PATH": "/run/cni", "CNI_ARGS": arguments]
    if let container {
      environment["CNI_CONTAINERID"] = container
      environment["CNI_IFNAME"] = interface
      environment["CNI_NETNS"] = namespace ?? "/run/netns/\(container)"
    }
    return try start(Self.program, [], environment: environment.merging(extra) { $1 }, input: configuration)
  }

  func call(
    _ command: String, _ container: String? = nil, interface: String = "eth0", namespace: String? = nil,
    arguments: String = "", extra: [String: String] = [:], _ configuration: String
  ) throws -> Outcome {
    try starting(
      command, container, interface: interface, namespace: namespace, arguments: arguments, extra: extra,
      configuration
    ).finish()
  }

  /// A call of the plug-in for netavark.
  func callNetavark(_ arguments: String..., input: String = "", unshared: [String] = []) throws -> Outcome {
    let program = Self.programs.appendingPathComponent("chaos-netavark").path
    let all = unshared + [program] + arguments
    return try start(all[0], Array(all.dropFirst()), environment: [:], input: input).finish()
  }

  /// A call that is not about one container.
  func call(_ command: String, _ configuration: String) throws -> Outcome {
    try call(command, nil, configuration)
  }
}

/// As the program does: whoever is written to may be gone.
let ignoresBrokenPipes: Void = { _ = signal(SIGPIPE, SIG_IGN) }()

/// A configuration of a network called `net` on the LAN `blue`.
func configuration(_ members: String = "", version: String = "1.1.0") -> String {
  let rest = members.isEmpty ? "" : ",\(members)"
  return #"{"cniVersion":"\#(version)","name":"net","type":"chaos-cni","lan":"blue"\#(rest)}"#
}
