/// How a check judges what was found. It looks at nothing else, so that each can be tried with any host.
struct Rule: Sendable {
  let id: String
  let title: String
  let level: HostCheck.Level
  let judge: @Sendable (HostFacts) -> HostCheck.Verdict

  init(
    _ id: String, _ level: HostCheck.Level, _ title: String,
    judge: @escaping @Sendable (HostFacts) -> HostCheck.Verdict
  ) {
    self.id = id
    self.title = title
    self.level = level
    self.judge = judge
  }

  func check(_ facts: HostFacts) -> HostCheck {
    HostCheck(id: id, title: title, level: level, verdict: judge(facts))
  }

  /// What others need comes first.
  static let all: [Rule] =
    [
      xen, device("xen-privcmd", "/dev/xen/privcmd", module: "xen-privcmd"),
      device("xen-evtchn", "/dev/xen/evtchn", module: "xen-evtchn"), xenInterface, dom0Memory, freeMemory,
      device("vhost-net", "/dev/vhost-net", module: "vhost_net"), device("tun", "/dev/net/tun", module: "tun"),
      networkModules, bridgeFilter, lanFiles, frr, cgroup2, group, backendUser,
    ] + HostCheck.Storage.allCases.map(space) + [
      descriptors, daemon, daemonProgram, daemonVersion, socket, health, backend, backendProgram, podman,
    ]
}

// MARK: - Xen and the kernel

extension Rule {
  private static let xen = Rule("xen", .error, "this is Xen's dom0") { facts in
    switch facts.hypervisor {
    case .dom0: .ok
    case .guest: .failed("this is a guest of Xen's", remedy: "run chaos in dom0, on the host itself")
    case .none:
      .failed("Linux runs without Xen", remedy: "apt-get install xen-hypervisor-amd64, and boot the entry with Xen")
    }
  }

  private static func device(_ id: String, _ path: String, module: String) -> Rule {
    Rule(id, .error, "\(path) can be opened") { facts in
      switch facts.devices[path] {
      case .ok?: .ok
      case .missing?, nil:
        .failed(
          "\(path) is missing", remedy: "modprobe \(module) && echo \(module) >/etc/modules-load.d/chaos-\(id).conf"
        )
      case .unknown(let why)?: .unknown(why)
      case .unusable(let why)?:
        .failed("\(path): \(why)", remedy: "rm -f \(path), then modprobe -r \(module); modprobe \(module)")
      }
    }
  }

  private static let xenInterface = Rule("xen-interface", .error, "Xen's interface is known") { facts in
    facts.xenInterface.judged { why in
      why.map { .failed($0, remedy: "use a chaos made for this Xen; chaosd --xen-interface tries it all the same") }
        ?? .ok
    }
  }

  private static let dom0Memory = Rule("dom0-memory", .error, "dom0 has a fixed share of the memory") { facts in
    facts.memory.judged { memory in
      if memory.dom0IsFixed { return .ok }
      return .failed(
        "dom0 has no fixed memory, so that no guest is sure of any",
        remedy: "GRUB_CMDLINE_XEN_DEFAULT=\"dom0_mem=1024M,max:1024M\" in /etc/default/grub, update-grub, reboot")
    }
  }

  /// Less than a guest of the default size with its page tables, some ten times.
  private static let leastFreeMiB = 128

  private static let freeMemory = Rule("free-memory", .warning, "Xen has memory for guests") { facts in
    facts.memory.judged { memory in
      if memory.freeMiB >= leastFreeMiB || !memory.dom0IsFixed { return .ok }
      return .failed(
        "\(memory.freeMiB) MiB are free for guests, \(memory.dom0MiB) MiB are dom0's",
        remedy: "chaos pool drain, destroy guests, or give dom0 less (dom0_mem= on Xen's command line)")
    }
  }

  private static let networkModules = Rule("network-modules", .error, "Linux has bridges and VXLAN") { facts in
    facts.missingModules.judged { missing in
      if missing.isEmpty { return .ok }
      return .failed(
        "the kernel has no \(missing.joined(separator: ", ")), nor a module for it",
        remedy: "apt-get install linux-image-amd64, and boot it; the modules of the kernel that runs may be gone")
    }
  }

  private static let cgroup2 = Rule("cgroup2", .warning, "cgroup2 is mounted, for containers") { facts in
    if facts.hasCgroup2 || !facts.podman.isInstalled { return .ok }
    return .failed("/sys/fs/cgroup is no cgroup2", remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
  }

  private static let descriptors = Rule("descriptors", .warning, "a process may have enough files open") { facts in
    // chaos-backend has 9 for a guest with a vif.
    let limits = (facts.backend + facts.chaosd).compactMap(\.descriptors)
    let least = limits.min() ?? facts.descriptors
    if least >= 10_000 { return .ok }
    return .failed(
      "\(least) files may be open at once, enough for \(least / 9) guests",
      remedy:
        "LimitNOFILE=1048576 in the units (systemctl edit chaosd chaos-backend), or ulimit -n 1048576; then restart"
    )
  }
}

// MARK: - Networks

extension Rule {
  private static let bridgeFilter = Rule("bridge-filter", .warning, "frames cross bridges") { facts in
    facts.bridgeFilters.judged { findings in
      if findings.isEmpty { return .ok }
      // Each says what to do behind its first colon.
      let parts = findings.map { finding in
        let colon = finding.firstRange(of: ": ")
        return (
          finding[..<(colon?.lowerBound ?? finding.endIndex)], finding[(colon?.upperBound ?? finding.endIndex)...]
        )
      }
      return .failed(
        parts.map(\.0).joined(separator: "; "),
        remedy: parts.map(\.1).filter { !$0.isEmpty }.joined(separator: "; "))
    }
  }

  private static let lanFiles = Rule("lan-files", .error, "the files of LANs can be read") { facts in
    guard let first = facts.damagedLANs.first else { return .ok }
    return .failed(
      first, remedy: "put the file back from a backup, or remove it and create the LAN again; restart chaosd")
  }

  private static let frr = Rule("frr", .error, "FRR serves LANs of mode evpn") { facts in
    let frr = facts.frr
    guard let lan = frr.lans.first else { return .ok }
    if !frr.isInstalled {
      return .failed("LAN '\(lan)' is of mode evpn, and FRR is not installed", remedy: "apt-get install frr")
    }
    if frr.bgpdRuns { return .ok }
    return .failed(
      "LAN '\(lan)' is of mode evpn, and bgpd does not run",
      remedy: "systemctl restart frr (without systemd: /usr/lib/frr/frrinit.sh restart)")
  }

  private static let podman = Rule("podman", .warning, "Podman's containers can join LANs") { facts in
    let podman = facts.podman
    guard podman.isInstalled else { return .ok }
    let install = "apt-get install ./chaos-network-plugins_*.deb, or make install"
    if podman.hasNetavark ? podman.hasNetavarkPlugin || podman.hasCNIPlugin : podman.hasCNIPlugin { return .ok }
    return .failed("Podman is here, and no plug-in of chaos's for its networks", remedy: install)
  }
}

// MARK: - Accounts and storage

extension Rule {
  private static let group = Rule("group", .warning, "group chaos may use the API") { facts in
    facts.hasGroup
      ? .ok : .failed("there is no group chaos: only root may use chaos", remedy: "groupadd --system chaos")
  }

  private static let backendUser = Rule("backend-user", .error, "user chaos-backend is there") { facts in
    guard let user = facts.backendUser, !facts.hasBackendUser else { return .ok }
    return .failed(
      "there is no user \(user), as which chaos-backend is to run",
      remedy: "useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \(user)")
  }

  /// Bytes and files that are left for records and the like.
  private static let leastBytes = 4 << 20
  private static let leastFiles = 16

  private static func space(_ storage: HostCheck.Storage) -> Rule {
    Rule("space-\(storage.rawValue)", .error, "\(storage.folder) has room") { facts in
      (facts.spaces[storage] ?? .unknown("nobody looked")).judged { space in
        if space.isTaken {
          return .failed(
            "\(space.path) is no folder", remedy: "mv \(space.path) \(space.path).away; restart chaosd")
        }
        if space.isReadOnly {
          return .failed("\(space.path) is read-only", remedy: "mount -o remount,rw the file system it is on")
        }
        if space.freeBytes < leastBytes {
          return .failed(
            "\(space.path) has \(space.freeBytes >> 10) KiB left",
            remedy: "df -h \(space.path); make room there")
        }
        if let files = space.freeFiles, files < leastFiles {
          return .failed(
            "\(space.path) has room for \(files) more files", remedy: "df -i \(space.path); remove files there")
        }
        return .ok
      }
    }
  }
}

// MARK: - Daemons

extension Rule {
  private static let daemon = Rule("chaosd", .error, "chaosd answers") { facts in
    facts.daemon.judged { daemon in
      switch daemon {
      case .answers: .ok
      case .strange(let why):
        .failed("what answers is no chaosd of this version: \(why)", remedy: "restart chaosd; guests do not notice")
      case .silent(let why): silent(why, facts.chaosd.first)
      }
    }
  }

  private static func silent(_ why: String, _ process: HostFacts.Process?) -> HostCheck.Verdict {
    guard let process else {
      return .failed("chaosd does not run: \(why)", remedy: "systemctl start chaosd (without systemd: chaosd &)")
    }
    return .failed(
      "chaosd (process \(process.id)) does not answer: \(why)",
      remedy: "kill -CONT \(process.id); if that is not it, kill -9 \(process.id) and start chaosd: guests run on")
  }

  private static func outdated(
    _ processes: [HostFacts.Process], _ failed: (HostFacts.Process) -> HostCheck.Verdict
  ) -> HostCheck.Verdict {
    if let process = processes.first(where: { $0.isOutdated == true }) { return failed(process) }
    return processes.contains { $0.isOutdated == nil } ? .unknown("only root may see what a process runs") : .ok
  }

  private static let daemonProgram = Rule("chaosd-program", .warning, "chaosd is the program that is installed") {
    facts in
    outdated(facts.chaosd) { process in
      .failed(
        "chaosd (process \(process.id)) runs a program that was replaced since",
        remedy:
          "systemctl restart chaosd (without systemd: kill \(process.id), then chaosd &); guests do not notice")
    }
  }

  private static let daemonVersion = Rule("chaosd-version", .warning, "chaosd is of this version") { facts in
    guard case .found(.answers(let version)) = facts.daemon else { return .unknown("chaosd does not say") }
    if version == facts.version { return .ok }
    return .failed(
      "chaosd is version \(version), this program \(facts.version)",
      remedy: "restart chaosd, or install one version of both: type -a chaosd chaos")
  }

  private static let socket = Rule("socket", .warning, "the API's socket is group chaos's") { facts in
    guard let socket = facts.socket else { return .unknown("there is no socket") }
    if !facts.hasGroup || socket.isChaosGroups && socket.mode & 0o777 == 0o660 { return .ok }
    return .failed(
      "\(socket.path) is not group chaos's alone (mode \(String(socket.mode & 0o777, radix: 8)))",
      remedy: "chgrp chaos \(socket.path) && chmod 660 \(socket.path)")
  }

  private static let health = Rule("health", .error, "chaosd finds all well") { facts in
    facts.unwell.judged { unwell in
      if unwell.isEmpty { return .ok }
      return .failed(
        unwell.joined(separator: "; "),
        remedy: "the messages of chaosd say why (journalctl -u chaosd); chaos health")
    }
  }

  private static let backend = Rule("chaos-backend", .error, "chaos-backend serves the guests") { facts in
    facts.domains.judged { domains in
      if domains == 0 || !facts.backend.isEmpty { return .ok }
      return .failed(
        "chaos-backend does not run, so that guests have no network",
        remedy: "start chaosd, which starts it; why it ended may stand in /var/log/chaos/chaos-backend.log")
    }
  }

  private static let backendProgram = Rule(
    "backend-program", .warning, "chaos-backend is the program that is installed"
  ) { facts in
    outdated(facts.backend) { process in
      .failed(
        "chaos-backend (process \(process.id)) runs a program that was replaced since",
        remedy: "kill \(process.id): chaosd starts the new one, and guests lose packets for a moment")
    }
  }
}

extension Fact {
  fileprivate func judged(_ judge: (Value) -> HostCheck.Verdict) -> HostCheck.Verdict {
    switch self {
    case .found(let value): judge(value)
    case .unknown(let why): .unknown(why)
    }
  }
}
