import Glibc
import ShellPool

/// What the environment asks to happen before each step of an operation; free of cost when it asks for nothing.
///
/// - `CHAOS_CRASH_AT="create: join bridges"` kills the process with SIGKILL the first time that step is
///   reached, for tests of what a crash leaves.
/// - `CHAOS_TRACE=1` writes each step with the monotonic time in microseconds to stderr, for seeing where an
///   operation spends its time.
enum StepHooks {
  static let observer: StepObserver? = {
    let crash = getenv("CHAOS_CRASH_AT").map { String(cString: $0) }
    let isTracing = getenv("CHAOS_TRACE") != nil
    if crash == nil && !isTracing { return nil }
    return { step in
      if isTracing { trace(step) }
      if step == crash { kill(getpid(), SIGKILL) }
    }
  }()

  private static func trace(_ step: String) {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    let line = "trace \(time.tv_sec * 1_000_000 + time.tv_nsec / 1000) \(step)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
  }
}
