import ChaosAPI

// The commands of what becomes of guests, and of watching them.

private let policies = RestartPolicy.allCases.map { $0.rawValue }

private func policyOption(_ event: String, _ usual: RestartPolicy?, when: String) -> Option {
  Option(
    name: "on-\(event)", value: .init(name: "POLICY", kind: .choice(policies)),
    summary: "What becomes of it when it \(when)" + (usual.map { "; default \($0.rawValue)." } ?? "."))
}

/// `usual` are what is told as defaults; nil where there are none.
private func policyOptions(_ usual: GuestPolicies?) -> [Option] {
  [
    policyOption("poweroff", usual?.onPoweroff, when: "has powered off"),
    policyOption("reboot", usual?.onReboot, when: "reboots"),
    policyOption("crash", usual?.onCrash, when: "has crashed or its watchdog has ended it"),
  ]
}

private let schedulingOptions = [
  Option(
    name: "cpus", value: .init(name: "LIST"),
    summary: "The processors its vCPUs may run on, as 0-3,^2, or all."),
  Option(
    name: "weight", value: .init(name: "N"),
    summary: "Its share against the weights of others, 1 to 65535; Xen's default is 256."),
  Option(
    name: "cap", value: .init(name: "PERCENT"),
    summary: "The most it may use, in percent of one processor; 0 is no limit."),
]

private let afterOption = Option(
  name: "after", value: .init(name: "NAME", kind: .guest), isRepeated: true,
  summary: "A guest that is started before it then; repeat it for more.")

/// Options of chaos create that say what becomes of the guest.
let lifeCycleOptions =
  policyOptions(GuestPolicies())
  + [Option(name: "autostart", summary: "Start it again with the host, until it is destroyed."), afterOption]
  + schedulingOptions

private let policyText = """
  A POLICY is destroy (remove it), restart (make it again, with the same name, UUID and addresses) or preserve \
  (leave it as it ended, to be looked at).
  """

private let sinceOption = Option(
  name: "since", value: .init(name: "TIME|NUMBER"),
  summary: "Begin at a time, as 2026-03-01T12:00:00Z, or after the event of a number.")

private let eventFormatOption = Option(
  name: "format", value: .init(name: "FORMAT", kind: .choice(["text", "json"])),
  summary: "Print text for people (the default), or json: an object a line, as chaosd sends them.")

// MARK: Changing

let rebootCommand = Command(
  name: "reboot",
  summary: "Ask guests to reboot.",
  description: [
    severalText,
    "A guest that has rebooted keeps its name, UUID and addresses, unless its policy says otherwise (see chaos set).",
  ],
  operands: [guestOperands],
  options: [Option(name: "force", summary: "Do not ask: end it at once, and start it again."), socketOption],
  examples: [Example(command: "chaos reboot web", comment: "In order, if the guest takes part.")],
  run: reboot)

let restartCommand = Command(
  name: "restart",
  summary: "Destroy guests and make them again.",
  description: [severalText, "They keep their names, UUIDs and addresses, whatever their policies are."],
  operands: [guestOperands],
  options: [socketOption],
  examples: [Example(command: "chaos restart web", comment: "From its image, as it was created.")],
  run: restart)

let renameCommand = Command(
  name: "rename",
  summary: "Give a guest another name.",
  description: [referenceText],
  operands: [guestOperand, Operand(name: "NAME")],
  options: [socketOption],
  examples: [Example(command: "chaos rename web web-old", comment: "The name web is free then.")],
  run: renameGuest)

let setCommand = Command(
  name: "set",
  summary: "Change a guest's policies or its share of the processors.",
  description: [referenceText, policyText, "What is not given stays as it is."],
  operands: [guestOperand],
  options: policyOptions(nil) + schedulingOptions + [socketOption],
  examples: [
    Example(command: "chaos set web --on-crash restart", comment: "From its next crash on."),
    Example(command: "chaos set web --cpus 2-3 --weight 512", comment: "Twice the usual share, of two processors."),
  ],
  run: setGuest)

let autostartOnCommand = Command(
  name: "autostart on",
  summary: "Start guests again with the host.",
  description: [
    severalText,
    """
    A guest that is destroyed is not started again. Those named by --after are started first; without it, \
    those named before stay.
    """,
  ],
  operands: [guestOperands],
  options: [afterOption, socketOption],
  examples: [Example(command: "chaos autostart on web --after dns", comment: "After the guest dns.")],
  run: { invocation throws(APIError) in try autostart(invocation, isOn: true) })

let autostartOffCommand = Command(
  name: "autostart off",
  summary: "Do not start guests again with the host.",
  description: [severalText],
  operands: [guestOperands],
  options: [socketOption],
  examples: [Example(command: "chaos autostart off web", comment: "It runs on.")],
  run: { invocation throws(APIError) in try autostart(invocation, isOn: false) })

// MARK: Watching

let waitCommand = Command(
  name: "wait",
  summary: "Wait until guests are ready, or have ended.",
  description: [
    severalText,
    """
    A guest is ready when it has said so; stopped when its domain has ended, whatever its policy makes of that; \
    and gone when there is no such guest any more, as is one that never was. For stopped and gone, how each \
    ended is printed: poweroff, reboot, crash, suspend, watchdog, destroyed or failed.
    """,
  ],
  operands: [guestOperands],
  options: [
    Option(
      name: "for", value: .init(name: "WHAT", kind: .choice(WaitGoal.allCases.map { $0.rawValue })),
      summary: "What to wait for; default ready."),
    Option(
      name: "timeout", value: .init(name: "SECONDS"),
      summary: "How long, for all of them together; default 30. Exit status 6 when it takes longer."),
    socketOption,
  ],
  examples: [
    Example(command: "chaos wait web dns", comment: "Until both are ready."),
    Example(command: "chaos wait web --for stopped --timeout 3600", comment: "Prints how it ended."),
  ],
  run: waitForGuests)

let historyCommand = Command(
  name: "history",
  summary: "Show what happened to guests.",
  description: [
    """
    Each line is an event: its number, its time, the guest and what happened. Events are kept for a while, also \
    of guests that are gone, and over restarts of chaosd.
    """,
    referenceText,
  ],
  operands: [Operand(name: "REF", isRequired: false, kind: .guest)],
  options: [sinceOption, eventFormatOption, socketOption],
  examples: [
    Example(command: "chaos history web", comment: "When it was made, and how it ended."),
    Example(command: "chaos history --since 2026-03-01T00:00:00Z", comment: "All guests, from that day on."),
  ],
  run: history)

let eventsCommand = Command(
  name: "events",
  summary: "Print events as they happen.",
  description: [
    """
    As chaos history of all guests; with --follow it goes on with what happens from now on. Numbers grow by one, \
    so that a program that was cut off goes on with --since and the last number it has seen.
    """
  ],
  options: [
    sinceOption, Option(name: "follow", letter: "f", summary: "Go on until Ctrl-C."), eventFormatOption,
    socketOption,
  ],
  examples: [
    Example(command: "chaos events -f --format json", comment: "An object a line, for a program."),
    Example(command: "chaos events --since 17 -f", comment: "What happened after event 17, and what happens."),
  ],
  run: events)

let topCommand = Command(
  name: "top",
  summary: "Show what guests use.",
  description: [
    """
    CPU is in percent of one processor. What the guest sends is OUT, what it receives IN: packets and bytes a \
    second, all vifs together. DROPS are the packets lost either way in the time between two lines.
    """
  ],
  options: [
    Option(name: "once", summary: "Show one interval, and end."),
    Option(name: "interval", value: .init(name: "SECONDS"), summary: "From one look to the next; default 2."),
    Option(
      name: "format", value: .init(name: "FORMAT", kind: .choice(["text", "json"])),
      summary: "Print text for people (the default), or json: the counters, an object a line."),
    socketOption,
  ],
  examples: [
    Example(command: "chaos top", comment: "Until Ctrl-C, the busiest guest first."),
    Example(
      command: "chaos top --once --format json", comment: "The counters as they are now, for a program."),
  ],
  run: top)

let healthCommand = Command(
  name: "health",
  summary: "Show whether all is as it should be.",
  description: ["The exit status is 0 when it is, and 1 when something is not."],
  options: [formatOption, socketOption],
  examples: [Example(command: "chaos health || chaos health --format json", comment: "For a monitor.")],
  run: health)
