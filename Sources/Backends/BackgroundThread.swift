import CBackends
import Glibc

/// A plain thread for work that blocks.
public enum BackgroundThread {
  private final class Body {
    let name: String
    let niceness: Int32
    let run: @Sendable () -> Void

    init(name: String, niceness: Int32, run: @escaping @Sendable () -> Void) {
      self.name = name
      self.niceness = niceness
      self.run = run
    }
  }

  /// - Parameters:
  ///   - name: shown by the system's tools; at most 15 bytes count.
  ///   - niceness: added to the process's; 0 keeps it.
  public static func start(name: String, niceness: Int32 = 0, _ run: @escaping @Sendable () -> Void) {
    let body = Unmanaged.passRetained(Body(name: name, niceness: niceness, run: run))
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
        cbackends_name_thread(body.name)
        // On Linux a process ID of 0 means the calling thread alone.
        if body.niceness != 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, body.niceness) }
        body.run()
        return nil
      }, body.toOpaque())
    precondition(code == 0, "no thread for \(name): \(String(cString: strerror(code)))")
    pthread_detach(thread)
  }
}
