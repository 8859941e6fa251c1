import ChaosAPI
import NetworkAddresses
import Testing

@testable import ContainerNetwork

@Suite struct ResultTests {
  private static let result = AttachmentResult(
    interfaces: [
      .init(name: "cv1", mac: "fe:ff:ff:ff:ff:ff"),
      .init(name: "eth0", mac: "02:00:00:00:00:01", mtu: 1450, sandbox: "/run/netns/a"),
    ],
    addresses: [
      .init(address: IPInterface("10.1.0.5/16")!, gateway: IPAddress("10.1.0.1"), interface: 1),
      .init(address: IPInterface("fd00::5/64")!, interface: 1),
    ],
    routes: [.init(destination: IPInterface("0.0.0.0/0")!, gateway: nil, details: .init(mtu: 1400, priority: 5))],
    dns: ["nameservers": ["10.1.0.1"]])

  @Test("each version's form")
  func versions() throws {
    #expect(
      Self.result.json(version: .v040).description
        == #"{"cniVersion":"0.4.0","interfaces":[{"name":"cv1","mac":"fe:ff:ff:ff:ff:ff"},{"name":"eth0","#
        + #""mac":"02:00:00:00:00:01","sandbox":"/run/netns/a"}],"ips":[{"version":"4","interface":1,"#
        + #""address":"10.1.0.5/16","gateway":"10.1.0.1"},{"version":"6","interface":1,"address":"fd00::5/64"}],"#
        + #""routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.1.0.1"]}}"#)
    #expect(
      Self.result.json(version: .v100).description
        == #"{"cniVersion":"1.0.0","interfaces":[{"name":"cv1","mac":"fe:ff:ff:ff:ff:ff"},{"name":"eth0","#
        + #""mac":"02:00:00:00:00:01","sandbox":"/run/netns/a"}],"ips":[{"interface":1,"address":"10.1.0.5/16","#
        + #""gateway":"10.1.0.1"},{"interface":1,"address":"fd00::5/64"}],"routes":[{"dst":"0.0.0.0/0"}],"#
        + #""dns":{"nameservers":["10.1.0.1"]}}"#)
    let latest = Self.result.json(version: .v110)
    #expect(latest["interfaces"]?.description.contains(#""mtu":1450"#) == true)
    #expect(latest["routes"]?.description == #"[{"dst":"0.0.0.0/0","mtu":1400,"priority":5}]"#)
    #expect(AttachmentResult().json(version: .v110).description == #"{"cniVersion":"1.1.0"}"#)
  }

  @Test("what the latest version writes comes back")
  func roundTrip() throws {
    let json = Self.result.json(version: .v110)
    #expect(try AttachmentResult(ConfigurationReader(json)) == Self.result)
  }

  @Test("behind an earlier result the indices are moved, and nothing of it is lost")
  func chain() {
    let whole = Self.result.appending(
      AttachmentResult(
        interfaces: [.init(name: "net1")], addresses: [.init(address: IPInterface("10.2.0.5/16")!, interface: 0)]))
    #expect(whole.interfaces.map(\.name) == ["cv1", "eth0", "net1"])
    #expect(whole.addresses.map(\.interface) == [1, 1, 2])
    #expect(whole.routes == Self.result.routes && whole.dns == Self.result.dns)
  }

  @Test(
    "what is no result is refused by its place",
    arguments: [
      (#"{"ips":[{}]}"#, "r.ips[0].address: missing"),
      (
        #"{"ips":[{"address":"10.0.0.1"}]}"#,
        "r.ips[0].address: not an address and prefix, as 10.1.0.2/24: '10.0.0.1'"
      ),
      (
        #"{"ips":[{"address":"10.0.0.1/8","interface":0}]}"#,
        "r.ips[0].interface: no such element of 'interfaces': '0'"
      ),
      (#"{"ips":{}}"#, "r.ips: expected an array, got an object"),
      (#"{"ips":[7]}"#, "r.ips[0]: expected an object, got an integer"),
      (#"{"routes":[{"dst":"x"}]}"#, "r.routes[0].dst: not a network, as 10.2.0.0/16: 'x'"),
      (#"{"routes":[{"dst":"::/0","table":-1}]}"#, "r.routes[0].table: must be 0 to 4294967295: '-1'"),
      (#"{"interfaces":[{"mac":"x"}]}"#, "r.interfaces[0].name: missing"),
      (#"{"dns":7}"#, "r.dns: expected an object, got an integer"),
    ])
  func refused(text: String, message: String) throws {
    let json = try JSON(parsing: text)
    let error = #expect(throws: CNIError.self) { try AttachmentResult(ConfigurationReader(json, at: "r")) }
    #expect(error?.message == message)
  }

  @Test("indices that mean none, and empty texts")
  func lenient() throws {
    let json = try JSON(
      parsing:
        #"{"interfaces":[{"name":"a","mac":"","sandbox":""}],"ips":[{"address":"10.0.0.1/8","interface":-1}],"dns":null}"#
    )
    let result = try AttachmentResult(ConfigurationReader(json))
    #expect(result.interfaces == [.init(name: "a")])
    #expect(result.addresses.map(\.interface) == [nil])
  }
}
