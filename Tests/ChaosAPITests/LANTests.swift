import Testing

@testable import ChaosAPI
@testable import chaos

private func message(_ body: () throws -> Void) -> String? {
  do {
    try body()
    return nil
  } catch {
    return (error as? APIError)?.message ?? "\(error)"
  }
}

private let member = LANMember(
  interface: "vif7.0", kind: .guest, name: "web", vif: 0, mac: "52:54:00:00:00:01", rxPackets: 1, rxBytes: 2,
  rxDropped: 3, rxErrors: 4, txPackets: 5, txBytes: 6, txDropped: 7, txErrors: 8)

private let lan = LANInfo(
  name: "red", vni: 100, mode: .static, port: 4789, mtu: 1450, vtep: "192.0.2.1", device: "eth0", bridge: "lan100",
  vxlan: "vxlan100", isUp: true, state: .ready, peers: [LANPeer(address: "192.0.2.2", macs: ["m1", "m2"])],
  attached: ["eth2", "eth3"],
  members: [member, LANMember(interface: "eth2", kind: .interface)],
  forwarding: [
    LANForwarding(mac: "52:54:00:00:00:01", interface: "vif7.0", kind: .local, isStatic: true),
    LANForwarding(
      mac: "52:54:00:00:00:02", interface: "vxlan100", destination: "192.0.2.2", kind: .remote, isStatic: false),
    LANForwarding(
      mac: "00:00:00:00:00:00", interface: "vxlan100", destination: "192.0.2.2", kind: .flood, isStatic: true),
  ], drops: 10, warnings: ["w"])

private let evpn = EVPNStatus(
  enabled: true, asNumber: 65_000, reflector: false, neighbors: ["192.0.2.1"],
  sessions: [
    EVPNSession(neighbor: "192.0.2.1", state: "Established", uptimeSeconds: 61, routesReceived: 3),
    EVPNSession(neighbor: "192.0.2.9", state: "Active"),
  ],
  routes: [
    EVPNRoute(vni: 100, kind: .mac, mac: "52:54:00:00:00:01", vtep: "192.0.2.1", isLocal: true),
    EVPNRoute(vni: 100, kind: .mac, mac: "52:54:00:00:00:02", vtep: "192.0.2.2", isLocal: false, held: true),
    EVPNRoute(vni: 100, kind: .vtep, vtep: "192.0.2.3", isLocal: false),
  ], problems: ["p"])

@Suite("LANs and EVPN in the API")
struct LANTypesTests {
  @Test("what is written is read back the same")
  func roundTrips() throws {
    func check<Value: JSONConvertible & Equatable>(_ value: Value) throws {
      #expect(try Value(parsing: value.json.compact) == value)
    }
    for mode in LANMode.allCases {
      try check(
        LANRequest(
          name: "red", vni: 1, mtu: 2, mode: mode, port: 3, vtep: "4", device: "5", megalos: ""))
    }
    try check(LANRequest(name: "red"))
    let summary = LANSummary(
      name: "red", vni: 100, mode: .evpn, mtu: 1450, state: .ready, members: 3, bridge: "lan100")
    let waiting = LANSummary(name: "blue", vni: 1, mode: .local, state: .waiting, members: 0, bridge: "b")
    try check(LANList(lans: [summary, waiting]))
    try check(lan)
    try check(
      LANInfo(name: "blue", vni: 1, mode: .local, bridge: "b", isUp: false, state: .waiting, reason: "no eth0"))
    try check(LANPeerList(peers: lan.peers))
    for kind in LANMemberKind.allCases { try check(LANMember(interface: "a", kind: kind)) }
    try check(AttachRequest(interface: "eth2"))
    try check(EVPNRequest(asNumber: 4_294_967_295, reflector: true, listen: ["10.0.0.0/8"]))
    try check(EVPNRequest(asNumber: 1, neighbors: ["192.0.2.1"]))
    try check(evpn)
    try check(EVPNStatus(enabled: false))
  }

  @Test("the answers' keys are those of the document")
  func keys() {
    #expect(
      LANInfo(name: "n", vni: 1, mode: .local, bridge: "b", isUp: false, state: .ready).json.description
        == #"{"name":"n","vni":1,"mode":"local","bridge":"b","up":false,"state":"ready","peers":[],"attached":[],"#
        + #""members":[],"forwarding":[],"drops":0,"warnings":[]}"#)
    #expect(
      EVPNRoute(vni: 1, kind: .vtep, vtep: "a", isLocal: true).json.description
        == #"{"vni":1,"kind":"vtep","vtep":"a","local":true,"held":false}"#)
    #expect(lan.forwarding[0].json["static"] == true)
    #expect(evpn.json["as"] == 65_000)
  }

  @Test("a peer alone is a request, with no unknown keys; in an answer it may have some")
  func peers() throws {
    let body = Array(#"{"address":"192.0.2.2","mac":"m"}"#.utf8)
    #expect(message { _ = try LANPeer(parsing: body) } == "unknown key 'mac'")
    let list = try LANPeerList(json: ["peers": [["address": "192.0.2.2", "macs": [], "since": 1]]])
    #expect(list.peers == [LANPeer(address: "192.0.2.2")])
  }

  @Test(
    "wrong shapes are refused by name",
    arguments: [
      (#"{}"#, "name: missing, expected a string"),
      (#"{"name":"red","mode":"vlan"}"#, "mode: expected one of local, static, evpn: 'vlan'"),
      (#"{"name":"red","vni":"7"}"#, "vni: expected an integer, got the string '7'"),
      (#"{"name":"red","vlan":7}"#, "unknown key 'vlan'"),
    ])
  func refusesShape(text: String, expected: String) {
    #expect(message { _ = try LANRequest(parsing: Array(text.utf8)) } == expected)
  }
}

@Suite("Requests about LANs")
struct LANRequestTests {
  @Test(
    "a LAN that cannot be is refused by name",
    arguments: [
      (LANRequest(name: "red"), nil),
      (LANRequest(name: "12", vni: 1, mtu: 68, mode: .static, port: 1, vtep: "10.0.0.1"), nil),
      (LANRequest(name: "a", vni: 16_777_215, mtu: 65_535, mode: .evpn, port: 65_535, device: "eth0"), nil),
      (LANRequest(name: "a", vni: 5, mtu: 9000, mode: .local), nil),
      (LANRequest(name: "a", vni: 5, megalos: ""), nil),
      (LANRequest(name: "a", vni: 5, megalos: "abcde1"), nil),
      (LANRequest(name: ""), "name: empty"),
      (LANRequest(name: "a b"), "name: only letters, digits and ._- are allowed: 'a b'"),
      (LANRequest(name: "../a"), "name: only letters, digits and ._- are allowed: '../a'"),
      (LANRequest(name: ".."), "name: begins with '.' or '-': '..'"),
      (LANRequest(name: "a", vni: 0), "vni: must be 1 to 16777215: '0'"),
      (LANRequest(name: "a", vni: 16_777_216), "vni: must be 1 to 16777215: '16777216'"),
      (LANRequest(name: "a", vni: .min), "vni: must be 1 to 16777215: '-9223372036854775808'"),
      (LANRequest(name: "a", mtu: 67), "mtu: must be 68 to 65535: '67'"),
      (LANRequest(name: "a", mtu: 65_536), "mtu: must be 68 to 65535: '65536'"),
      (LANRequest(name: "a", port: 0), "port: must be 1 to 65535: '0'"),
      (LANRequest(name: "a", port: 65_536), "port: must be 1 to 65535: '65536'"),
      (LANRequest(name: "a", vtep: "10.0.0.1", device: "eth0"), "device: given together with 'vtep': 'eth0'"),
      (
        LANRequest(name: "a", device: "eth 0"),
        "device: not a device name (1 to 15 characters, no blank, '/', ':' or '%'): 'eth 0'"
      ),
      (LANRequest(name: "a", mode: .local, port: 1), "port: given with mode 'local', which has no tunnels: '1'"),
      (
        LANRequest(name: "a", mode: .local, vtep: "10.0.0.1"),
        "vtep: given with mode 'local', which has no tunnels: '10.0.0.1'"
      ),
      (
        LANRequest(name: "a", mode: .local, device: "eth0"),
        "device: given with mode 'local', which has no tunnels: 'eth0'"
      ),
      (
        LANRequest(name: "a", vni: 5, mode: .local, megalos: "b"),
        "megalos: given with mode 'local', which has no tunnels: 'b'"
      ),
      (
        LANRequest(name: "a", megalos: "b"),
        "vni: missing: 'megalos' needs the vxlanId of its NetworkAttachmentDefinition"
      ),
      (
        LANRequest(name: "a", vni: 5, megalos: "seven77"),
        "megalos: not a suffix of at most 6 letters and digits: 'seven77'"
      ),
      (
        LANRequest(name: "a", vni: 5, megalos: "a-b"),
        "megalos: not a suffix of at most 6 letters and digits: 'a-b'"
      ),
    ] as [(LANRequest, String?)])
  func lan(request: LANRequest, expected: String?) {
    #expect(message { try request.validate() } == expected)
  }

  @Test("a name of 63 characters is taken, one of 64 refused")
  func longNames() throws {
    try LANRequest(name: String(repeating: "n", count: 63)).validate()
    let long = String(repeating: "n", count: 64)
    #expect(message { try LANRequest(name: long).validate() } == "name: longer than 63 characters: '\(long)'")
  }

  @Test("bridges of Megalos fit an interface's name")
  func megalosNames() {
    // IFNAMSIZ is 16 (linux/if.h), the NUL included.
    #expect("kt-".utf8.count + 5 + "-".utf8.count + LANRequest.longestMegalosSuffix == 15)
  }

  @Test(
    "a tunnel endpoint is the address of one host",
    arguments: [
      ("192.0.2.1", nil), ("10.0.0.255", nil), ("2001:db8::1", nil), ("fd00::1", nil),
      ("", "not an IP address, as 192.0.2.1 or 2001:db8::1"),
      ("host", "not an IP address, as 192.0.2.1 or 2001:db8::1"),
      ("192.0.2.1/24", "not an IP address, as 192.0.2.1 or 2001:db8::1"),
      ("192.0.2.01", "not an IP address, as 192.0.2.1 or 2001:db8::1"),
      ("fe80::1%eth0", "not an IP address, as 192.0.2.1 or 2001:db8::1"),
      ("224.0.0.1", "multicast address"), ("ff02::1", "multicast address"),
      ("127.0.0.1", "loopback address"), ("::1", "loopback address"),
      ("169.254.1.1", "link-local address"), ("fe80::1", "link-local address"),
      ("0.0.0.0", "not an address for a host"), ("0.1.2.3", "not an address for a host"),
      ("240.0.0.1", "not an address for a host"), ("255.255.255.255", "not an address for a host"),
      ("::", "not an address for a host"), ("::192.0.2.1", "not an address for a host"),
      ("::ffff:192.0.2.1", "not an address for a host"),
    ] as [(String, String?)])
  func endpoints(address: String, problem: String?) {
    func expected(_ field: String) -> String? { problem.map { "\(field): \($0): '\(address)'" } }
    #expect(message { try LANRequest(name: "a", vtep: address).validate() } == expected("vtep"))
    #expect(message { try LANPeer(address: address).validate() } == expected("address"))
    #expect(
      message { try EVPNRequest(asNumber: 1, neighbors: ["192.0.2.9", address]).validate() }
        == expected("neighbors[1]"))
  }

  @Test(
    "a peer's MAC addresses are those of stations",
    arguments: [
      ("52:54:00:00:00:01", nil),
      ("52:54:00:00:00", "macs[1]: not a MAC address, as 52:54:00:12:34:56: '52:54:00:00:00'"),
      (
        "52:54:00:00:00:01-52:54:00:00:00:02",
        "macs[1]: not a MAC address, as 52:54:00:12:34:56: '52:54:00:00:00:01-52:54:00:00:00:02'"
      ),
      ("00:00:00:00:00:00", "macs[1]: all zeroes: '00:00:00:00:00:00'"),
      ("ff:ff:ff:ff:ff:ff", "macs[1]: multicast address: 'ff:ff:ff:ff:ff:ff'"),
    ] as [(String, String?)])
  func peerMACs(mac: String, expected: String?) {
    let peer = LANPeer(address: "192.0.2.2", macs: ["52:54:00:00:00:09", mac])
    #expect(message { try peer.validate() } == expected)
  }

  @Test func attaching() throws {
    try AttachRequest(interface: "eth0.100").validate()
    #expect(message { try AttachRequest(interface: "").validate() }?.hasPrefix("interface: not a device") == true)
  }

  @Test(
    "a part in EVPN that cannot be is refused by name",
    arguments: [
      (EVPNRequest(asNumber: 1, reflector: true), nil),
      (EVPNRequest(asNumber: 4_294_967_295, neighbors: ["192.0.2.1", "2001:db8::1"]), nil),
      (EVPNRequest(asNumber: 1, reflector: true, listen: ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"]), nil),
      (EVPNRequest(asNumber: 0, reflector: true), "as: must be 1 to 4294967295: '0'"),
      (EVPNRequest(asNumber: 4_294_967_296, reflector: true), "as: must be 1 to 4294967295: '4294967296'"),
      (
        EVPNRequest(asNumber: 1),
        "neighbors: missing: the addresses of reflectors, or 'reflector' to be one"
      ),
      (
        EVPNRequest(asNumber: 1, reflector: true, neighbors: ["192.0.2.1"]),
        "neighbors[0]: given together with 'reflector': '192.0.2.1'"
      ),
      (
        EVPNRequest(asNumber: 1, neighbors: ["192.0.2.1"], listen: ["10.0.0.0/8"]),
        "listen[0]: given without 'reflector': '10.0.0.0/8'"
      ),
      (
        EVPNRequest(asNumber: 1, reflector: true, listen: ["10.0.0.0/8", "192.0.2.1"]),
        "listen[1]: not a prefix, as 192.0.2.0/24 or 2001:db8::/32: '192.0.2.1'"
      ),
      (
        EVPNRequest(asNumber: 1, reflector: true, listen: ["192.0.2.1/24"]),
        "listen[0]: has bits beyond its prefix, expected 192.0.2.0/24: '192.0.2.1/24'"
      ),
      (
        EVPNRequest(asNumber: 1, reflector: true, listen: ["2001:db8::1/32"]),
        "listen[0]: has bits beyond its prefix, expected 2001:db8::/32: '2001:db8::1/32'"
      ),
    ] as [(EVPNRequest, String?)])
  func evpn(request: EVPNRequest, expected: String?) {
    #expect(message { try request.validate() } == expected)
  }
}

@Suite("The command line of LANs")
struct LANCommandTests {
  private func invocation(_ name: String, _ line: String) throws -> Invocation {
    try Invocation(try findCommand(name), line.split(separator: " ").map(String.init)[...])
  }

  @Test("options make a request")
  func create() throws {
    #expect(try lanRequest(try invocation("lan create", "red")) == LANRequest(name: "red"))
    let all = try invocation(
      "lan create", "red --vni 7 --mtu 1400 --mode static --port 8472 --device eth1 --megalos=lab")
    #expect(
      try lanRequest(all)
        == LANRequest(
          name: "red", vni: 7, mtu: 1400, mode: .static, port: 8472, device: "eth1", megalos: "lab"))
    let vtep = try invocation("lan create", "red --vtep 192.0.2.1 --mode evpn --megalos=")
    #expect(try lanRequest(vtep) == LANRequest(name: "red", mode: .evpn, vtep: "192.0.2.1", megalos: ""))
    #expect(
      message { _ = try lanRequest(try invocation("lan create", "red --vni 0x7")) }
        == "option '--vni': expected an integer, got '0x7'")
  }

  @Test("a part in EVPN is one of two")
  func evpnParts() throws {
    #expect(
      try evpnRequest(try invocation("lan evpn enable", "--as 65000 --reflector --listen 10.0.0.0/8 --listen ::/0"))
        == EVPNRequest(asNumber: 65_000, reflector: true, listen: ["10.0.0.0/8", "::/0"]))
    #expect(
      try evpnRequest(try invocation("lan evpn enable", "--as 65000 --neighbor a --neighbor b"))
        == EVPNRequest(asNumber: 65_000, neighbors: ["a", "b"]))
    func refusal(_ line: String) -> String? {
      message { _ = try evpnRequest(try invocation("lan evpn enable", line)) }
    }
    #expect(refusal("--reflector") == "missing --as")
    #expect(refusal("--as 1") == "missing --reflector or --neighbor")
    #expect(refusal("--as 1 --reflector --neighbor a") == "--reflector and --neighbor exclude each other")
    #expect(refusal("--as 1 --neighbor a --listen b") == "--listen needs --reflector")
  }

  @Test("a vif's specification says what is wrong with it by its own name")
  func vifSpecification() throws {
    let add = try invocation("vif add", "web lan=red,mac=52:54:00:00:00:01,ip=10.1.0.2/24,mtu=1400")
    #expect(
      try vifRequest(add.operands[1], givenAs: "SPEC", add)
        == VifRequest(mac: "52:54:00:00:00:01", ip: "10.1.0.2/24", lan: "red", mtu: 1400))
    #expect(message { _ = try vifRequest("red", givenAs: "SPEC", add) } == "SPEC: expected KEY=VALUE, got 'red'")
    #expect(
      message { _ = try vifRequest("mac=a", givenAs: "SPEC", add) }
        == "SPEC: missing bridge=NAME or lan=NAME in 'mac=a'")
    #expect(
      message { _ = try vifRequest("lna=a", givenAs: "SPEC", add) }
        == "SPEC: unknown key 'lna'; did you mean 'lan'?")
  }

  @Test("LANs are listed; what is not known is a dash")
  func list() {
    let lans = [
      LANSummary(name: "red", vni: 100, mode: .evpn, mtu: 1450, state: .ready, members: 12, bridge: "lan100"),
      LANSummary(name: "a-long-name", vni: 16_777_215, mode: .static, state: .waiting, members: 0, bridge: "b"),
    ]
    #expect(
      lanTable(lans) == """
        NAME              VNI  MODE     MTU  STATE    MEMBERS  BRIDGE
        red               100  evpn    1450  ready         12  lan100
        a-long-name  16777215  static     -  waiting        0  b

        """)
  }

  @Test("a LAN is shown with its peers, members and forwarding tables")
  func info() {
    #expect(
      lanText(lan) == """
        Name:         red
        VNI:          100
        Mode:         static
        State:        ready
        MTU:          1450
        Bridge:       lan100
        VXLAN device: vxlan100, up
        Tunnels:      from 192.0.2.1 by eth0, UDP port 4789
        Attached:     eth2, eth3
        Drops:        10

        PEER       MACS
        192.0.2.2  m1,m2

        MEMBER  KIND       INTERFACE  MAC                RX  RX-BYTES  RX-DROPS  RX-ERRORS  TX  TX-BYTES  TX-DROPS  TX-ERRORS
        web/0   guest      vif7.0     52:54:00:00:00:01   1         2         3          4   5         6         7          8
        -       interface  eth2       -                   0         0         0          0   0         0         0          0

        FRAMES-TO          KIND    INTERFACE  HOST       ORIGIN
        52:54:00:00:00:01  local   vif7.0     -          set
        52:54:00:00:00:02  remote  vxlan100   192.0.2.2  learned
        (unknown)          flood   vxlan100   192.0.2.2  set

        """)
    let waiting = LANInfo(
      name: "blue", vni: 1, mode: .local, bridge: "b", isUp: false, state: .waiting, reason: "no eth0")
    #expect(
      lanText(waiting) == """
        Name:   blue
        VNI:    1
        Mode:   local
        State:  waiting: no eth0
        Bridge: b
        Drops:  0

        """)
  }

  @Test("EVPN is shown with its sessions and routes")
  func evpnStatus() {
    #expect(
      evpnText(evpn) == """
        EVPN: enabled
        AS:   65000
        Role: client of 192.0.2.1

        NEIGHBOR   STATE        UPTIME  ROUTES
        192.0.2.1  Established    1m1s       3
        192.0.2.9  Active            -       -

        VNI  KIND  MAC                VTEP       ORIGIN
        100  mac   52:54:00:00:00:01  192.0.2.1  this host
        100  mac   52:54:00:00:00:02  192.0.2.2  held
        100  vtep  -                  192.0.2.3  announced

        """)
    #expect(evpnText(EVPNStatus(enabled: false)) == "EVPN: disabled\n")
    #expect(
      evpnText(EVPNStatus(enabled: true, asNumber: 1, reflector: true)) == """
        EVPN: enabled
        AS:   1
        Role: reflector for any address

        """)
  }
}
