import ChaosAPI
import Foundation
import NetworkAddresses
import StateFiles
import Testing

@testable import ContainerNetwork
@testable import VirtualLAN

/// The plug-in for netavark, by calls of the built program on the real kernel, with what Podman 5 writes.
@Suite(.timeLimit(.minutes(2))) struct NetavarkTests {
  private func network(_ options: String = #"{"lan":"blue"}"#, _ members: String = "") -> String {
    let rest = members.isEmpty ? "" : ",\(members)"
    return #"{"name":"net","id":"2f25","driver":"chaos","internal":false,"dns_enabled":true,"#
      + #""subnets":[{"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}],"ipam_options":{"driver":"host-local"},"#
      + #""options":\#(options)\#(rest)}"#
  }

  private func container(
    _ name: String, _ address: String? = "10.1.0.5", network: String? = nil, options: String = "",
    members: String = ""
  ) -> String {
    let ips = address.map { #","static_ips":["\#($0)"]"# } ?? ""
    return #"{"container_id":"\#(name)","container_name":"n","network":\#(network ?? self.network()),"#
      + #""network_options":{"aliases":["x"],"interface_name":"eth0"\#(ips)\#(options)}\#(members)}"#
  }

  private func sandbox() throws -> Sandbox {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    return sandbox
  }

  private func error(_ outcome: Sandbox.Outcome) -> String {
    #expect(outcome.status == 1)
    return outcome.json["error"].flatMap { if case .string(let text) = $0 { text } else { nil } } ?? ""
  }

  @Test("info says the versions")
  func info() throws {
    let outcome = try sandbox().callNetavark("info")
    #expect(outcome.status == 0)
    #expect(outcome.json["api_version"] == "1.0.0" && outcome.json["version"] == .string(Product.version))
  }

  @Test("create answers the network, without a name server of the host's")
  func create() throws {
    let sandbox = try sandbox()
    let outcome = try sandbox.callNetavark("create", input: network())
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(outcome.json["dns_enabled"] == false && outcome.json["id"] == "2f25")
    #expect(outcome.json["ipam_options"]?["driver"] == "host-local")
    let bare = try sandbox.callNetavark("create", input: #"{"name":"blue","driver":"chaos"}"#)
    #expect(bare.status == 0 && bare.json["ipam_options"]?["driver"] == "none", "\(bare.output)")
  }

  @Test(
    "create refuses in one line what it cannot do",
    arguments: [
      (#"{"lan":"green"}"#, "", "no such LAN: 'green'; chaos lan create green makes it"),
      (#"{"lan":"blue","vlan":"5"}"#, "", "options: not one of lan, mtu: 'vlan'"),
      (#"{"lan":"blue","mtu":"9"}"#, "", "options.mtu: must be 68 to 65535: '9'"),
      (
        #"{"lan":"blue"}"#, #""routes":[{"destination":"10.9.0.0/16","gateway":"10.1.0.9"}]"#,
        "routes: not supported"
      ),
    ])
  func refusals(options: String, members: String, message: String) throws {
    let outcome = try sandbox().callNetavark("create", input: network(options, members))
    #expect(error(outcome).hasPrefix(message), "\(outcome.output)")
  }

  @Test("setup joins the container with the addresses that Podman chose, teardown takes it off again")
  func setupAndTeardown() throws {
    let sandbox = try sandbox()
    let mac = #","static_mac":"52:54:00:12:34:56""#
    let outcome = try sandbox.callNetavark("setup", "/run/netns/c1", input: container("c1", options: mac))
    #expect(outcome.status == 0, "\(outcome.output)")
    let eth0 = outcome.json["interfaces"]?["eth0"]
    #expect(eth0?["mac_address"] == "52:54:00:12:34:56")
    #expect(eth0?["subnets"] == [["ipnet": "10.1.0.5/24", "gateway": "10.1.0.1"]])
    #expect(try sandbox.addresses(of: "eth0", in: "c1") == ["10.1.0.5/24"])
    let host = try AttachmentID(container: "c1", interface: "eth0").hostInterface.description
    #expect(try sandbox.members(of: "lan100") == [host])
    for _ in 1...2 {
      let gone = try sandbox.callNetavark("teardown", "/run/netns/c1", input: container("c1"))
      #expect(gone.status == 0 && gone.output.isEmpty, "\(gone.output)")
      #expect(try sandbox.members(of: "lan100").isEmpty && sandbox.records.isEmpty)
    }
  }

  @Test("an internal network has no gateway, one without subnets no address")
  func fewerThings() throws {
    let sandbox = try sandbox()
    let inner = network().replacingOccurrences(of: #""internal":false"#, with: #""internal":true"#)
    let one = try sandbox.callNetavark("setup", "/run/netns/c1", input: container("c1", network: inner))
    #expect(one.json["interfaces"]?["eth0"]?["subnets"] == [["ipnet": "10.1.0.5/24"]], "\(one.output)")
    let bare = #"{"name":"blue","driver":"chaos","subnets":null,"options":null}"#
    let two = try sandbox.callNetavark("setup", "/run/netns/c2", input: container("c2", nil, network: bare))
    #expect(two.status == 0 && two.json["interfaces"]?["eth0"]?["subnets"] == [], "\(two.output)")
  }

  @Test("setup refuses in one line what a LAN has not")
  func setupRefusals() throws {
    let sandbox = try sandbox()
    let ports = #","port_mappings":[{"container_port":80,"host_port":80,"protocol":"tcp","range":1,"host_ip":""}]"#
    let mapped = try sandbox.callNetavark("setup", "/run/netns/c1", input: container("c1", members: ports))
    #expect(error(mapped).hasPrefix("port_mappings: not supported"))
    let elsewhere = try sandbox.callNetavark("setup", "/run/netns/c1", input: container("c1", "10.9.0.1"))
    #expect(error(elsewhere) == "network_options.static_ips[0]: in none of the network's subnets: '10.9.0.1'")
    let rootless = try sandbox.callNetavark(
      "setup", "/run/netns/c1", input: container("c1"), unshared: ["/usr/bin/unshare", "--user", "--map-root-user"])
    #expect(error(rootless).hasPrefix("rootless Podman cannot join a LAN"))
    #expect(error(try sandbox.callNetavark("setup")).hasPrefix("usage: "))
    #expect(
      error(try sandbox.callNetavark("setup", "/run/netns/c1", input: "{")).hasPrefix(
        "standard input: invalid JSON"))
    #expect(try sandbox.members(of: "lan100").isEmpty && sandbox.records.isEmpty)
  }

  @Test("what netavark's containers left without a teardown is forgotten, and nobody else's")
  func collection() throws {
    let sandbox = try sandbox()
    try #require(try sandbox.callNetavark("setup", "/run/netns/c1", input: container("c1")).status == 0)
    try #require(
      try sandbox.call("ADD", "c2", configuration(#""address":"10.1.0.9/24""#)).status == 0)
    let store = AttachmentStore(folder: sandbox.path("/var/lib/chaos/cni"))
    #expect(store.loadAll().records.count == 2)
    // Seen from this process's network namespace neither has an interface, and their namespaces' paths lead nowhere.
    #expect(store.forgetGone(of: try HostNetwork(), store: sandbox.store).isEmpty)
    #expect(sandbox.records == ["c2:eth0.json"])
  }
}
