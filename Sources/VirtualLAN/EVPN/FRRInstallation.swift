import Glibc
import StateFiles

/// FRR as a distribution lays it out: its files, and how it is started.
public struct FRRInstallation: Sendable {
  /// `frr.conf`, `daemons`, `vtysh.conf`.
  public var configuration: String
  /// The daemons' control sockets.
  public var sockets: String
  /// The daemons and their start script.
  public var programs: String
  /// There while systemd is the init (sd_booted(3)).
  public var systemdMark: String
  public var systemctl: String

  /// Debian's.
  public static let standard = FRRInstallation(
    configuration: "/etc/frr", sockets: "/run/frr", programs: "/usr/lib/frr",
    systemdMark: "/run/systemd/system", systemctl: "/usr/bin/systemctl")

  public init(
    configuration: String, sockets: String, programs: String, systemdMark: String, systemctl: String
  ) {
    self.configuration = configuration
    self.sockets = sockets
    self.programs = programs
    self.systemdMark = systemdMark
    self.systemctl = systemctl
  }

  public var isInstalled: Bool {
    access("\(programs)/bgpd", X_OK) == 0 && access("\(programs)/frrinit.sh", X_OK) == 0
  }

  /// - Throws: `EVPNError` of the kind `unavailable` when FRR is missing, `conflict` when it does not read
  ///   `frr.conf`.
  func check() throws(EVPNError) {
    guard isInstalled else { throw EVPNError(.unavailable, "FRR is not installed: apt-get install frr") }
    let shell = FRRLine.lines(of: try read("vtysh.conf") ?? [])
    if let line = shell.first(where: { $0.words == ["no", "service", "integrated-vtysh-config"] }) {
      throw EVPNError(
        .conflict,
        "FRR does not read \(configuration)/frr.conf: remove 'no service integrated-vtysh-config' "
          + "(line \(line.number)) from \(configuration)/vtysh.conf")
    }
  }
}

// MARK: - Files

extension FRRInstallation {
  /// A configuration file's bytes; nil when there is none.
  func read(_ name: String) throws(EVPNError) -> [UInt8]? {
    do throws(StateFile.Failure) {
      return try StateFile.read("\(configuration)/\(name)")
    } catch {
      throw EVPNError(.system, error.description)
    }
  }

  /// Replaces a configuration file whole. It keeps its owner and mode; a new one gets the folder's owner, who is
  /// FRR's user, and is nobody else's to write.
  func replace(_ name: String, with bytes: [UInt8]) throws(EVPNError) {
    let path = Self.resolved("\(configuration)/\(name)")
    let temporary = path + ".chaos-new"
    var status = stat()
    var mode: mode_t = 0o640
    if stat(path, &status) == 0 {
      mode = status.st_mode & 0o7777
    } else if stat(configuration, &status) < 0 {
      throw EVPNError(.system, "open \(configuration): \(String(cString: strerror(errno)))")
    }
    unlink(temporary)
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw Self.failure("create", temporary, errno) }
    let code = Self.fill(file, with: bytes, owner: status.st_uid, group: status.st_gid, mode: mode)
    close(file)
    if code == 0, rename(temporary, path) == 0 { return }
    let reason = code == 0 ? errno : code
    unlink(temporary)
    throw Self.failure("write", path, reason)
  }

  /// The errno of what failed; 0 when nothing did.
  private static func fill(_ file: CInt, with bytes: [UInt8], owner: uid_t, group: gid_t, mode: mode_t) -> CInt {
    var start = 0
    while start < bytes.count {
      let count = bytes.withUnsafeBytes { write(file, $0.baseAddress! + start, $0.count - start) }
      if count < 0 && errno != EINTR { return errno }
      start += max(0, count)
    }
    guard fchown(file, owner, group) == 0, fchmod(file, mode) == 0, fsync(file) == 0 else { return errno }
    return 0
  }

  /// The file behind a symbolic link, so that the link stays one.
  private static func resolved(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func failure(_ operation: String, _ path: String, _ code: CInt) -> EVPNError {
    EVPNError(.system, "\(operation) \(path): \(String(cString: strerror(code)))")
  }
}

// MARK: - Daemons

extension FRRInstallation {
  /// The daemons that EVPN takes.
  static let daemons = ["zebra", "bgpd"]
  /// A start takes a few seconds, many on a busy or emulated machine.
  private static let startLimit = Duration.seconds(90)
  /// How long a daemon may be at other work before it answers.
  private static let answerLimit = Duration.seconds(20)

  func console(_ daemon: String, limit: Duration = Self.answerLimit) throws(FRRConsole.Failure) -> FRRConsole {
    try FRRConsole(daemon, folder: sockets, limit: limit)
  }

  /// Those of the daemons that nobody answers for.
  var missingDaemons: [String] {
    Self.daemons.filter { daemon in
      do throws(FRRConsole.Failure) {
        _ = try console(daemon)
        return false
      } catch {
        return true
      }
    }
  }

  /// Starts FRR; where some of it runs already, the user's daemons are restarted with the rest, as its scripts start
  /// no single daemon under supervision.
  func start() throws(EVPNError) {
    let verb = missingDaemons.count == Self.daemons.count ? "start" : "restart"
    let isSystemd = access(systemdMark, F_OK) == 0
    let path = isSystemd ? systemctl : "\(programs)/frrinit.sh"
    let words = isSystemd ? ["restart", "frr"] : [verb]
    let command = ([path] + words).joined(separator: " ")
    let outcome: ChildProcess.Outcome
    do throws(ChildProcess.Errno) {
      outcome = try ChildProcess.run(path, words, limit: Self.startLimit)
    } catch {
      throw EVPNError(.unavailable, "\(command): \(String(cString: strerror(error.code)))")
    }
    let end = ContinuousClock.now + .seconds(outcome.isInTime ? 20 : 0)
    while true {
      let missing = missingDaemons
      if missing.isEmpty { return }
      if ContinuousClock.now >= end {
        let reason = outcome.isInTime ? outcome.lastLine.map { ": \($0)" } ?? "" : ": it took too long"
        throw EVPNError(
          .unavailable,
          "FRR did not start: \(missing.joined(separator: " and ")) not running after '\(command)'\(reason)")
      }
      usleep(100_000)
    }
  }
}
