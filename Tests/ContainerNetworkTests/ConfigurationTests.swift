import NetworkAddresses
import Testing
import VirtualLAN

@testable import ContainerNetwork

@Suite struct ConfigurationTests {
  /// A configuration with these members besides those that every one has.
  private func configuration(_ members: String = "", version: String = "1.1.0") throws -> NetworkConfiguration {
    let rest = members.isEmpty ? "" : ",\(members)"
    return try NetworkConfiguration(
      parsing: Array(#"{"cniVersion":"\#(version)","name":"net","type":"chaos-cni"\#(rest)}"#.utf8))
  }

  private func plan(_ members: String, arguments: String = "") throws -> InterfacePlan {
    try configuration(members).plan(arguments: arguments)
  }

  private func addresses(_ plan: InterfacePlan) -> [String] { plan.addresses.map(\.address.description) }

  // MARK: The whole

  @Test("every version is taken, and unknown keys are", arguments: CNIVersion.allCases)
  func versions(version: CNIVersion) throws {
    let configuration = try configuration(#""keyA":[1,{"b":null}],"capabilities":{}"#, version: version.rawValue)
    #expect(configuration.version == version && configuration.name == "net")
    #expect(configuration.addressManager == nil)
  }

  @Test(
    "what is no configuration is refused with the specification's codes",
    arguments: [
      ("", CNIError.Code.decoding), ("{", .decoding), ("[]", .invalidConfiguration),
      ("null", .invalidConfiguration),
      (#"{"cniVersion":"1.0.0"}"#, .invalidConfiguration), (#"{"name":"a"}"#, .incompatibleVersion),
      (#"{"cniVersion":"0.2.0","name":"a"}"#, .incompatibleVersion),
      (#"{"cniVersion":"1.2.0","name":"a"}"#, .incompatibleVersion),
      (#"{"cniVersion":1,"name":"a"}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":""}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":"../a"}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":"-a"}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":"a\nb"}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":"a","name":"b"}"#, .decoding),
      (#"{"cniVersion":"1.0.0","name":"a","ipam":1}"#, .invalidConfiguration),
      (#"{"cniVersion":"1.0.0","name":"a","ipam":{"type":1}}"#, .invalidConfiguration),
    ])
  func refusedWhole(text: String, code: CNIError.Code) {
    let error = #expect(throws: CNIError.self) { try NetworkConfiguration(parsing: Array(text.utf8)) }
    #expect(error?.code == code)
    #expect(error?.message.contains("\n") == false)
  }

  @Test("nesting, depth and odd bytes end in an error, not a trap")
  func hostile() {
    let deep = String(repeating: "[", count: 100_000)
    for bytes in [Array(deep.utf8), [0xff, 0xfe], Array(#"{"cniVersion":"1.0.0","name":"\ud800"}"#.utf8), [0]] {
      #expect(throws: CNIError.self) { try NetworkConfiguration(parsing: bytes) }
    }
  }

  // MARK: The LAN

  @Test("the LAN is the network's name unless another is given")
  func lanName() throws {
    #expect(try configuration().lan() == .named("net"))
    #expect(try configuration(#""lan":"blue""#).lan() == .named("blue"))
  }

  @Test("Megalos's keys stand for devices of Megalos's names")
  func megalos() throws {
    let text =
      #"{"cniVersion":"0.3.0","name":"my_-n.et9","type":"megalos","suffix":"lab","vxlanId":77,"master":"up0"}"#
    let configuration = try NetworkConfiguration(parsing: Array(text.utf8))
    guard case .megalos(let lan, let former) = try configuration.lan() else {
      Issue.record("no Megalos LAN")
      return
    }
    #expect(lan.bridge.description == "kt-my-n.-lab" && lan.vxlan.description == "my-n.-lab")
    #expect(former.bridge.description == "kt-my_ne-lab" && former.vxlan.description == "my_ne-lab")
    #expect(lan.vni.rawValue == 77 && lan.port == 8472 && lan.lifetime == .whileUsed)
    #expect(lan.underlay == .device(InterfaceName("up0")!))
    // It has no addresses to give, and passes over what it does not know.
    let plan = try configuration.plan(arguments: "MAC=02:00:00:00:00:01;X=1;IP=10.0.0.1/8")
    #expect(plan == InterfacePlan(mac: MACAddress("02:00:00:00:00:01")!))
  }

  @Test(
    "Megalos's keys out of range are refused by name",
    arguments: [
      (#""vxlanId":0"#, "vxlanId"), (#""vxlanId":16777216"#, "vxlanId"), (#""vxlanId":"7""#, "vxlanId"),
      (#""vxlanId":-1"#, "vxlanId"), (#""vxlanId":7.5"#, "vxlanId"),
      (#""vxlanId":7,"suffix":"waytoolong""#, "suffix"),
      (#""vxlanId":7,"suffix":"a/b""#, "suffix"), (#""vxlanId":7,"suffix":"%d""#, "suffix"),
      (#""vxlanId":7,"master":"a/b""#, "master"), (#""vxlanId":7,"master":7"#, "master"),
      (#""lan":7"#, "lan"),
    ])
  func badMegalos(members: String, field: String) throws {
    let configuration = try configuration(members)
    let error = #expect(throws: CNIError.self) { try configuration.lan() }
    #expect(error?.message.hasPrefix("\(field): ") == true, "\(error?.message ?? "")")
  }

  // MARK: The container's interface

  @Test("addresses and gateway of the configuration")
  func addresses() throws {
    let plan = try plan(
      #""address":"10.1.0.2/24","addresses":["fd00::2/64"],"gateway":"10.1.0.1","gateway6":"fe80::1","mtu":1400,"#
        + #""dns":{"nameservers":["10.1.0.9"]}"#)
    #expect(addresses(plan) == ["10.1.0.2/24", "fd00::2/64"])
    #expect(plan.addresses.map(\.gateway) == [IPAddress("10.1.0.1"), IPAddress("fe80::1")])
    #expect(plan.routes.map(\.destination.description) == ["0.0.0.0/0", "::/0"])
    #expect(plan.mtu == 1400 && plan.mac == nil)
    #expect(plan.dns == ["nameservers": ["10.1.0.9"]])
    #expect(try self.plan(#""addresses":["fd00::2/64"],"gateway":"fd00::1""#).routes.count == 1)
    #expect(try self.plan("") == InterfacePlan())
  }

  @Test("what a run gives stands above the configuration: runtimeConfig, args, CNI_ARGS")
  func precedence() throws {
    let base = #""address":"10.1.0.0/24""#
    let args = #""args":{"cni":{"mac":"02:00:00:00:00:02","ips":["10.1.0.7/24"]}}"#
    let runtime = #""runtimeConfig":{"mac":"02:00:00:00:00:03","ips":["10.1.0.8","10.1.0.9/25"]}"#
    let text = "MAC=02:00:00:00:00:01;IP=10.1.0.6"
    let first = try plan(base, arguments: text)
    #expect(addresses(first) == ["10.1.0.6/24"] && first.mac?.description == "02:00:00:00:00:01")
    let second = try plan("\(base),\(args)", arguments: text)
    #expect(addresses(second) == ["10.1.0.7/24"] && second.mac?.description == "02:00:00:00:00:02")
    let third = try plan("\(base),\(args),\(runtime)", arguments: text)
    #expect(addresses(third) == ["10.1.0.8/24", "10.1.0.9/25"] && third.mac?.description == "02:00:00:00:00:03")
    let several = try plan(base, arguments: "IP=10.1.0.6,10.1.0.7/8")
    #expect(addresses(several) == ["10.1.0.6/24", "10.1.0.7/8"])
  }

  @Test("with an IPAM plug-in addresses are its business")
  func ipam() throws {
    let members = #""ipam":{"type":"host-local"},"address":"nonsense""#
    #expect(try configuration(members).addressManager == "host-local")
    #expect(try plan(members, arguments: "IP=10.0.0.1").addresses.isEmpty)
    #expect(try configuration(#""ipam":{}"#).addressManager == nil)
    #expect(try configuration(#""ipam":null"#).addressManager == nil)
  }

  @Test(
    "values that cannot be are refused by name and value",
    arguments: [
      (#""address":"10.1.0.2""#, "address: not an address and prefix, as 10.1.0.2/24: '10.1.0.2'"),
      (#""address":5"#, "address: expected a string, got an integer, 5"),
      (#""address":"10.1.0.0/24""#, "address: the subnet's network or broadcast address: '10.1.0.0/24'"),
      (#""address":"10.1.0.255/24""#, "address: the subnet's network or broadcast address: '10.1.0.255/24'"),
      (#""addresses":["10.1.0.2/24","224.0.0.1/4"]"#, "addresses[1]: multicast address: '224.0.0.1/4'"),
      (#""address":"::1/128""#, "address: not an address for an interface: '::1/128'"),
      (
        #""address":"10.1.0.2/24","gateway":"10.2.0.1""#, "gateway: outside the subnet of every address: '10.2.0.1'"
      ),
      (#""address":"10.1.0.2/24","gateway":"10.1.0.2""#, "gateway: the container's own address: '10.1.0.2'"),
      (#""gateway":"10.1.0.2""#, "gateway: outside the subnet of every address: '10.1.0.2'"),
      (#""gateway6":"10.1.0.2""#, "gateway6: not an IPv6 address: '10.1.0.2'"),
      (#""mtu":67"#, "mtu: must be 68 to 65535: '67'"),
      (#""mtu":"1400""#, "mtu: expected an integer, got the string '1400'"),
      (#""dns":[]"#, "dns: expected an object, got an array"),
      (#""runtimeConfig":{"mac":"02"}"#, "runtimeConfig.mac: not a MAC address, as 52:54:00:12:34:56: '02'"),
      (
        #""runtimeConfig":{"mac":"01:00:00:00:00:00"}"#, "runtimeConfig.mac: multicast address: '01:00:00:00:00:00'"
      ),
      (#""args":{"cni":{"mac":"00:00:00:00:00:00"}}"#, "args.cni.mac: all zeroes: '00:00:00:00:00:00'"),
      (#""runtimeConfig":{"ips":"10.0.0.1"}"#, "runtimeConfig.ips: expected an array, got the string '10.0.0.1'"),
      (#""runtimeConfig":{"ips":["a"]}"#, "runtimeConfig.ips: not an address, as 10.1.0.2/24 or 10.1.0.2: 'a'"),
      (
        #""args":{"cni":{"ips":["10.0.0.1"]}}"#,
        "args.cni.ips: has no prefix and lies in no network of 'address' or 'addresses': '10.0.0.1'"
      ),
      (#""ipMasq":true"#, "ipMasq: not supported: 'true'"),
    ])
  func refused(members: String, message: String) {
    let error = #expect(throws: CNIError.self) { try plan(members) }
    #expect(error?.message == message)
  }

  @Test("an error is one line that no terminal acts on, however long the value")
  func oneLine() throws {
    let text = #""address":"\u001b[31m\n\u2028"#
    let error = #expect(throws: CNIError.self) { try plan(text + String(repeating: "x", count: 5000) + #"""#) }
    let message = try #require(error?.message)
    #expect(!message.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x2028 })
    #expect(message.count < 200)
  }

  // MARK: GC

  @Test("the valid attachments, in either key; null is none, and what can be no attachment is passed over")
  func validAttachments() throws {
    let list = #"[{"containerID":"a","ifname":"eth0"},{"containerID":"b/","ifname":"eth0"}]"#
    let expected: Set = [try AttachmentID(container: "a", interface: "eth0")]
    #expect(try configuration(#""cni.dev/valid-attachments":\#(list)"#).validAttachments() == expected)
    #expect(try configuration(#""cni.dev/attachments":\#(list)"#).validAttachments() == expected)
    let both = try configuration(#""cni.dev/attachments":[],"cni.dev/valid-attachments":\#(list)"#)
    #expect(try both.validAttachments() == expected)
    #expect(try configuration(#""cni.dev/valid-attachments":null"#).validAttachments().isEmpty)
  }

  @Test(
    "a list that is missing or cannot be read is no empty list",
    arguments: ["", #""cni.dev/valid-attachments":{}"#, #""cni.dev/valid-attachments":[{"containerID":"a"}]"#])
  func noValidAttachments(members: String) throws {
    let configuration = try configuration(members)
    let error = #expect(throws: CNIError.self) { try configuration.validAttachments() }
    #expect(error?.code == .invalidConfiguration)
  }
}
