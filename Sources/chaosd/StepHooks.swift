import Backends
import Glibc
import ShellPool
import StateFiles

/// What the environment asks to happen before each step of an operation; free of cost when it asks for nothing.
///
/// - `CHAOS_CRASH_AT="create: join bridges"` kills the process with SIGKILL the first time that step is
///   reached, for tests of what a crash leaves.
/// - `CHAOS_CRASH_FILE=/tmp/crash` names a file that may say, in one line, whom to kill when which step is reached:
///   `chaos-backend create: join bridges`, or `chaosd`, or `both`. It is removed then, so that one daemon can be asked
///   again and again, and so that whoever wrote it sees that the step was reached.
/// - `CHAOS_TRACE=1` writes each step with the monotonic time in microseconds to stderr, for seeing where an
///   operation spends its time.
enum StepHooks {
  /// - Parameter backend: where chaos-backend listens.
  static func observer(backend: String) -> StepObserver? {
    let crash = variable("CHAOS_CRASH_AT")
    let file = variable("CHAOS_CRASH_FILE")
    let isTracing = getenv("CHAOS_TRACE") != nil
    if crash == nil && file == nil && !isTracing { return nil }
    return { step in
      if isTracing { trace(step) }
      if step == crash { kill(getpid(), SIGKILL) }
      if let file { obey(file, at: step, backend) }
    }
  }

  private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  private static func obey(_ file: String, at step: String, _ backend: String) {
    guard let bytes = try? StateFile.read(file) else { return }
    let words = String(decoding: bytes, as: UTF8.self).split(separator: " ", maxSplits: 1)
    // Whoever removes it, of those who reach the step together, is the one that kills.
    guard words.count == 2, words[1] == step, unlink(file) == 0 else { return }
    if words[0] != "chaosd" { killBackend(at: backend) }
    if words[0] != "chaos-backend" { kill(getpid(), SIGKILL) }
  }

  /// Kills who listens there, and waits until it holds nothing any more, so that the step meets a dead one.
  private static func killBackend(at path: String) {
    guard let socket = try? ControlSocket.connect(to: path, within: .seconds(10)) else { return }
    let pid = PeerCredentials.of(socket.raw).pid
    if pid > 0 { kill(pid, SIGKILL) }
    _ = try? socket.receive()
  }

  private static func trace(_ step: String) {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    let line = "trace \(time.tv_sec * 1_000_000 + time.tv_nsec / 1000) \(step)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
  }
}
