import CThreads
import Glibc

/// A plain thread for work that blocks.
public enum BackgroundThread {
  /// The system has no thread to give.
  public struct Failure: Error, CustomStringConvertible {
    public let name: String
    public let errno: Int32

    public var description: String { "start thread \(name): \(String(cString: strerror(errno)))" }
  }

  private final class Body {
    let name: String
    let niceness: Int32
    let run: @Sendable (borrowing Blocking) -> Void

    init(name: String, niceness: Int32, run: @escaping @Sendable (borrowing Blocking) -> Void) {
      self.name = name
      self.niceness = niceness
      self.run = run
    }
  }

  /// Starts a thread, which ends with `run`.
  ///
  /// - Parameters:
  ///   - name: shown by the system's tools; at most 15 bytes count.
  ///   - niceness: added to the process's; 0 keeps it.
  public static func start(
    name: String, niceness: Int32 = 0, _ run: @escaping @Sendable (borrowing Blocking) -> Void
  ) throws(Failure) {
    let body = Unmanaged.passRetained(Body(name: name, niceness: niceness, run: run))
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
        cthreads_name(body.name)
        // On Linux a process ID of 0 means the calling thread alone.
        if body.niceness != 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, body.niceness) }
        body.run(Blocking())
        return nil
      }, body.toOpaque())
    guard code == 0 else {
      body.release()
      throw Failure(name: name, errno: code)
    }
    pthread_detach(thread)
  }

  /// Starts a thread for work that needs no right to block.
  public static func start(
    name: String, niceness: Int32 = 0, _ run: @escaping @Sendable () -> Void
  ) throws(Failure) {
    try start(name: name, niceness: niceness) { (_: borrowing Blocking) in run() }
  }
}
