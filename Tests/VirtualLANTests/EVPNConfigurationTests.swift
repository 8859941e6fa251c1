import NetworkAddresses
import Testing

@testable import VirtualLAN

/// frr.conf as people have it: each is somebody's whole file.
private let files: [String] = [
  "",
  "\n",
  "! only a comment",
  // Debian's, as installed.
  "# default to using syslog. /etc/rsyslog.d/45-frr.conf places the log in\n# /var/log/frr/frr.log\n"
    + "log syslog informational\n",
  "frr version 8.4.4\nfrr defaults traditional\nhostname r1\nlog syslog informational\nno ip forwarding\n!\n"
    + "interface eth0\n ip ospf area 0\nexit\n!\nrouter ospf\n ospf router-id 10.0.0.1\nexit\n!\nend\n",
  "frr defaults datacenter\r\nhostname windows\r\n!\r\nrouter bgp 65000\r\n neighbor 10.1.1.1 remote-as 65100\r\n!\r\n",
  "router bgp 65000\n bgp router-id 10.255.0.1\n neighbor 10.1.1.1 remote-as external\n !\n"
    + " address-family l2vpn evpn\n  neighbor 10.1.1.1 activate\n  advertise-all-vni\n exit-address-family\nexit",
  "router bgp 65010 vrf red\n neighbor 10.1.1.1 remote-as 65100\nexit\n!\nvrf red\n vni 1000\nexit-vrf\n",
  "router bgp 65000\n\n\n   neighbor   10.1.1.1   remote-as 1\n",
  "hostname \u{e9}t\u{e9}\npassword !notacomment\nline vty\n",
  "router\nrouter bgp\nrouter bgp x\naddress-family\nneighbor\nno\nbgp\n",
  "!\0binary\u{1}\n\t\nip router-id 1.2.3.4\n  ",
]

private let client = try! EVPNSettings(
  asNumber: 65000, role: .client(neighbors: [IPAddress("10.0.0.1")!, IPAddress("fd99::2")!]))
private let reflector = try! EVPNSettings(
  asNumber: 65000, role: .reflector(listen: [IPInterface("10.0.0.0/24")!]))
private let routerID = IPv4Address("10.0.0.7")!

private func text(_ configuration: FRRConfiguration) -> String {
  String(decoding: configuration.bytes, as: UTF8.self)
}

@Suite struct EVPNConfigurationTests {
  @Test func theBlockOfAClient() throws {
    let new = try FRRConfiguration("log syslog\n").replacingBlock(with: client, routerID: routerID)
    #expect(
      text(new) == """
        log syslog
        ! chaos begin: what follows is replaced by 'chaos lan evpn enable' and removed by 'chaos lan evpn disable'
        ip nht resolve-via-default
        ipv6 nht resolve-via-default
        router bgp 65000
         bgp router-id 10.0.0.7
         neighbor CHAOS peer-group
         neighbor CHAOS remote-as 65000
         neighbor CHAOS timers 3 9
         neighbor CHAOS timers connect 1
         neighbor 10.0.0.1 peer-group CHAOS
         neighbor fd99::2 peer-group CHAOS
         address-family ipv4 unicast
          no neighbor CHAOS activate
         exit-address-family
         address-family l2vpn evpn
          neighbor CHAOS activate
          advertise-all-vni
         exit-address-family
        exit
        ! chaos end

        """)
  }

  @Test func aReflectorListensAndReflects() throws {
    let new = text(try FRRConfiguration("").replacingBlock(with: reflector, routerID: routerID))
    #expect(new.contains("\n bgp listen range 10.0.0.0/24 peer-group CHAOS\n"))
    #expect(new.contains("\n bgp listen limit 65535\n"))
    #expect(new.contains("\n  neighbor CHAOS route-reflector-client\n"))
    let everywhere = try EVPNSettings(asNumber: 1, role: .reflector(listen: []))
    let open = try FRRConfiguration("").replacingBlock(with: everywhere, routerID: routerID)
    #expect(text(open).contains("listen range 0.0.0.0/0 peer") && text(open).contains("listen range ::/0 peer"))
    #expect(open.settings == everywhere)
  }

  @Test(arguments: files) func removingTheBlockRestoresEveryByte(_ file: String) throws {
    let old = try FRRConfiguration(file)
    #expect(old.settings == nil)
    #expect(try old.removingBlock() == old)
    for settings in [client, reflector] {
      let new = try old.replacingBlock(with: settings, routerID: routerID)
      #expect(new.settings == settings)
      #expect(try new.removingBlock().bytes == Array(file.utf8))
      #expect(try FRRConfiguration(new.bytes) == new)
    }
  }

  @Test(arguments: files) func replacingIsTheSameAsWritingAnew(_ file: String) throws {
    let old = try FRRConfiguration(file)
    let once = try old.replacingBlock(with: client, routerID: routerID)
    #expect(try once.replacingBlock(with: client, routerID: routerID) == once)
    let other = try once.replacingBlock(with: reflector, routerID: routerID)
    #expect(try other == old.replacingBlock(with: reflector, routerID: routerID))
    #expect(try other.removingBlock().bytes == Array(file.utf8))
  }

  @Test func bytesThatAreNoTextStay() throws {
    let bytes: [UInt8] = [0xff, 0xfe, 0x0a, 0x00, 0x80, 0x0d, 0x0a, 0xc3]
    let new = try FRRConfiguration(bytes).replacingBlock(with: client, routerID: routerID)
    #expect(new.settings == client)
    #expect(try new.removingBlock().bytes == bytes)
  }

  @Test func whatWasWrittenBehindTheBlockStays() throws {
    let old = try FRRConfiguration("hostname a")
    let new = try old.replacingBlock(with: client, routerID: routerID)
    let longer = try FRRConfiguration(new.bytes + Array("hostname b\n".utf8))
    #expect(longer.settings == client)
    #expect(text(try longer.removingBlock()) == "hostname a\nhostname b\n")
    let moved = try longer.replacingBlock(with: reflector, routerID: routerID)
    #expect(moved.settings == reflector)
    #expect(text(try moved.removingBlock()) == "hostname a\nhostname b\n")
  }

  @Test func aBlockThatAnEditorGaveCarriageReturnsIsStillTheBlock() throws {
    let new = text(try FRRConfiguration("hostname a\n").replacingBlock(with: client, routerID: routerID))
    let edited = try FRRConfiguration(new.replacingNewlines())
    #expect(edited.settings == client)
    #expect(text(try edited.removingBlock()) == "hostname a\r\n")
  }

  @Test(arguments: [
    "! chaos begin: x\nrouter bgp 1\n", "router bgp 1\n! chaos end\n", "! chaos end\n! chaos begin\n",
    "! chaos begin\n! chaos begin\n! chaos end\n", "! chaos begin\n! chaos end\n! chaos begin\n! chaos end",
  ]) func marksThatAreNoPairAreRefused(_ file: String) throws {
    let error = #expect(throws: EVPNError.self) { try FRRConfiguration(file) }
    #expect(error?.kind == .conflict)
    #expect(error?.description.contains("line ") == true)
    #expect(error?.description.contains("\n") == false)
  }

  // MARK: The user's own BGP

  @Test func anotherASIsRefused() throws {
    let old = try FRRConfiguration("!\nrouter bgp 65001\n neighbor 10.1.1.1 remote-as 1\n")
    let error = #expect(throws: EVPNError.self) { try old.replacingBlock(with: client, routerID: routerID) }
    #expect(error?.field == "as" && error?.kind == .conflict)
    #expect(error?.description.contains("65001") == true && error?.description.contains("65000") == true)
    #expect(error?.description.contains("line 2") == true)
  }

  @Test func aVRFOfAnotherASIsNotInTheWay() throws {
    let old = try FRRConfiguration("router bgp 65001 vrf red\n neighbor 10.1.1.1 remote-as 1\nexit\n")
    #expect(try old.replacingBlock(with: client, routerID: routerID).settings == client)
  }

  @Test func whatTheUserSaysIsNotSaidAgain() throws {
    let old = try FRRConfiguration(
      "router bgp 65000\n bgp router-id 1.1.1.1\n bgp listen limit 5\n address-family l2vpn evpn\n"
        + "  advertise-all-vni\n exit-address-family\nexit\n")
    let commands = try old.replacingBlock(with: reflector, routerID: routerID).blockCommands
    #expect(!commands.contains { $0.hasPrefix("bgp router-id") || $0.hasPrefix("bgp listen limit") })
    #expect(!commands.contains("advertise-all-vni"))
    let global = try FRRConfiguration("ip router-id 1.1.1.1\n")
    #expect(
      !(try global.replacingBlock(with: client, routerID: routerID)).blockCommands.contains(
        "bgp router-id 10.0.0.7"))
  }

  /// FRR's `write memory` drops comments and merges sections.
  @Test func aFileThatFRRWroteAnewIsUnderstood() throws {
    let written = """
      frr version 8.4.4
      frr defaults traditional
      hostname vm
      !
      router bgp 65000
       bgp router-id 9.9.9.9
       neighbor CHAOS peer-group
       neighbor CHAOS remote-as 65000
       neighbor CHAOS timers 3 9
       neighbor 10.0.0.1 peer-group CHAOS
       neighbor fd99::2 peer-group CHAOS
       neighbor 10.9.0.77 remote-as 65077
       !
       address-family ipv4 unicast
        no neighbor CHAOS activate
       exit-address-family
       !
       address-family l2vpn evpn
        neighbor CHAOS activate
        advertise-all-vni
       exit-address-family
      exit
      !
      """
    let old = try FRRConfiguration(written)
    #expect(old.settings == client)
    let rest = text(try old.removingBlock())
    #expect(!rest.contains("CHAOS"))
    #expect(rest.contains(" neighbor 10.9.0.77 remote-as 65077\n") && rest.contains("bgp router-id 9.9.9.9"))
    let new = try old.replacingBlock(with: reflector, routerID: routerID)
    #expect(new.settings == reflector)
    #expect(text(try new.removingBlock()) == rest)
  }

  // MARK: Taking back

  private func withdrawal(
    _ file: String, from settings: EVPNSettings, to wanted: EVPNSettings?, alsoRunning: String = ""
  ) throws -> [String] {
    let old = try FRRConfiguration(file).replacingBlock(with: settings, routerID: routerID)
    let running = try FRRConfiguration(text(old) + alsoRunning)
    return old.withdrawal(running: running, wanted: wanted)
  }

  @Test func whatIsOnlyOursGoesWhole() throws {
    #expect(try withdrawal("log syslog\n", from: client, to: nil) == ["no router bgp 65000"])
    let other = try EVPNSettings(asNumber: 65001, role: client.role)
    #expect(try withdrawal("", from: client, to: other) == ["no router bgp 65000"])
    #expect(try withdrawal("", from: client, to: reflector) == ["no router bgp 65000"])
    let nothing = try FRRConfiguration("")
    #expect(nothing.withdrawal(running: try FRRConfiguration("router bgp 65000\nexit\n"), wanted: nil) == [])
  }

  @Test func theUsersBGPIsLeftAlone() throws {
    let expected = [
      "router bgp 65000", "no neighbor 10.0.0.1", "no neighbor fd99::2", "no neighbor CHAOS peer-group",
      "no bgp router-id 10.0.0.7", "address-family l2vpn evpn", "no advertise-all-vni", "exit-address-family",
      "exit",
    ]
    let users = "router bgp 65000\n neighbor 10.1.1.1 remote-as 1\nexit\n"
    #expect(try withdrawal(users, from: client, to: nil) == expected)
    // Not saved, but there.
    #expect(try withdrawal("", from: client, to: nil, alsoRunning: users) == expected)
    let vrf = "router bgp 65000 vrf red\nexit\n"
    #expect(try withdrawal("", from: client, to: nil, alsoRunning: vrf) == expected)
    let announcing = "router bgp 65000\n bgp router-id 1.1.1.1\n address-family l2vpn evpn\n  advertise-all-vni\n"
    #expect(
      try withdrawal(announcing, from: reflector, to: nil) == [
        "router bgp 65000", "no bgp listen range 10.0.0.0/24 peer-group CHAOS", "no neighbor CHAOS peer-group",
        "no bgp listen limit", "exit",
      ])
  }

  @Test func sessionsThatAreStillWantedStay() throws {
    #expect(try withdrawal("", from: client, to: client) == [])
    let fewer = try EVPNSettings(
      asNumber: 65000, role: .client(neighbors: [IPAddress("fd99::2")!, IPAddress("10.0.0.9")!]))
    #expect(
      try withdrawal("", from: client, to: fewer) == ["router bgp 65000", "no neighbor 10.0.0.1", "exit"])
    let wider = try EVPNSettings(asNumber: 65000, role: .reflector(listen: [IPInterface("10.0.0.0/8")!]))
    #expect(
      try withdrawal("", from: reflector, to: wider)
        == ["router bgp 65000", "no bgp listen range 10.0.0.0/24 peer-group CHAOS", "exit"])
  }

  @Test func theFarewellWithdrawsOnlyWhatChaosAnnounces() throws {
    let new = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    #expect(
      new.farewell == [
        "router bgp 65000", "address-family l2vpn evpn", "no advertise-all-vni", "exit-address-family", "exit",
      ])
    let users = try FRRConfiguration(
      "router bgp 65000\n address-family l2vpn evpn\n  advertise-all-vni\n exit-address-family\nexit\n")
    #expect(try users.replacingBlock(with: client, routerID: routerID).farewell.isEmpty)
    #expect(users.farewell.isEmpty)
  }

  // MARK: zebra

  @Test func whereTheDefaultRouteIsNoWayItIsMadeOne() throws {
    let block = try FRRConfiguration("").replacingBlock(with: client, routerID: routerID)
    #expect(block.zebraCommands == FRRConfiguration.nextHopTracking)
    #expect(!block.blockCommands.contains { $0.contains("nht") })
    let nothing = try FRRConfiguration("")
    for (running, missing, withdrawn) in [
      ("frr version 8.4.4\nfrr defaults traditional\n", [], []),
      ("frr defaults datacenter\n", FRRConfiguration.nextHopTracking, block.zebraCommands.map { "no \($0)" }),
      (
        "frr defaults datacenter\nip nht resolve-via-default\n", ["ipv6 nht resolve-via-default"],
        block.zebraCommands.map { "no \($0)" }
      ),
    ] {
      let running = try FRRConfiguration(running)
      #expect(block.missingZebraCommands(running: running) == missing)
      #expect(block.zebraWithdrawal(running: running, wanted: nothing) == withdrawn)
      #expect(block.zebraWithdrawal(running: running, wanted: block) == [])
    }
  }

  @Test(arguments: ["ip nht resolve-via-default\n", "no ip nht resolve-via-default\n"])
  func whatTheUserSaysOfTheDefaultRouteCounts(_ line: String) throws {
    let users = try FRRConfiguration(line)
    let block = try users.replacingBlock(with: client, routerID: routerID)
    #expect(block.zebraCommands == ["ipv6 nht resolve-via-default"])
    let running = try FRRConfiguration("frr defaults datacenter\n" + line)
    #expect(block.missingZebraCommands(running: running) == ["ipv6 nht resolve-via-default"])
    #expect(block.zebraWithdrawal(running: running, wanted: users) == ["no ipv6 nht resolve-via-default"])
  }

  // MARK: Settings

  @Test func settingsThatCannotBeAreRefused() {
    #expect(throws: EVPNError.self) { try EVPNSettings(asNumber: 0, role: .reflector(listen: [])) }
    #expect(throws: EVPNError.self) { try EVPNSettings(asNumber: 1, role: .client(neighbors: [])) }
    for address in ["224.0.0.1", "0.0.0.0", "127.0.0.1", "fe80::1", "::", "255.255.255.255", "ff02::1"] {
      let error = #expect(throws: EVPNError.self) {
        try EVPNSettings(asNumber: 1, role: .client(neighbors: [IPAddress(address)!]))
      }
      #expect(error?.field == "neighbor" && error?.description.hasSuffix("'\(address)'") == true)
    }
  }

  @Test func ofAPrefixTheNetworkCountsAndRepetitionsCountOnce() throws {
    let settings = try EVPNSettings(
      asNumber: 1, role: .reflector(listen: [IPInterface("10.0.0.9/24")!, IPInterface("10.0.0.0/24")!]))
    #expect(settings.role == .reflector(listen: [IPInterface("10.0.0.0/24")!]))
    let address = IPAddress("10.0.0.1")!
    #expect(
      try EVPNSettings(asNumber: 1, role: .client(neighbors: [address, address])).role
        == .client(neighbors: [address]))
  }

  /// As FRR 8.4.4 showed it when it was given the block: sorted, and in its own spelling.
  @Test func theOrderAndSpellingOfFRRMakeNoDifference() throws {
    let neighbors = ["FD99:0::A", "10.0.0.20", "10.0.0.3", "2001:db8::2", "9.0.0.3"].map { IPAddress($0)! }
    let running = """
      router bgp 65000
       neighbor CHAOS peer-group
       neighbor CHAOS remote-as 65000
       neighbor 9.0.0.3 peer-group CHAOS
       neighbor 10.0.0.3 peer-group CHAOS
       neighbor 10.0.0.20 peer-group CHAOS
       neighbor 2001:db8::2 peer-group CHAOS
       neighbor fd99::a peer-group CHAOS
      """
    let settings = try EVPNSettings(asNumber: 65000, role: .client(neighbors: neighbors))
    #expect(try FRRConfiguration(running).settings == settings)
    #expect(
      settings.neighbors.map(\.description) == ["9.0.0.3", "10.0.0.3", "10.0.0.20", "2001:db8::2", "fd99::a"])

    let ranges = ["FD98::/64", "10.9.0.0/24", "10.8.0.0/24"].map { IPInterface($0)! }
    let listening = """
      router bgp 65000
       neighbor CHAOS peer-group
       bgp listen range 10.9.0.0/24 peer-group CHAOS
       bgp listen range 10.8.0.0/24 peer-group CHAOS
       bgp listen range fd98::/64 peer-group CHAOS
       address-family l2vpn evpn
        neighbor CHAOS route-reflector-client
      """
    let reflector = try EVPNSettings(asNumber: 65000, role: .reflector(listen: ranges))
    #expect(try FRRConfiguration(listening).settings == reflector)
  }

  @Test func everywhereInWordsIsEverywhere() throws {
    let inWords = try EVPNSettings(
      asNumber: 1, role: .reflector(listen: [IPInterface("::/0")!, IPInterface("0.0.0.0/0")!]))
    #expect(try inWords == EVPNSettings(asNumber: 1, role: .reflector(listen: [])))
    #expect(try FRRConfiguration("").replacingBlock(with: inWords, routerID: routerID).settings == inWords)
  }

  /// FRR from 8.5 on may show it so (RFC 5396).
  @Test func anASNumberInTwoPartsIsTheSameNumber() throws {
    let settings = try EVPNSettings(asNumber: 65546, role: client.role)
    for opening in ["router bgp 65546", "router bgp 1.10", "router bgp 1.10 as-notation dot"] {
      let running = """
        \(opening)
         neighbor CHAOS peer-group
         neighbor 10.0.0.1 peer-group CHAOS
         neighbor fd99::2 peer-group CHAOS
        """
      #expect(try FRRConfiguration(running).settings == settings)
    }
    for opening in ["router bgp 1.65536", "router bgp 1.2.3", "router bgp .1", "router bgp 65536.0"] {
      #expect(try FRRConfiguration("\(opening)\n neighbor CHAOS peer-group\n").settings == nil)
    }
  }

  // MARK: The list of daemons

  @Test(arguments: [
    ("", "bgpd=yes\n"),
    ("bgpd=no\nospfd=no\n", "bgpd=yes\nospfd=no\n"),
    ("ospfd=no\nbgpd=no # none\r\n#bgpd=no\n", "ospfd=no\nbgpd=yes # none\r\n#bgpd=no\n"),
    ("bgpd='no'", "bgpd=yes"), ("bgpd=\n", "bgpd=yes\n"), ("bgpd=0\n", "bgpd=yes\n"),
    ("bgpd=yes\n", "bgpd=yes\n"), ("bgpd=\"yes\" \n", "bgpd=\"yes\" \n"), ("bgpd=1\n", "bgpd=1\n"),
    ("bgpd_options=\"-A 127.0.0.1\"", "bgpd_options=\"-A 127.0.0.1\"\nbgpd=yes\n"),
    ("bgpd=no\nbgpd=no\n", "bgpd=yes\nbgpd=yes\n"),
  ]) func onlyBGPIsSwitchedOn(_ old: String, _ new: String) {
    #expect(String(decoding: FRRDaemons.enablingBGP(Array(old.utf8)), as: UTF8.self) == new)
    #expect(FRRDaemons.enablingBGP(Array(new.utf8)) == Array(new.utf8))
  }
}

extension String {
  /// With the line ends of another system.
  fileprivate func replacingNewlines() -> String {
    split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
  }
}
