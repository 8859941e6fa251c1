import ChaosAPI

/// Every command, in the order that help shows them.
let commands: [Command] = [
  createCommand, listCommand, infoCommand, consoleCommand, logsCommand, pauseCommand,
  unpauseCommand, shutdownCommand, rebootCommand, restartCommand, renameCommand, setCommand, autostartOnCommand,
  autostartOffCommand, destroyCommand, waitCommand, dumpCoreCommand, historyCommand, eventsCommand, topCommand,
  poolStatusCommand, poolSetCommand,
  poolDrainCommand, poolFillCommand, imageAddCommand, imageListCommand, imageRemoveCommand,
  vifAddCommand, vifRemoveCommand, vifListCommand, vifResetCommand, lanCreateCommand, lanListCommand,
  lanInfoCommand,
  lanDeleteCommand, lanAttachCommand, lanDetachCommand, lanPeerAddCommand, lanPeerRemoveCommand,
  lanPeerListCommand, evpnEnableCommand, evpnDisableCommand, evpnStatusCommand, hostCommand, healthCommand,
  doctorCommand, versionCommand, completionCommand, helpCommand,
]

/// Commands of several words share all but the last: what the group is about. A group inside another comes after
/// it.
let groups: [(name: String, summary: String)] = [
  ("autostart", "Say which guests are started again with the host."),
  ("pool", "Manage the pool of prepared shells."),
  ("image", "Manage stored images."),
  ("vif", "Manage the network interfaces of guests."),
  ("lan", "Manage virtual LANs, which span hosts."),
  ("lan peer", "Manage the other hosts of a LAN of mode static."),
  ("lan evpn", "Manage how this host takes part in EVPN."),
]

// MARK: Options of several commands

let formatOption = Option(
  name: "format", value: .init(name: "FORMAT", kind: .choice(["text", "json"])),
  summary: "Print text for people (the default) or json for programs.")

let socketOption = Option(
  name: "socket", value: .init(name: "PATH", kind: .file),
  summary: "Reach chaosd at this socket instead of $CHAOS_SOCKET or /run/chaos/chaosd.sock.")

private let memoryOption = Option(
  name: "memory", value: .init(name: "MIB"),
  summary: "The guest's memory in MiB, or with a unit, as 64M or 1G; default 8.")

private let vcpusOption = Option(
  name: "vcpus", value: .init(name: "N"), summary: "The number of virtual CPUs; default 1.")

private let windowOption = Option(
  name: "window", value: .init(name: "KIB"),
  summary: "The size of each vif's window of shared memory: a power of two, 64 to 16384.")

let guestOperand = Operand(name: "REF", kind: .guest)
let guestOperands = Operand(name: "REF", isRepeated: true, kind: .guest)

let referenceText = "REF is a guest's name, UUID or domain ID."

let severalText = """
  REF is a guest's name, UUID or domain ID. Where there are several, each is tried; the exit status is that \
  of the first that failed.
  """

private let imageText = """
  An image that contains a '/' or ends in '.elf' is a file: it is read with the caller's rights, sent to \
  chaosd, and kept there as long as it is used. Any other is the name of a stored image (see chaos image \
  add) or 'sha256:' and its digest.
  """

// MARK: Guests

private let createCommand = Command(
  name: "create",
  summary: "Create guests and print their names.",
  description: [
    """
    What the guest is to be comes from CONFIG, a JSON file ('-' is standard input), from options, or from \
    both; an option overrides what CONFIG says, and --vif replaces all of its vifs. The keys of CONFIG are \
    type, name, kernel (or image), ramdisk, cmdline, memory (MiB), vcpus, paused, pool, count, window (KiB), uuid, \
    onPoweroff, onReboot, onCrash, autostart, after (a list of names), cpus, weight, cap and vifs, a list of \
    objects with bridge or lan, mac, ip, gateway, ip6, gateway6 and mtu.
    """,
    imageText,
    """
    A SPEC of --vif is KEY=VALUE pairs joined by commas, with the keys of a vif. Only bridge or lan is needed.
    """,
    """
    With --count, the guests are named NAME-1, NAME-2 and so on. Where a MAC or IP address is given, it is \
    then a range that has one for each: mac=52:54:00:00:00:01-52:54:00:00:00:0a, ip=10.1.0.2-10.1.0.11/24. \
    Either all guests are made or none stays.
    """,
    """
    A POLICY is destroy (remove it), restart (make it again, with the same name, UUID and addresses) or preserve \
    (leave it as it ended, to be looked at).
    """,
    """
    A create that chaosd has accepted finishes even when this command is interrupted.
    """,
  ],
  operands: [Operand(name: "CONFIG", isRequired: false, kind: .file)],
  options: [
    Option(
      name: "image", value: .init(name: "IMAGE", kind: .image),
      summary: "The kernel to boot: a stored image or a file."),
    Option(
      name: "ramdisk", value: .init(name: "IMAGE", kind: .image),
      summary: "A ramdisk for it: a stored image or a file."),
    Option(
      name: "cmdline", value: .init(name: "TEXT"), summary: "The kernel's command line."),
    Option(
      name: "type", value: .init(name: "TYPE"),
      summary: "How the guest is virtualised: pvh, which is the default and the only one."),
    memoryOption, vcpusOption,
    Option(
      name: "vif", value: .init(name: "SPEC"), isRepeated: true,
      summary: "A network interface; repeat it for more."),
    Option(name: "name", value: .init(name: "NAME"), summary: "The guest's name."),
    Option(
      name: "uuid", value: .init(name: "UUID"),
      summary: "The guest's UUID; a repeated request with the same one makes no second guest."),
    Option(name: "count", value: .init(name: "N"), summary: "Make N guests."),
    windowOption,
    Option(name: "paused", summary: "Create without starting."),
    Option(name: "no-pool", summary: "Do not use a prepared shell."),
    Option(name: "wait", summary: "Return when the guest has said that it is ready."),
    Option(
      name: "timeout", value: .init(name: "SECONDS"),
      summary: "With --wait: how long; default 30. Exit status 6 when it takes longer."),
    Option(name: "console", summary: "Attach to the guest's console."),
  ] + lifeCycleOptions + [formatOption, socketOption],
  examples: [
    Example(
      command: "chaos create --image daytime --vif bridge=br0,ip=10.1.0.2/24 --name web",
      comment: "One guest from a stored image."),
    Example(
      command: "chaos create --image daytime --vif lan=red --vif bridge=br0",
      comment: "One on a virtual LAN (see chaos lan create) and on a bridge."),
    Example(
      command: "chaos create web.json --count 100 --name web",
      comment: "A hundred guests of one config: web-1 to web-100."),
    Example(
      command: "chaos create router.json --autostart --on-crash restart",
      comment: "One that is there again after whatever happens."),
    Example(
      command: "chaos create --image ./daytime.elf --wait --format json",
      comment: "From a file; returns when the guest is ready, with all there is to know about it."),
  ],
  run: create)

private let listCommand = Command(
  name: "list",
  aliases: ["ls"],
  summary: "List the guests.",
  description: ["ADDRESS is the IP address of the guest's first vif that has one."],
  options: [
    Option(name: "all", letter: "a", summary: "Those that have ended too, as far as they are remembered."),
    Option(name: "quiet", letter: "q", summary: "Print names only."), formatOption, socketOption,
  ],
  examples: [
    Example(command: "chaos list", comment: "A table of all guests."),
    Example(command: "chaos list --all", comment: "With those that have ended, and how."),
    Example(
      command: "chaos destroy $(chaos list -q | grep ^web-)",
      comment: "Destroy the guests of one name."),
  ],
  run: list)

private let infoCommand = Command(
  name: "info",
  summary: "Show all there is to know about a guest.",
  description: [referenceText],
  operands: [guestOperand],
  options: [formatOption, socketOption],
  examples: [
    Example(
      command: "chaos info web --format json | jq -r '.vifs[0].mac'",
      comment: "One fact, for a script.")
  ],
  run: info)

private let consoleCommand = Command(
  name: "console",
  summary: "Attach to a guest's console.",
  description: [
    """
    Shows the last part of the console's log and what follows, and sends what is typed. Ctrl-] detaches; the \
    guest runs on. When standard input is no terminal, it is sent as it is, and the command ends with the \
    guest.
    """,
    referenceText,
  ],
  operands: [guestOperand],
  options: [socketOption],
  examples: [Example(command: "chaos console web", comment: "Ctrl-] to leave.")],
  run: console)

private let logsCommand = Command(
  name: "logs",
  summary: "Print what a guest wrote to its console.",
  description: [referenceText],
  operands: [guestOperand],
  options: [
    Option(name: "follow", letter: "f", summary: "Go on until the guest ends."), socketOption,
  ],
  examples: [Example(command: "chaos logs -f web", comment: "Until Ctrl-C or the guest's end.")],
  run: logs)

private let dumpCoreCommand = Command(
  name: "dump-core",
  summary: "Write a guest's memory and vCPUs to a file, for debuggers.",
  description: [
    """
    A guest that runs stands still meanwhile, and goes on afterwards, whatever became of the dump; one that crashed and \
    was kept is dumped as it is. FILE is there whole or not at all, for its owner alone: a dump has all that the guest \
    knows. '-' is standard output.
    """,
    """
    Format elf is an ELF core file: memory by the addresses that vCPU 0 sees it at, and by its guest-physical ones, and a \
    thread for each vCPU. Open it with gdb and the image that has the symbols. Format xen is what xl dump-core writes.
    """,
    referenceText,
  ],
  operands: [guestOperand, Operand(name: "FILE", kind: .file)],
  options: [
    Option(
      name: "format", value: .init(name: "FORMAT", kind: .choice(["elf", "xen"])),
      summary: "Write elf (the default) or xen."),
    socketOption,
  ],
  examples: [
    Example(
      command: "chaos dump-core web web.core", comment: "For 'gdb web.debug web.core'.")
  ],
  run: dumpCore)

private let pauseCommand = Command(
  name: "pause",
  summary: "Stop guests where they are.",
  description: [severalText],
  operands: [guestOperands],
  options: [socketOption],
  examples: [Example(command: "chaos pause web", comment: "Until chaos unpause web.")],
  run: pause)

private let unpauseCommand = Command(
  name: "unpause",
  summary: "Let paused guests run.",
  description: [severalText],
  operands: [guestOperands],
  options: [socketOption],
  examples: [Example(command: "chaos unpause web", comment: "Also starts one made with --paused.")],
  run: unpause)

private let shutdownCommand = Command(
  name: "shutdown",
  summary: "Ask guests to shut down.",
  description: [severalText],
  operands: [guestOperands],
  options: [
    Option(name: "wait", summary: "Return when the guest is gone."),
    Option(
      name: "timeout", value: .init(name: "SECONDS"),
      summary: "With --wait: how long; default 30. Exit status 6 when it takes longer."),
    socketOption,
  ],
  examples: [
    Example(
      command: "chaos shutdown --wait --timeout 10 web || chaos destroy web",
      comment: "In order if it can be, by force if it must.")
  ],
  run: shutdown)

private let destroyCommand = Command(
  name: "destroy",
  summary: "Remove guests at once.",
  description: [severalText],
  operands: [Operand(name: "REF", isRequired: false, isRepeated: true, kind: .guest)],
  options: [Option(name: "all", summary: "Every guest of this host."), socketOption],
  examples: [
    Example(command: "chaos destroy web-1 web-2", comment: "Two guests."),
    Example(command: "chaos destroy --all", comment: "All that chaos made, and nothing else."),
  ],
  run: destroy)

// MARK: Pool

private let poolStatusCommand = Command(
  name: "pool status",
  summary: "Show the pool's flavours and how they serve.",
  description: [
    """
    A flavour is a kind of prepared shell. The pool refills one when fewer than LOW are ready, up to HIGH. \
    HITS are the guests made from it since chaosd started.
    """
  ],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos pool status", comment: "A table of all flavours.")],
  run: poolStatus)

private let poolSetCommand = Command(
  name: "pool set",
  summary: "Add, change or remove a flavour.",
  description: [
    """
    Image, ramdisk, memory, vcpus, vifs and window say which flavour; without an image its shells are blank, \
    and serve any image of that size. With --low 0 --high 0 it is removed.
    """,
    imageText,
  ],
  options: [
    Option(
      name: "image", value: .init(name: "IMAGE", kind: .image),
      summary: "The image that its shells have loaded."),
    Option(
      name: "ramdisk", value: .init(name: "IMAGE", kind: .image),
      summary: "The ramdisk loaded with it."),
    memoryOption, vcpusOption,
    Option(name: "vifs", value: .init(name: "N"), summary: "The number of vifs; default 0."),
    windowOption,
    Option(name: "low", value: .init(name: "N"), summary: "Refill when fewer are ready."),
    Option(name: "high", value: .init(name: "N"), summary: "Refill up to this many."),
    Option(
      name: "budget", value: .init(name: "MIB"),
      summary: "The memory that all ready shells may take together, in MiB."),
    formatOption, socketOption,
  ],
  examples: [
    Example(
      command: "chaos pool set --image daytime --memory 4 --vifs 1 --low 8 --high 16",
      comment: "Keep 8 to 16 guests-to-be with the image loaded and one vif."),
    Example(
      command: "chaos pool set --image daytime --memory 4 --vifs 1 --low 0 --high 0",
      comment: "Remove that flavour."),
  ],
  run: poolSet)

private let poolDrainCommand = Command(
  name: "pool drain",
  summary: "Destroy every ready shell, and prepare no more.",
  description: ["The pool stays empty until chaos pool fill or chaos pool set."],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos pool drain", comment: "Give the memory back.")],
  run: poolDrain)

private let poolFillCommand = Command(
  name: "pool fill",
  summary: "Fill every flavour to its high mark.",
  options: [
    Option(name: "wait", summary: "Return when it is full."), formatOption, socketOption,
  ],
  examples: [Example(command: "chaos pool fill --wait", comment: "Before a measurement.")],
  run: poolFill)

// MARK: Images

private let imageAddCommand = Command(
  name: "image add",
  summary: "Store an image under a name, and print its digest.",
  description: ["An image of that name is replaced; guests and shells made from it keep it."],
  operands: [Operand(name: "NAME"), Operand(name: "FILE", kind: .file)],
  options: [formatOption, socketOption],
  examples: [
    Example(
      command: "chaos image add daytime build/daytime.elf",
      comment: "From now on: chaos create --image daytime.")
  ],
  run: imageAdd)

private let imageListCommand = Command(
  name: "image list",
  aliases: ["image ls"],
  summary: "List the stored images.",
  options: [
    Option(name: "quiet", letter: "q", summary: "Print names only."), formatOption, socketOption,
  ],
  examples: [Example(command: "chaos image list", comment: "A table of all images.")],
  run: imageList)

private let imageRemoveCommand = Command(
  name: "image remove",
  aliases: ["image rm"],
  summary: "Remove stored images.",
  description: [
    """
    Guests made from an image keep it. Where there are several, each is tried; the exit status is that of \
    the first that failed.
    """
  ],
  operands: [Operand(name: "NAME", isRepeated: true, kind: .storedImage)],
  options: [socketOption],
  examples: [Example(command: "chaos image remove daytime", comment: "By its name.")],
  run: imageRemove)

// MARK: The rest

private let hostCommand = Command(
  name: "host",
  summary: "Show this host's capacity and what bounds it.",
  options: [formatOption, socketOption],
  examples: [
    Example(
      command: "chaos host --format json | jq .freeMiB", comment: "Free memory, for a script.")
  ],
  run: host)

private let doctorCommand = Command(
  name: "doctor",
  summary: "Say what is missing or set wrong on this host, and how to mend it.",
  description: [
    """
    Looks at Xen, the kernel, networks, accounts, disks, chaosd and chaos-backend, changes nothing, and needs no chaosd \
    that runs: the program of that name beside this one looks. For all of it, it needs root. The exit status is 1 when \
    there is an error; warnings alone leave it 0.
    """
  ],
  options: [
    Option(name: "all", letter: "a", summary: "Say what is well, too."), formatOption, socketOption,
  ],
  examples: [
    Example(command: "sudo chaos doctor", comment: "Each line that is not ok has one that mends it."),
    Example(
      command: "chaos doctor --format json | jq -r '.checks[] | select(.verdict == \"failed\").id'",
      comment: "For a script."),
  ],
  run: doctor)

private let versionCommand = Command(
  name: "version",
  summary: "Show the versions of chaos, chaosd and Xen.",
  description: ["chaos --version shows that of chaos alone, and needs no chaosd."],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos version", comment: "What to put into a bug report.")],
  run: version)

private let completionCommand = Command(
  name: "completion",
  summary: "Print a completion script for a shell.",
  operands: [Operand(name: "SHELL", kind: .choice(["bash", "zsh", "fish"]))],
  examples: [
    Example(
      command: "source <(chaos completion bash)", comment: "In this shell, or in ~/.bashrc.")
  ],
  run: completion)

private let helpCommand = Command(
  name: "help",
  summary: "Explain a command.",
  operands: [Operand(name: "COMMAND", isRequired: false, isRepeated: true, kind: .command)],
  options: [
    Option(
      name: "man", value: .init(name: "PAGE"), summary: "Print a man page in roff: chaos-create."),
    Option(name: "pages", summary: "Print the names of all man pages."),
  ],
  examples: [
    Example(command: "chaos help create", comment: "The same as chaos create --help."),
    Example(command: "chaos help --man chaos-create | man -l -", comment: "As a man page."),
  ],
  run: help)
