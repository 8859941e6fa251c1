import Foundation
import NetworkAddresses
import Testing
import VirtualLAN

@testable import ContainerNetwork

/// Megalos's own configuration, by calls of the built program on the real kernel.
@Suite(.timeLimit(.minutes(2))) struct MegalosTests {
  private static let configuration =
    #"{"cniVersion":"0.3.0","name":"my-net9","type":"megalos","suffix":"lab","vxlanId":77,"master":"under0"}"#

  private func sandbox() throws -> Sandbox {
    let sandbox = try Sandbox()
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    return sandbox
  }

  private func host(_ container: String) throws -> String {
    try AttachmentID(container: container, interface: "net0").hostInterface.description
  }

  private func call(_ sandbox: Sandbox, _ command: String, _ container: String) throws -> Sandbox.Outcome {
    try sandbox.call(
      command, container, interface: "net0",
      arguments: "K8S_POD_NAME=x;MAC=02:00:00:00:00:0\(container.dropFirst())",
      Self.configuration)
  }

  @Test("the LAN is made by the first container, shared, and deleted with the last")
  func lifetime() throws {
    let sandbox = try sandbox()
    let first = try call(sandbox, "ADD", "c1")
    try #require(first.status == 0, "\(first.output)")
    let bridge = try #require(try sandbox.link("kt-my-ne-lab"))
    let vxlan = try #require(try sandbox.link("my-ne-lab"))
    #expect(bridge.isUp && vxlan.isUp && vxlan.master == bridge.index && vxlan.portLearns == false)
    #expect(
      vxlan.vxlan
        == VXLANSettings(vni: VNI(rawValue: 77)!, local: IPAddress("192.0.2.1"), port: 8472, learns: false))
    #expect(
      first.json["interfaces"]?.description
        == #"[{"name":"\#(try host("c1"))","mac":"fe:ff:ff:ff:ff:ff"},"#
        + #"{"name":"net0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/c1"}]"#)
    #expect(first.json["ips"] == nil)

    #expect(try call(sandbox, "ADD", "c2").status == 0)
    #expect(try sandbox.link("kt-my-ne-lab")?.index == bridge.index)
    #expect(try call(sandbox, "DEL", "c1").status == 0)
    #expect(try sandbox.members(of: "kt-my-ne-lab") == [host("c2")])
    #expect(try call(sandbox, "DEL", "c2").status == 0)
    #expect(try sandbox.leftovers().isEmpty)
    #expect(try call(sandbox, "DEL", "c2").status == 0)
  }

  @Test("a bridge that Megalos's own plug-in made is shared as it is, and deleted with its last port")
  func shared() throws {
    let sandbox = try sandbox()
    let bridge = InterfaceName("kt-my-ne-lab")!
    let vxlan = InterfaceName("my-ne-lab")!
    try sandbox.ask { socket in
      try socket.perform(.createBridge(bridge))
      let index = try #require(try socket.link(named: bridge)).index
      let settings = VXLANSettings(
        vni: VNI(rawValue: 77)!, local: IPAddress("192.0.2.1"), port: 8472, learns: false)
      try socket.perform(.createVXLAN(vxlan, settings, mtu: 1500, master: index))
      for name in [vxlan, bridge] { try socket.perform(.changeLink(.name(name), LinkChange(isUp: true))) }
    }
    let before = try sandbox.link("kt-my-ne-lab")?.index
    let outcome = try call(sandbox, "ADD", "c1")
    try #require(outcome.status == 0, "\(outcome.output)")
    #expect(try sandbox.link("kt-my-ne-lab")?.index == before)
    // Its other members send frames as large as the bridge takes.
    #expect(try sandbox.link("net0", in: "c1")?.mtu == 1500)
    #expect(try sandbox.link("kt-my-ne-lab")?.mtu == 1500)
    // A port of Megalos's.
    try sandbox.ask { socket in
      let index = try #require(try socket.link(named: bridge)).index
      try socket.perform(
        .createVethPair(
          host: InterfaceName("veth01234567")!, hostMaster: index, peer: VethPeer(name: InterfaceName("vethx")!)))
    }
    #expect(try call(sandbox, "DEL", "c1").status == 0)
    #expect(try sandbox.members(of: "kt-my-ne-lab") == ["veth01234567"])
    #expect(try call(sandbox, "ADD", "c1").status == 0)
    try sandbox.ask { try $0.perform(.deleteLink(.name(InterfaceName("veth01234567")!))) }
    #expect(try call(sandbox, "DEL", "c1").status == 0)
    #expect(try sandbox.leftovers().isEmpty)
  }

  @Test("a bridge of that name with another VNI is left alone")
  func foreign() throws {
    let sandbox = try sandbox()
    try sandbox.ask { try $0.perform(.createBridge(InterfaceName("kt-my-ne-lab")!)) }
    let outcome = try call(sandbox, "ADD", "c1")
    #expect(outcome.status == 1 && outcome.message.hasPrefix("bridge: "), "\(outcome.output)")
    #expect(try call(sandbox, "DEL", "c1").status == 0)
    #expect(try sandbox.leftovers() == ["kt-my-ne-lab"])
  }

  @Test("a LAN that was created to share the bridge outlives its members")
  func kept() throws {
    let sandbox = try sandbox()
    let lan = try LANDefinition.megalos(
      name: "my-net9", suffix: "lab", vni: VNI(rawValue: 77)!, underlay: .automatic, lifetime: .kept)
    try LANStore(definitions: sandbox.path("/etc/chaos/lans")).save(lan)
    #expect(try call(sandbox, "ADD", "c1").status == 0)
    #expect(try call(sandbox, "DEL", "c1").status == 0)
    #expect(try sandbox.leftovers() == ["kt-my-ne-lab", "my-ne-lab"])
    #expect(try sandbox.link("my-ne-lab")?.isUp == false)

    try sandbox.deleteLAN("my-net9")
    let other = try LANDefinition.megalos(name: "my-net9", suffix: "lab", vni: VNI(rawValue: 78)!, lifetime: .kept)
    try LANStore(definitions: sandbox.path("/etc/chaos/lans")).save(other)
    let outcome = try call(sandbox, "ADD", "c1")
    #expect(outcome.message == "vxlanId: not the 78 of the LAN 'my-net9' with the same bridge: '77'")
  }

  @Test("devices that have the names of former days are shared while they are there, and no VNI has two of them")
  func formerNames() throws {
    let sandbox = try sandbox()
    let lan = try LANDefinition.megalos(
      name: "my-net9", suffix: "lab", vni: VNI(rawValue: 77)!, underlay: .automatic, lifetime: .kept,
      naming: .former)
    let store = LANStore(definitions: sandbox.path("/etc/chaos/lans"))
    try store.save(lan)
    #expect(try call(sandbox, "ADD", "c1").status == 0)
    #expect(try sandbox.members(of: "kt-mynet-lab") == [host("c1")])
    // As when chaos-cni made it by its former rule and is replaced now.
    try sandbox.deleteLAN("my-net9")
    let outcome = try call(sandbox, "ADD", "c2")
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(try sandbox.members(of: "kt-mynet-lab") == [host("c1"), host("c2")].sorted())
    #expect(try sandbox.link("my-ne-lab") == nil)
    for container in ["c1", "c2"] { #expect(try call(sandbox, "DEL", container).status == 0) }
    #expect(try sandbox.leftovers().isEmpty)
    #expect(try call(sandbox, "ADD", "c1").status == 0)
    #expect(try sandbox.members(of: "kt-my-ne-lab") == [host("c1")])
    #expect(try call(sandbox, "DEL", "c1").status == 0)

    try store.save(LANDefinition(name: "other", vni: VNI(rawValue: 77)!, mode: .evpn))
    let refusal = try call(sandbox, "ADD", "c1")
    #expect(refusal.message == "vxlanId: taken by the LAN 'other' with the bridge 'lan77': '77'")
    #expect(try sandbox.leftovers().isEmpty)
  }

  @Test("ten at once, through all of a LAN's life")
  func tenAtOnce() throws {
    let sandbox = try Sandbox()
    let names = (0..<10).map { "c\($0)" }
    for name in names { try sandbox.makeContainer(name) }
    for command in ["ADD", "DEL", "ADD", "DEL"] {
      let calls = try names.map { try sandbox.starting(command, $0, interface: "net0", Self.configuration) }
      for outcome in calls.map({ $0.finish() }) { #expect(outcome.status == 0, "\(outcome.output)") }
      #expect(try sandbox.members(of: "kt-my-ne-lab").count == (command == "ADD" ? 10 : 0))
    }
    #expect(try sandbox.leftovers().isEmpty)
  }
}
