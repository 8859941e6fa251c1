import CNetlink
import Glibc

/// A program that is started, waited for and, when it takes too long, killed.
enum ChildProcess {
  /// How a run ended. There is no exit status: a process that ignores SIGCHLD, as chaosd does, is not told it.
  struct Outcome {
    let isInTime: Bool
    /// The last line it wrote, to either of its outputs, that says something.
    let lastLine: String?
  }

  private static let pollInterval: UInt32 = 10_000

  /// Runs a program with an empty standard input, in a process group of its own: a terminal's signals are not for it,
  /// nor for the daemons it leaves behind.
  ///
  /// - Throws: the errno that kept it from starting.
  static func run(_ path: String, _ arguments: [String], limit: Duration) throws(Errno) -> Outcome {
    let output = try temporaryFile()
    defer { close(output) }
    let process = try start(path, arguments, writingTo: output)
    let end = ContinuousClock.now + limit
    var isInTime = true
    // Nothing is left to wait for (ECHILD) where SIGCHLD is ignored.
    while waitpid(process, nil, WNOHANG) == 0 {
      if isInTime, ContinuousClock.now >= end {
        isInTime = false
        kill(-process, SIGKILL)
      }
      usleep(pollInterval)
    }
    return Outcome(isInTime: isInTime, lastLine: lastLine(of: output))
  }

  struct Errno: Error { let code: CInt }

  /// A file without a name, and no pipe: daemons that keep it open make nobody wait, and may write to it.
  private static func temporaryFile() throws(Errno) -> CInt {
    var path = Array("/tmp/chaos-output.XXXXXX".utf8CString)
    let file = mkstemp(&path)
    guard file >= 0 else { throw Errno(code: errno) }
    unlink(path)
    _ = fcntl(file, F_SETFD, FD_CLOEXEC)
    return file
  }

  private static func start(
    _ path: String, _ arguments: [String], writingTo output: CInt
  ) throws(Errno) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
    // Above all not the API's listener: held open by a routing daemon it would take connections for a dead chaosd.
    cnetlink_spawn_close_rest(&actions)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Signals as a program expects to find them, whatever this process ignores or blocks.
    var signals = sigset_t()
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var process: pid_t = 0
    let code = posix_spawn(&process, path, &actions, &attributes, words, environ)
    guard code == 0 else { throw Errno(code: code) }
    return process
  }

  private static func lastLine(of output: CInt) -> String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let size = Int(lseek(output, 0, SEEK_END))
    let count = pread(output, &bytes, bytes.count, off_t(max(0, size - bytes.count)))
    let lines = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split { $0.isNewline }
    return lines.last { $0.contains { !$0.isWhitespace } }.map { String($0.prefix(200)) }
  }
}
