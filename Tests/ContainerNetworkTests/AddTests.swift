import ChaosAPI
import Foundation
import NetworkAddresses
import StateFiles
import Testing
import VirtualLAN

@testable import ContainerNetwork

/// ADD, by calls of the built program on the real kernel.
@Suite(.timeLimit(.minutes(2))) struct AddTests {
  private func host(_ container: String, _ interface: String = "eth0") throws -> String {
    try AttachmentID(container: container, interface: interface).hostInterface.description
  }

  @Test("the container is on the LAN, and known there before it speaks")
  func good() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call(
      "ADD", "c1", configuration(#""addresses":["10.1.0.2/24","fd00::2/64"],"gateway":"10.1.0.1""#))
    try #require(outcome.status == 0, "\(outcome.output)")

    let inside = try #require(try sandbox.link("eth0", in: "c1"))
    let near = try #require(try sandbox.link(host("c1")))
    let bridge = try #require(try sandbox.link("lan100"))
    let vxlan = try #require(try sandbox.link("vxlan100"))
    #expect(inside.isUp && inside.mtu == 1450 && inside.peerIndex == near.index)
    #expect(near.isUp && near.mtu == 9216 && near.master == bridge.index)
    #expect(bridge.isUp && bridge.mtu == 1450 && vxlan.isUp)
    let mac = try #require(inside.address)
    #expect(mac == (try AttachmentID(container: "c1", interface: "eth0").defaultMAC(host: IPAddress("192.0.2.1"))))

    #expect(try sandbox.addresses(of: "eth0", in: "c1") == ["10.1.0.2/24", "fd00::2/64"])
    let (ready, routes) = try sandbox.ask("c1") { socket in (try socket.addresses(), try socket.defaultRoutes()) }
    #expect(ready.contains { $0.address.description == "fd00::2/64" && !$0.flags.contains(.tentative) })
    #expect(routes.map(\.gateway) == [IPAddress("10.1.0.1")])
    let (entries, addresses) = try sandbox.ask { socket in
      (try socket.forwardingTable(of: near.index), try socket.addresses())
    }
    #expect(entries.contains { $0.mac == mac && $0.state == .static && $0.scope == .master })
    #expect(!addresses.contains { [near.index, bridge.index, vxlan.index].contains($0.index) })

    #expect(
      outcome.json["interfaces"]?.description
        == #"[{"name":"\#(try host("c1"))","mac":"fe:ff:ff:ff:ff:ff"},"#
        + #"{"name":"eth0","mac":"\#(mac)","mtu":1450,"sandbox":"/run/netns/c1"}]"#)
    #expect(
      outcome.json["ips"]?.description
        == #"[{"interface":1,"address":"10.1.0.2/24","gateway":"10.1.0.1"},{"interface":1,"address":"fd00::2/64"}]"#
    )
    #expect(sandbox.records == ["c1:eth0.json"])
  }

  @Test("MAC, MTU and interface name are what was asked for, in every version", arguments: CNIVersion.allCases)
  func wishes(version: CNIVersion) throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100, mtu: 1300)
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call(
      "ADD", "c1", interface: "net-7", arguments: "IgnoreUnknown=1;MAC=02:00:00:00:00:07;X=1",
      configuration(#""mtu":1200"#, version: version.rawValue))
    try #require(outcome.status == 0, "\(outcome.output)")
    let inside = try #require(try sandbox.link("net-7", in: "c1"))
    #expect(inside.mtu == 1200 && inside.address?.description == "02:00:00:00:00:07")
    // The near end takes whatever the LAN carries.
    #expect(try sandbox.link(host("c1", "net-7"))?.mtu == 9216)
    #expect(outcome.json["cniVersion"] == .string(version.rawValue))
    #expect(outcome.json["ips"] == nil)
  }

  @Test("a container may be on several LANs, and stands behind what came before in a chain")
  func several() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeLAN("red", vni: 200, mode: .local)
    try sandbox.makeContainer("c1")
    let first = try sandbox.call("ADD", "c1", configuration(#""address":"10.1.0.2/24""#))
    let second = try sandbox.call(
      "ADD", "c1", interface: "eth1",
      configuration(#""address":"10.1.0.2/24","prevResult":\#(first.json)"#).replacing("blue", with: "red"))
    try #require(second.status == 0, "\(second.output)")
    #expect(try sandbox.link("eth1", in: "c1")?.mtu == 1500)
    let result = try AttachmentResult(ConfigurationReader(second.json))
    #expect(result.interfaces.map(\.name) == [try host("c1"), "eth0", try host("c1", "eth1"), "eth1"])
    #expect(result.addresses.map(\.interface) == [1, 3])
    #expect(try sandbox.members(of: "lan100") == [host("c1")])
    #expect(try sandbox.members(of: "lan200") == [host("c1", "eth1")])
  }

  @Test("a second ADD is refused and disturbs nothing")
  func repeated() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    #expect(try sandbox.call("ADD", "c1", configuration()).status == 0)
    let before = try sandbox.link(host("c1"))?.index
    let again = try sandbox.call("ADD", "c1", configuration())
    #expect(again.status == 1 && again.code == .alreadyAttached)
    #expect(again.message == "CNI_IFNAME: the container has an interface of that name already: 'eth0'")
    let elsewhere = try sandbox.call("ADD", "c1", namespace: "/run/netns/c2", configuration())
    #expect(elsewhere.code == .alreadyAttached)
    #expect(elsewhere.message == "CNI_CONTAINERID: attached already, in '/run/netns/c1': 'c1'")
    #expect(try sandbox.link(host("c1"))?.index == before && sandbox.records == ["c1:eth0.json"])
  }

  @Test("what a reboot of the host left of an attachment is replaced, its addresses given back first")
  func afterReboot() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager()
    try sandbox.makeContainer("c1")
    let text = configuration(#""ipam":{"type":"stub"}"#)
    #expect(try sandbox.call("ADD", "c1", text).status == 0)
    // Interfaces and namespaces go with the kernel; files in /var/lib stay.
    try sandbox.deleteContainer("c1")
    try sandbox.ask { socket in
      for name in ["vxlan100", "lan100"] { try socket.perform(.deleteLink(.name(InterfaceName(name)!))) }
    }
    #expect(try sandbox.leftovers() == ["c1:eth0.json"])
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call("ADD", "c1", text)
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(sandbox.addressManagerCalls.map { $0.prefix { $0 != " " } } == ["ADD", "DEL", "ADD"])
    #expect(try sandbox.members(of: "lan100") == [host("c1")])
  }

  @Test("a damaged record, and a pair without one, are replaced")
  func staleState() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    #expect(try sandbox.call("ADD", "c1", configuration()).status == 0)
    try sandbox.shell("echo nonsense > /var/lib/chaos/cni/c1:eth0.json")
    #expect(try sandbox.call("ADD", "c1", namespace: "/run/netns/c2", configuration()).status == 0)
    #expect(try sandbox.link("eth0", in: "c1") == nil)
    #expect(try sandbox.link("eth0", in: "c2") != nil)
    #expect(try sandbox.members(of: "lan100") == [host("c1")])
  }

  @Test("ten at once, added and deleted")
  func tenAtOnce() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    let names = (0..<10).map { "c\($0)" }
    for name in names { try sandbox.makeContainer(name) }
    let adding = try names.map { try sandbox.starting("ADD", $0, configuration()) }
    for outcome in adding.map({ $0.finish() }) { #expect(outcome.status == 0, "\(outcome.output)") }
    #expect(try sandbox.members(of: "lan100") == names.map { try host($0) }.sorted())
    #expect(sandbox.records.count == 10)
    let macs = try names.map { try sandbox.link("eth0", in: $0)?.address }
    #expect(Set(macs).count == 10 && !macs.contains(nil))
    #expect(try sandbox.link("vxlan100")?.isUp == true)

    let deleting = try names.map { try sandbox.starting("DEL", $0, configuration()) }
    for outcome in deleting.map({ $0.finish() }) { #expect(outcome.status == 0, "\(outcome.output)") }
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
    #expect(try sandbox.link("vxlan100")?.isUp == false)
  }

  @Test("an ADD killed at any moment leaves nothing that DEL does not clear away")
  func killed() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager()
    try sandbox.makeContainer("c1")
    let text = configuration(#""ipam":{"type":"stub"}"#)
    for step in 0..<25 {
      let running = try sandbox.starting("ADD", "c1", text)
      usleep(UInt32(2000 * step))
      kill(running.processIdentifier, SIGKILL)
      _ = running.finish()
      let outcome = try sandbox.call("DEL", "c1", text)
      #expect(outcome.status == 0, "\(outcome.output)")
      #expect(try sandbox.link("eth0", in: "c1") == nil)
      let leftovers = try sandbox.leftovers().filter { !["lan100", "vxlan100"].contains($0) }
      #expect(leftovers.isEmpty, "\(leftovers)")
    }
    #expect(try sandbox.link("vxlan100")?.isUp == false)
  }

  @Test("a container that was started with IPv6 switched off has its IPv6 address")
  func withoutIPv6() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeContainer("c1")
    try sandbox.shell(
      "nsenter --net=/run/netns/c1 sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'")
    let outcome = try sandbox.call("ADD", "c1", configuration(#""address":"fd00::2/64""#))
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(try sandbox.addresses(of: "eth0", in: "c1") == ["fd00::2/64"])
  }

  // MARK: Refusals

  @Test(
    "what cannot be is refused in one line and leaves nothing",
    arguments: [
      (#""lan":"nope""#, CNIError.Code.invalidConfiguration, "lan: no such LAN: 'nope'"),
      (#""lan":"a/b""#, .invalidConfiguration, "lan: "),
      (#""lan":"red","mtu":1451"#, .invalidConfiguration, "mtu: above the LAN's 1450: '1451'"),
      (#""lan":"red","ipam":{"type":"nope"}"#, .delegate, "ipam.type: no such program in CNI_PATH: 'nope'"),
      (#""lan":"red","address":"x""#, .invalidConfiguration, "address: "),
      (#""lan":"red","prevResult":7"#, .invalidConfiguration, "prevResult: "),
      (#""lan":"red","prevResult":{"ips":7}"#, .invalidConfiguration, "prevResult.ips: "),
      (
        #""lan":"red","address":"10.1.0.2/24","runtimeConfig":{"mac":"ff:ff:ff:ff:ff:ff"}"#, .invalidConfiguration,
        "runtimeConfig.mac: multicast address"
      ),
    ])
  func refused(members: String, code: CNIError.Code, message: String) throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("red", vni: 200)
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call(
      "ADD", "c1", #"{"cniVersion":"1.0.0","name":"net","type":"chaos-cni",\#(members)}"#)
    #expect(outcome.status == 1 && outcome.code == code)
    #expect(outcome.message.hasPrefix(message), "\(outcome.output)")
    #expect(outcome.json["cniVersion"] == "1.0.0")
    #expect(try sandbox.link("eth0", in: "c1") == nil)
    #expect(try sandbox.leftovers().filter { !["lan200", "vxlan200"].contains($0) } == [])
    #expect(try sandbox.link("vxlan200")?.isUp != true)
  }

  @Test("containers that are none, or the host itself, are refused")
  func namespaces() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    for path in ["/run/netns/none", "/etc", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/net", "x"] {
      let outcome = try sandbox.call("ADD", "c1", namespace: path, configuration())
      #expect(outcome.status == 1 && outcome.message.hasPrefix("CNI_NETNS: "), "\(path): \(outcome.output)")
    }
    #expect(try sandbox.leftovers().isEmpty)
    let insisting = try sandbox.call(
      "ADD", "c1", namespace: "/proc/self/ns/net", extra: ["CNI_NETNS_OVERRIDE": "1"], configuration())
    #expect(insisting.status == 0, "\(insisting.output)")
    #expect(try sandbox.link("eth0") != nil)
  }

  @Test("an address that another member has is refused; one learned elsewhere is taken over")
  func takenAddress() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    for name in ["c1", "c2"] { try sandbox.makeContainer(name) }
    let text = configuration(#""runtimeConfig":{"mac":"02:00:00:00:00:07"}"#)
    #expect(try sandbox.call("ADD", "c1", text).status == 0)
    let second = try sandbox.call("ADD", "c2", text)
    #expect(second.code == .alreadyAttached)
    #expect(
      second.message == "mac: taken by another member of the LAN, '\(try host("c1"))': '02:00:00:00:00:07'")
    #expect(try sandbox.members(of: "lan100") == [host("c1")])
    #expect(sandbox.records == ["c1:eth0.json"])

    #expect(try sandbox.call("DEL", "c1", text).status == 0)
    try sandbox.ask { socket in
      let vxlan = try #require(try socket.link(named: InterfaceName("vxlan100")!))
      try socket.perform(
        .addForwarding(
          ForwardingEntry(
            device: vxlan.index, mac: MACAddress("02:00:00:00:00:07")!, scope: .master, state: .dynamic,
            isExternallyLearned: true), mode: .create))
    }
    #expect(try sandbox.call("ADD", "c2", text).status == 0)
    let near = try #require(try sandbox.link(host("c2")))
    let entries = try sandbox.ask { try $0.forwardingTable(of: near.index) }
    #expect(entries.contains { $0.mac.description == "02:00:00:00:00:07" && $0.state == .static })
  }

  @Test("without its underlay a LAN is to be tried again later")
  func noUnderlay() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeContainer("c1")
    try sandbox.ask { try $0.perform(.deleteLink(.name(InterfaceName("under0")!))) }
    let outcome = try sandbox.call("ADD", "c1", configuration())
    #expect(outcome.status == 1 && outcome.code == .tryAgain, "\(outcome.output)")
    #expect(try sandbox.leftovers().isEmpty)
  }

  // MARK: IPAM

  @Test("an IPAM plug-in's addresses and routes are given to the container and answered")
  func ipam() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager()
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call("ADD", "c1", configuration(#""ipam":{"type":"stub"},"dns":{"domain":"lab"}"#))
    try #require(outcome.status == 0, "\(outcome.output)")
    #expect(outcome.json["ips"]?.description == #"[{"interface":1,"address":"10.9.0.5/24","gateway":"10.9.0.1"}]"#)
    #expect(outcome.json["routes"]?.description == #"[{"dst":"10.0.0.0/8"}]"#)
    #expect(outcome.json["dns"] == ["domain": "lab"])
    #expect(try sandbox.addresses(of: "eth0", in: "c1") == ["10.9.0.5/24"])
    let route = try sandbox.ask("c1") { try $0.route(to: IPAddress("10.200.0.1")!) }
    #expect(route?.gateway == IPAddress("10.9.0.1"))
    #expect(sandbox.addressManagerCalls == ["ADD c1 eth0 /run/netns/c1"])
  }

  @Test("when the IPAM plug-in fails it is called to delete, and all is undone")
  func failingAddressManager() throws {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager(failing: "ADD")
    try sandbox.makeContainer("c1")
    let outcome = try sandbox.call("ADD", "c1", configuration(#""ipam":{"type":"stub"}"#))
    #expect(outcome.status == 1 && outcome.code == .tryAgain && outcome.message == "stub: no more")
    #expect(sandbox.addressManagerCalls.map { $0.prefix { $0 != " " } } == ["ADD", "DEL"])
    #expect(try sandbox.link("eth0", in: "c1") == nil)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
    #expect(try sandbox.link("vxlan100")?.isUp == false)
  }
}
