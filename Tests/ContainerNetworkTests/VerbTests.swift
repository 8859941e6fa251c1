import ChaosAPI
import Foundation
import NetworkAddresses
import Testing

@testable import ContainerNetwork
@testable import VirtualLAN

/// DEL, CHECK, GC, STATUS and VERSION, by calls of the built program on the real kernel.
@Suite(.timeLimit(.minutes(2))) struct VerbTests {
  private func host(_ container: String) throws -> String {
    try AttachmentID(container: container, interface: "eth0").hostInterface.description
  }

  /// A sandbox with the LAN `blue` and containers on it, and what ADD answered for the first.
  private func sandbox(
    _ containers: [String] = ["c1"], members: String = "", version: String = "1.1.0"
  ) throws -> (Sandbox, JSON) {
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager()
    var answers: [JSON] = []
    for container in containers {
      try sandbox.makeContainer(container)
      let outcome = try sandbox.call("ADD", container, configuration(members, version: version))
      try #require(outcome.status == 0, "\(outcome.output)")
      answers.append(outcome.json)
    }
    return (sandbox, answers[0])
  }

  // MARK: DEL

  @Test("DEL takes away what ADD made, again and again, and says nothing")
  func delete() throws {
    let (sandbox, result) = try sandbox(["c1", "c2"])
    for text in [configuration(#""prevResult":\#(result)"#), configuration(), configuration()] {
      let outcome = try sandbox.call("DEL", "c1", text)
      #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)")
      #expect(try sandbox.link("eth0", in: "c1") == nil)
      #expect(try sandbox.members(of: "lan100") == [host("c2")])
      #expect(sandbox.records == ["c2:eth0.json"])
      #expect(try sandbox.link("vxlan100")?.isUp == true)
    }
    #expect(try sandbox.call("DEL", "c2", configuration()).status == 0)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
    #expect(try sandbox.link("vxlan100")?.isUp == false)
  }

  @Test("DEL of what was never added succeeds", arguments: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
  func deleteNothing(version: String) throws {
    let sandbox = try Sandbox()
    #expect(try sandbox.call("DEL", "c9", configuration(version: version)).status == 0)
    #expect(try sandbox.leftovers().isEmpty)
  }

  @Test(
    "DEL does without the namespace, the record, the LAN, and values that ADD would refuse",
    arguments: [
      "namespace", "path", "record", "damaged", "definition", "definition and record", "devices", "values",
    ])
  func deleteWithout(what: String) throws {
    let (sandbox, _) = try sandbox()
    var extra: [String: String] = [:]
    var text = configuration()
    switch what {
    case "namespace": try sandbox.deleteContainer("c1")
    case "path": extra["CNI_NETNS"] = ""
    case "record": try sandbox.shell("rm /var/lib/chaos/cni/*")
    case "damaged": try sandbox.shell("echo '{' > /var/lib/chaos/cni/c1:eth0.json")
    case "definition": try sandbox.deleteLAN("blue")
    case "definition and record":
      try sandbox.deleteLAN("blue")
      try sandbox.shell("rm /var/lib/chaos/cni/*")
    case "devices":
      try sandbox.deleteLAN("blue")
      try sandbox.ask { socket in
        for name in ["vxlan100", "lan100"] { try socket.perform(.deleteLink(.name(InterfaceName(name)!))) }
      }
    default: text = configuration(#""mtu":"x","address":7,"prevResult":{"ips":7},"runtimeConfig":{"mac":1}"#)
    }
    let outcome = try sandbox.call("DEL", "c1", extra: extra, text)
    #expect(outcome.status == 0, "\(outcome.output)")
    #expect(try sandbox.leftovers().filter { !["lan100", "vxlan100"].contains($0) } == [])
    // Of a LAN that chaosd deletes, chaosd deletes the devices.
    if what != "definition", what != "definition and record", what != "devices" {
      #expect(try sandbox.link("vxlan100")?.isUp == false)
    }
  }

  @Test("DEL leaves a LAN that was made anew under the same name alone")
  func remade() throws {
    let (sandbox, _) = try sandbox()
    try sandbox.deleteLAN("blue")
    try sandbox.makeLAN("blue", vni: 300)
    #expect(try sandbox.call("CHECK", "c1", configuration(#""prevResult":{}"#)).code == .changed)
    #expect(try sandbox.call("DEL", "c1", configuration()).status == 0)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
  }

  @Test("the IPAM plug-in is called to delete, by the record when the configuration no longer names it")
  func deleteAddresses() throws {
    for text in [configuration(#""ipam":{"type":"stub"}"#), configuration()] {
      let (sandbox, _) = try sandbox(members: #""ipam":{"type":"stub"}"#)
      #expect(try sandbox.call("DEL", "c1", text).status == 0)
      #expect(sandbox.addressManagerCalls.map { $0.prefix { $0 != " " } } == ["ADD", "DEL"])
    }
  }

  @Test("an IPAM plug-in that cannot delete is reported, when all else is gone, and DEL can be called again")
  func failingDelete() throws {
    let text = configuration(#""ipam":{"type":"stub"}"#)
    let (sandbox, _) = try sandbox(members: #""ipam":{"type":"stub"}"#)
    try sandbox.makeAddressManager(failing: "DEL")
    let outcome = try sandbox.call("DEL", "c1", text)
    #expect(outcome.status == 1 && outcome.code == .tryAgain && outcome.message == "stub: no more")
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100", "c1:eth0.json"])
    try sandbox.shell("rm /run/cni/stub")
    #expect(try sandbox.call("DEL", "c1", text).code == .delegate)
    try sandbox.makeAddressManager()
    #expect(try sandbox.call("DEL", "c1", text).status == 0)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
  }

  @Test("what an IPAM plug-in refused to ADD nobody has to delete: it may refuse every call")
  func refusedAddresses() throws {
    let text = configuration(#""ipam":{"type":"stub"}"#)
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeContainer("c1")
    // As host-local does with a version it does not know.
    try sandbox.makeAddressManager(failing: "$CNI_COMMAND")
    let outcome = try sandbox.call("ADD", "c1", text)
    #expect(outcome.status == 1 && outcome.message == "stub: no more", "\(outcome.output)")
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
    let deletion = try sandbox.call("DEL", "c1", text)
    #expect(deletion.status == 0, "\(deletion.output)")
    #expect(sandbox.addressManagerCalls.map { $0.prefix { $0 != " " } } == ["ADD", "DEL", "DEL"])
    try sandbox.shell("rm /run/cni/stub")
    #expect(try sandbox.call("DEL", "c1", text).status == 0)
  }

  @Test("addresses are taken back after a kill in the midst of ADD")
  func killedWhileAsking() throws {
    let text = configuration(#""ipam":{"type":"stub"}"#)
    let sandbox = try Sandbox()
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeContainer("c1")
    try sandbox.makeAddressManager()
    try sandbox.shell("sed -i '2a [ $CNI_COMMAND = ADD ] && kill -9 $PPID' /run/cni/stub")
    #expect(try sandbox.call("ADD", "c1", text).status != 0)
    #expect(sandbox.records == ["c1:eth0.json"])
    try sandbox.makeAddressManager(failing: "DEL")
    #expect(try sandbox.call("DEL", "c1", text).code == .tryAgain)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100", "c1:eth0.json"])
    try sandbox.makeAddressManager()
    #expect(try sandbox.call("DEL", "c1", text).status == 0)
    #expect(try sandbox.leftovers() == ["lan100", "vxlan100"])
  }

  @Test("DEL takes away what it can also when the file system withholds the record")
  func deleteWithheld() throws {
    let (sandbox, _) = try sandbox()
    try sandbox.shell("cd /var/lib/chaos/cni && rm c1:eth0.json && mkdir c1:eth0.json")
    let outcome = try sandbox.call("DEL", "c1", configuration())
    #expect(outcome.code == .system && outcome.message.contains("c1:eth0.json"), "\(outcome.output)")
    #expect(try sandbox.link("eth0", in: "c1") == nil)
    #expect(try sandbox.members(of: "lan100").isEmpty)
    #expect(sandbox.records == ["c1:eth0.json"])
  }

  // MARK: CHECK

  private static let address = #""address":"10.1.0.2/24","gateway":"10.1.0.1""#

  @Test("CHECK is content with what ADD left", arguments: ["0.4.0", "1.0.0", "1.1.0"])
  func check(version: String) throws {
    let (sandbox, result) = try sandbox(members: Self.address, version: version)
    let text = configuration(#"\#(Self.address),"prevResult":\#(result)"#, version: version)
    let outcome = try sandbox.call("CHECK", "c1", text)
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)")
  }

  @Test(
    "CHECK says in one line what is not as ADD left it",
    arguments: [
      "address", "route", "mac", "mtu", "container down", "renamed", "host down", "host mtu", "host gone",
      "out of the bridge", "forwarding", "vxlan down", "vxlan gone", "record",
    ])
  func changed(what: String) throws {
    let (sandbox, result) = try sandbox(members: Self.address)
    try damage(sandbox, what)
    let outcome = try sandbox.call("CHECK", "c1", configuration(#"\#(Self.address),"prevResult":\#(result)"#))
    #expect(outcome.status == 1 && outcome.code == .changed, "\(outcome.output)")
    #expect(!outcome.message.isEmpty && !outcome.message.contains("\n"))
  }

  private func damage(_ sandbox: Sandbox, _ what: String) throws {
    let inside = LinkReference.name(InterfaceName("eth0")!)
    let near = LinkReference.name(InterfaceName(try host("c1"))!)
    let vxlan = LinkReference.name(InterfaceName("vxlan100")!)
    let index = try #require(try sandbox.link("eth0", in: "c1")).index
    let hostIndex = try #require(try sandbox.link(host("c1"))).index
    let mac = try #require(try sandbox.link("eth0", in: "c1")?.address)
    let (container, request): (String?, RouteRequest)
    switch what {
    case "address", "route": (container, request) = ("c1", .deleteAddress(IPInterface("10.1.0.2/24")!, from: index))
    case "mac":
      (container, request) = ("c1", .changeLink(inside, LinkChange(address: MACAddress("02:00:00:00:00:09")!)))
    case "mtu": (container, request) = ("c1", .changeLink(inside, LinkChange(mtu: 1400)))
    case "container down": (container, request) = ("c1", .changeLink(inside, LinkChange(isUp: false)))
    case "renamed": (container, request) = ("c1", .deleteLink(inside))
    case "host down": (container, request) = (nil, .changeLink(near, LinkChange(isUp: false)))
    case "host mtu": (container, request) = (nil, .changeLink(near, LinkChange(mtu: 1400)))
    case "host gone": (container, request) = (nil, .deleteLink(near))
    case "out of the bridge":
      (container, request) = (nil, .changeLink(near, LinkChange(master: LinkChange.Master.none)))
    case "forwarding":
      (container, request) = (nil, .deleteForwarding(ForwardingEntry(device: hostIndex, mac: mac, scope: .master)))
    case "vxlan down": (container, request) = (nil, .changeLink(vxlan, LinkChange(isUp: false)))
    case "vxlan gone": (container, request) = (nil, .deleteLink(vxlan))
    default:
      try sandbox.shell("rm /var/lib/chaos/cni/*")
      return
    }
    try sandbox.ask(container) { try $0.perform(request) }
    // Without the address the default route is gone; with another in its place only the route is missing.
    guard what == "route" else { return }
    try sandbox.ask("c1") { try $0.perform(.addAddress(IPInterface("10.1.0.2/24")!, to: index)) }
  }

  @Test("CHECK goes by prevResult: what a later plug-in of the chain changed is right")
  func checkChain() throws {
    let (sandbox, result) = try sandbox()
    let text = result.description.replacing(#""mtu":1450"#, with: #""mtu":1400"#)
    let request = RouteRequest.changeLink(.name(InterfaceName("eth0")!), LinkChange(mtu: 1400))
    try sandbox.ask("c1") { try $0.perform(request) }
    #expect(try sandbox.call("CHECK", "c1", configuration(#""prevResult":\#(text)"#)).status == 0)
    #expect(try sandbox.call("CHECK", "c1", configuration(#""prevResult":\#(result)"#)).code == .changed)
  }

  @Test(
    "CHECK is content with routes that a later plug-in moved to another table, and with an MTU prevResult lacks")
  func checkPolicyRouting() throws {
    let members = #"\#(Self.address),"addresses":["fd00::2/64"],"gateway6":"fd00::1""#
    let (sandbox, result) = try sandbox(members: members, version: "0.4.0")
    let text = configuration(#"\#(members),"prevResult":\#(result)"#, version: "0.4.0")
    let device = try #require(try sandbox.link("eth0", in: "c1")).index
    // As the plug-ins sbr and tuning of the CNI project do.
    try sandbox.ask("c1") { socket in
      try socket.perform(.changeLink(.index(device), LinkChange(mtu: 1300)))
      for gateway in ["10.1.0.1", "fd00::1"] {
        let route = RouteRequest.addRoute(destination: nil, gateway: IPAddress(gateway)!, device: device)
        try socket.perform(route.asDeletion())
        try socket.perform(route.inTable(100))
      }
    }
    let outcome = try sandbox.call("CHECK", "c1", text)
    #expect(outcome.status == 0, "\(outcome.output)")
    try sandbox.ask("c1") { socket in
      let route = RouteRequest.addRoute(destination: nil, gateway: IPAddress("fd00::1")!, device: device)
      try socket.perform(route.inTable(100).asDeletion())
    }
    let missing = try sandbox.call("CHECK", "c1", text)
    #expect(missing.message == "the container: without its route to ::/0", "\(missing.output)")
  }

  @Test("CHECK needs prevResult and a version that has it, and asks the IPAM plug-in")
  func checkNeeds() throws {
    let members = #""ipam":{"type":"stub"}"#
    let (sandbox, result) = try sandbox(members: members)
    #expect(try sandbox.call("CHECK", "c1", configuration()).code == .invalidConfiguration)
    #expect(try sandbox.call("CHECK", "c1", configuration(version: "0.3.1")).code == .incompatibleVersion)
    let text = configuration(#"\#(members),"prevResult":\#(result)"#)
    #expect(try sandbox.call("CHECK", "c1", text).status == 0)
    #expect(sandbox.addressManagerCalls.last == "CHECK c1 eth0 /run/netns/c1")
    try sandbox.makeAddressManager(failing: "CHECK")
    #expect(try sandbox.call("CHECK", "c1", text).message == "stub: no more")
  }

  // MARK: GC

  @Test("GC deletes this network's attachments that are not valid any more, and no others")
  func collect() throws {
    let members = #""ipam":{"type":"stub"}"#
    let (sandbox, _) = try sandbox(["c1", "c2", "c3"], members: members)
    try sandbox.makeContainer("c4")
    let other = configuration().replacing(#""net""#, with: #""other""#)
    #expect(try sandbox.call("ADD", "c4", other).status == 0)
    // One whose container is there, one whose namespace is gone.
    try sandbox.deleteContainer("c3")
    let valid =
      #""cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"},{"containerID":"c1","ifname":"eth9"}]"#
    let outcome = try sandbox.call("GC", configuration("\(members),\(valid)"))
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)")
    #expect(sandbox.records == ["c2:eth0.json", "c4:eth0.json"])
    #expect(try sandbox.members(of: "lan100") == [try host("c2"), try host("c4")].sorted())
    #expect(
      sandbox.addressManagerCalls.suffix(3) == ["DEL c1 eth0 /run/netns/c1", "DEL c3 eth0 /run/netns/c3", "GC   "])
    #expect(try sandbox.call("GC", configuration(#""cni.dev/valid-attachments":null"#)).status == 0)
    #expect(sandbox.records == ["c4:eth0.json"])
  }

  @Test("GC without its list, or before it was invented, deletes nothing")
  func collectRefused() throws {
    let (sandbox, _) = try sandbox()
    #expect(try sandbox.call("GC", configuration()).code == .invalidConfiguration)
    let list = #""cni.dev/valid-attachments":[]"#
    #expect(try sandbox.call("GC", configuration(list, version: "1.0.0")).code == .incompatibleVersion)
    #expect(sandbox.records == ["c1:eth0.json"])
  }

  @Test("GC sets aside what a power cut left of records, and leaves alone what may be in use or a later plug-in's")
  func collectDamaged() throws {
    let (sandbox, _) = try sandbox(["c1", "c2", "c3"])
    let texts = ["c1": "{", "c2": "", "gone1": "", "gone2": #"{"version":1,"conta"#, "gone3": "\u{1}\u{7f}noise"]
    for (container, text) in texts {
      try text.write(
        toFile: sandbox.path("/var/lib/chaos/cni/\(container):eth0.json"), atomically: false, encoding: .utf8)
    }
    // c1 is valid, c2 may be another network's: both have their interfaces.
    let valid = #""cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]"#
    for _ in 1...2 {
      let outcome = try sandbox.call("GC", configuration(valid))
      #expect(outcome.status == 0, "\(outcome.output)")
      #expect(
        sandbox.records == ["c1:eth0.json", "c2:eth0.json"] + (1...3).map { "gone\($0):eth0.json.damaged" })
    }
    #expect(try sandbox.members(of: "lan100") == [try host("c1"), try host("c2")].sorted())
    try sandbox.deleteContainer("c2")
    // The kernel takes a namespace apart on its own time.
    while try sandbox.link(host("c2")) != nil { usleep(1000) }
    #expect(try sandbox.call("GC", configuration(valid)).status == 0)
    #expect(sandbox.records.filter { !$0.hasPrefix("gone") } == ["c1:eth0.json", "c2:eth0.json.damaged"])
    #expect(try sandbox.call("DEL", "c1", configuration()).status == 0)

    let later = #"{"version":2}"#
    try later.write(toFile: sandbox.path("/var/lib/chaos/cni/c9:eth0.json"), atomically: false, encoding: .utf8)
    let outcome = try sandbox.call("GC", configuration(valid))
    #expect(outcome.code == .system && outcome.message.hasSuffix("version: not one this plug-in knows"))
    #expect(sandbox.records.contains("c9:eth0.json"))
  }

  @Test("GC goes on past what it cannot delete, and reports it")
  func collectFailing() throws {
    let (sandbox, _) = try sandbox(["c1", "c2"], members: #""ipam":{"type":"stub"}"#)
    try sandbox.makeAddressManager(failing: "DEL")
    let outcome = try sandbox.call("GC", configuration(#""cni.dev/valid-attachments":[]"#))
    #expect(outcome.status == 1 && outcome.message == "stub: no more")
    #expect(outcome.json["details"] == "and 1 more that could not be cleaned up")
    #expect(try sandbox.members(of: "lan100").isEmpty)
    #expect(sandbox.records == ["c1:eth0.json", "c2:eth0.json"])
  }

  // MARK: STATUS, VERSION

  @Test("STATUS is whether ADD could be served")
  func status() throws {
    let sandbox = try Sandbox()
    let text = configuration(#""ipam":{"type":"stub"}"#)
    let missing = try sandbox.call("STATUS", configuration())
    #expect(missing.status == 1 && missing.code == .unavailable && missing.message == "lan: no such LAN: 'blue'")
    try sandbox.makeLAN("blue", vni: 100)
    try sandbox.makeAddressManager()
    #expect(try sandbox.call("STATUS", text).status == 0)
    #expect(try sandbox.leftovers().isEmpty, "it only looks")
    try sandbox.makeAddressManager(failing: "STATUS")
    #expect(try sandbox.call("STATUS", text).message == "stub: no more")
    try sandbox.ask { try $0.perform(.deleteLink(.name(InterfaceName("under0")!))) }
    #expect(try sandbox.call("STATUS", configuration()).code == .unavailable)
    #expect(try sandbox.call("STATUS", configuration(version: "1.0.0")).code == .incompatibleVersion)
  }

  @Test("VERSION answers whatever it is asked with")
  func version() throws {
    let sandbox = try Sandbox()
    for (input, version) in [
      (#"{"cniVersion":"0.4.0"}"#, "0.4.0"), ("", "1.1.0"), ("{", "1.1.0"), (#"{"cniVersion":"9.9"}"#, "9.9"),
      (#"{"cniVersion":7}"#, "1.1.0"),
    ] {
      let outcome = try sandbox.call("VERSION", input)
      #expect(outcome.status == 0)
      #expect(
        outcome.output
          == #"{"cniVersion":"\#(version)","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"# + "\n")
    }
    #expect(try sandbox.leftovers().isEmpty)
  }

  @Test("calls that are none are answered with an error of the specification's form")
  func hostile() throws {
    let sandbox = try Sandbox()
    let calls: [(String, String?, String, CNIError.Code)] = [
      ("", "c1", configuration(), .invalidEnvironment), ("list", "c1", configuration(), .invalidEnvironment),
      ("ADD", nil, configuration(), .invalidEnvironment),
      ("ADD", "../../etc", configuration(), .invalidEnvironment),
      ("DEL", "a:b", configuration(), .invalidEnvironment), ("ADD", "c1", "", .decoding),
      ("DEL", "c1", "\u{0}", .decoding), ("CHECK", "c1", String(repeating: "[", count: 60_000), .decoding),
      ("GC", nil, "[]", .invalidConfiguration), ("STATUS", nil, "7", .invalidConfiguration),
      ("ADD", "c1", configuration(version: "2.0.0"), .incompatibleVersion),
    ]
    for (command, container, input, code) in calls {
      let outcome = try sandbox.call(command, container, input)
      #expect(outcome.status == 1 && outcome.code == code, "\(command): \(outcome.output)")
      #expect(!outcome.message.isEmpty && !outcome.message.contains("\n"))
      #expect(outcome.json["cniVersion"] != nil && outcome.json["details"] != nil)
    }
    #expect(try sandbox.leftovers().isEmpty)
  }
}

extension RouteRequest {
  /// For another table than the main one: `rtm_table` behind the message's header of 16 bytes.
  fileprivate func inTable(_ table: UInt8) -> RouteRequest {
    var message = message
    message[20] = table
    return RouteRequest(operation: operation, subject: subject, message: message)
  }

  /// RTM_DELROUTE instead of RTM_NEWROUTE, without the flags that go with that.
  fileprivate func asDeletion() -> RouteRequest {
    var message = message
    message[4] = 25
    message[6] = 1
    message[7] = 0
    return RouteRequest(operation: "delete route", subject: subject, message: message)
  }
}
