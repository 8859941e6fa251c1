import ChaosAPI

// The commands of virtual LANs, EVPN and vifs.

private let lanOperand = Operand(name: "NAME", kind: .lan)

private let vifText = """
  A SPEC is KEY=VALUE pairs joined by commas. Its keys are lan or bridge, one of which is needed, and mac, ip, \
  gateway, ip6, gateway6 and mtu.
  """

// MARK: LANs

let lanCreateCommand = Command(
  name: "lan create",
  summary: "Make a virtual LAN, and print its VNI.",
  description: [
    """
    A LAN is made under the same name, or with the same VNI, on every host that is to have it. It is there \
    again after the host's next start.
    """,
    """
    In mode local it is a bridge on this host alone. In mode static its other hosts are named by chaos lan \
    peer add. In mode evpn they find one another (see chaos lan evpn enable).
    """,
    """
    The MTU is what the underlay leaves: 50 bytes less than its own over IPv4, 70 less over IPv6. Give it \
    where hosts of one LAN have different ones.
    """,
  ],
  operands: [Operand(name: "NAME")],
  options: [
    Option(
      name: "vni", value: .init(name: "N"),
      summary: "The VXLAN network identifier, 1 to 16777215; made from the name when it is left out."),
    Option(name: "mtu", value: .init(name: "BYTES"), summary: "The MTU of guests and containers on it."),
    Option(
      name: "mode", value: .init(name: "MODE", kind: .choice(LANMode.allCases.map { $0.rawValue })),
      summary: "How its hosts know one another; evpn where that is enabled on this host, else static."),
    Option(name: "port", value: .init(name: "PORT"), summary: "The UDP port of the tunnels; default 4789."),
    Option(
      name: "vtep", value: .init(name: "ADDRESS"),
      summary: "This host's address for the tunnels; that of the default route when it is left out."),
    Option(
      name: "device", value: .init(name: "INTERFACE", kind: .interface),
      summary: "Take the address of this interface instead."),
    Option(
      name: "megalos", value: .init(name: "SUFFIX"),
      summary: "Share the LAN with Megalos, whose bridges end in this; needs --vni, default port 8472."),
    formatOption, socketOption,
  ],
  examples: [
    Example(command: "chaos lan create red", comment: "The same on every host."),
    Example(
      command: "chaos lan create red --mode static --device eth1",
      comment: "Tunnels leave by eth1, to the hosts that chaos lan peer add names."),
    Example(command: "chaos lan create inner --mode local", comment: "For guests of this host only."),
  ],
  run: lanCreate)

let lanListCommand = Command(
  name: "lan list",
  aliases: ["lan ls"],
  summary: "List the virtual LANs.",
  description: [
    "A LAN is waiting while something it needs is not there, such as its underlay's address: see chaos lan info."
  ],
  options: [
    Option(name: "quiet", letter: "q", summary: "Print names only."), formatOption, socketOption,
  ],
  examples: [Example(command: "chaos lan list", comment: "A table of all LANs.")],
  run: lanList)

let lanInfoCommand = Command(
  name: "lan info",
  summary: "Show a LAN's members, forwarding tables and counters.",
  description: [
    """
    Counters are the host's: what a member sent is received (RX). Drops are all that were counted on the \
    LAN's ports and its VXLAN device.
    """
  ],
  operands: [lanOperand],
  options: [formatOption, socketOption],
  examples: [
    Example(command: "chaos lan info red", comment: "All there is to know about it on this host."),
    Example(command: "chaos lan info red --format json | jq .drops", comment: "One fact, for a script."),
  ],
  run: lanInfo)

let lanPeerAddCommand = Command(
  name: "lan peer add",
  summary: "Add another host to a LAN of mode static.",
  description: [
    """
    Frames whose destination nobody knows go to every peer; those to a MAC address that is named here, or was \
    seen to come from a peer, to that one. Adding a peer again adds the MAC addresses given.
    """
  ],
  operands: [lanOperand, Operand(name: "ADDRESS")],
  options: [
    Option(
      name: "mac", value: .init(name: "MAC"), isRepeated: true,
      summary: "The MAC address of a guest or container there; repeat it for more."),
    formatOption, socketOption,
  ],
  examples: [
    Example(command: "chaos lan peer add red 192.0.2.2", comment: "And on that host, the address of this one.")
  ],
  run: lanPeerAdd)

let lanPeerRemoveCommand = Command(
  name: "lan peer remove",
  aliases: ["lan peer rm"],
  summary: "Take another host from a LAN of mode static.",
  operands: [lanOperand, Operand(name: "ADDRESS")],
  options: [socketOption],
  examples: [
    Example(command: "chaos lan peer remove red 192.0.2.2", comment: "What is for everybody no longer goes there.")
  ],
  run: lanPeerRemove)

let lanPeerListCommand = Command(
  name: "lan peer list",
  aliases: ["lan peer ls"],
  summary: "List the other hosts of a LAN of mode static.",
  operands: [lanOperand],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos lan peer list red", comment: "With the MAC addresses known to be there.")],
  run: lanPeerList)

let lanAttachCommand = Command(
  name: "lan attach",
  summary: "Let an interface of this host join a LAN.",
  description: [
    """
    For physical networks: what is on the interface's wire is then on the LAN. An interface that has an \
    address of the host is refused, as the host would lose it.
    """
  ],
  operands: [lanOperand, Operand(name: "INTERFACE", kind: .interface)],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos lan attach red eth2", comment: "A physical network and the LAN are one.")],
  run: lanAttach)

let lanDetachCommand = Command(
  name: "lan detach",
  summary: "Take an interface of this host from a LAN.",
  operands: [lanOperand, Operand(name: "INTERFACE", kind: .interface)],
  options: [socketOption],
  examples: [Example(command: "chaos lan detach red eth2", comment: "The interface itself stays.")],
  run: lanDetach)

let lanDeleteCommand = Command(
  name: "lan delete",
  aliases: ["lan rm"],
  summary: "Remove LANs from this host.",
  description: [
    """
    A LAN with members is refused. Where there are several, each is tried; the exit status is that of the \
    first that failed.
    """
  ],
  operands: [Operand(name: "NAME", isRepeated: true, kind: .lan)],
  options: [
    Option(name: "force", summary: "Even with members: they stay, and are connected to nothing."), socketOption,
  ],
  examples: [Example(command: "chaos lan delete red", comment: "Other hosts keep it.")],
  run: lanDelete)

// MARK: EVPN

let evpnEnableCommand = Command(
  name: "lan evpn enable",
  summary: "Let this host and others tell one another where MAC addresses are.",
  description: [
    """
    Uses FRR's bgpd and zebra. Their configuration keeps what it has; chaos writes a block of its own into it. \
    One host is the reflector; the others name it as their neighbor, and a further host needs no \
    change elsewhere. Enabling again changes the settings.
    """
  ],
  options: [
    Option(
      name: "as", value: .init(name: "N"),
      summary: "The number of the autonomous system, the same on every host: 1 to 4294967295."),
    Option(name: "reflector", summary: "Pass on what the other hosts announce."),
    Option(
      name: "listen", value: .init(name: "PREFIX"), isRepeated: true,
      summary: "With --reflector: take neighbors from these addresses only; repeat it for more."),
    Option(
      name: "neighbor", value: .init(name: "ADDRESS"), isRepeated: true,
      summary: "The address of a reflector; repeat it for more."),
    formatOption, socketOption,
  ],
  examples: [
    Example(
      command: "chaos lan evpn enable --as 65000 --reflector --listen 192.0.2.0/24", comment: "On one host."),
    Example(command: "chaos lan evpn enable --as 65000 --neighbor 192.0.2.1", comment: "On every other."),
  ],
  run: evpnEnable)

let evpnDisableCommand = Command(
  name: "lan evpn disable",
  summary: "Take this host out of EVPN.",
  description: ["What the user wrote into FRR's configuration stays."],
  options: [socketOption],
  examples: [Example(command: "chaos lan evpn disable", comment: "The other hosts forget this one.")],
  run: evpnDisable)

let evpnStatusCommand = Command(
  name: "lan evpn status",
  summary: "Show EVPN's sessions and routes.",
  description: [
    """
    A route of kind mac says where a MAC address is, one of kind vtep that a host has members of a LAN. A \
    route that is held was announced by a session that is lost, and is kept until it is known whether it still \
    holds.
    """
  ],
  options: [formatOption, socketOption],
  examples: [
    Example(command: "chaos lan evpn status", comment: "Tables of both."),
    Example(
      command: "chaos lan evpn status --format json | jq -r .sessions[].state", comment: "For a script."),
  ],
  run: evpnStatus)

// MARK: Vifs

let vifAddCommand = Command(
  name: "vif add",
  summary: "Add a network interface to a guest, and print its index.",
  description: [referenceText, vifText],
  operands: [guestOperand, Operand(name: "SPEC")],
  options: [formatOption, socketOption],
  examples: [
    Example(command: "chaos vif add web lan=red,ip=10.2.0.2/24", comment: "The guest goes on running.")
  ],
  run: vifAdd)

let vifRemoveCommand = Command(
  name: "vif remove",
  aliases: ["vif rm"],
  summary: "Remove a network interface from a guest.",
  description: [referenceText],
  operands: [guestOperand, Operand(name: "INDEX")],
  options: [socketOption],
  examples: [Example(command: "chaos vif remove web 1", comment: "The one that chaos vif list shows as 1.")],
  run: vifRemove)

let vifListCommand = Command(
  name: "vif list",
  aliases: ["vif ls"],
  summary: "List a guest's network interfaces.",
  description: [referenceText],
  operands: [guestOperand],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos vif list web", comment: "A table with addresses.")],
  run: vifList)

let vifResetCommand = Command(
  name: "vif reset",
  summary: "Let a broken network interface of a guest carry packets again.",
  description: [
    referenceText,
    """
    INDEX is that of chaos vif list, which says what is broken and why. The vif's rings are laid anew, and the \
    guest is told; what was under way is lost.
    """,
  ],
  operands: [guestOperand, Operand(name: "INDEX")],
  options: [socketOption],
  examples: [Example(command: "chaos vif reset web 0", comment: "The guest's first vif.")],
  run: vifReset)
