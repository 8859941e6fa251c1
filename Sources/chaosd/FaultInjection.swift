#if canImport(Glibc)
  import Glibc
#endif
import ShellPool

/// Ends the daemon as a crash would, before a chosen step of an operation, for tests of what that leaves.
///
/// `CHAOS_CRASH_AT="create: join bridges"` kills the process with SIGKILL the first time that step is reached.
enum FaultInjection {
  /// Nil, and so free of cost, unless the environment asks for a crash.
  static let observer: Procedure.Observer? = {
    guard let value = getenv("CHAOS_CRASH_AT") else { return nil }
    let wanted = String(cString: value)
    return { step in
      if step == wanted { kill(getpid(), SIGKILL) }
    }
  }()
}
