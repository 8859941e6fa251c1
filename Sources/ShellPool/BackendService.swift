import Backends
import CBackends
import Glibc
import Synchronization

/// The connection to chaos-backend, made when first needed and again after the back-end died; starts one when
/// none listens.
public final class BackendService: Sendable {
  /// Whom chaos-backend runs as.
  public enum Account: Sendable {
    /// The user it becomes after listening.
    case user(String)
    /// Root, for systems without a user for it.
    case root
  }

  public let socket: String
  private let client: BackendClient
  private let starts: Starts

  /// Held while one is started. A new process has a copy of all that this one has open until it becomes chaos-backend:
  /// what is closed meanwhile is closed there, alone.
  private final class Starts: Sendable {
    let turn = Mutex(())
  }

  /// - Parameters:
  ///   - program: path of chaos-backend.
  ///   - report: called with one line when something is worth an operator's attention.
  ///   - log: file its messages are appended to.
  public init(
    socket: String, program: String, account: Account, log: String, report: @escaping @Sendable (String) -> Void
  ) {
    self.socket = socket
    if case .root = account {
      report("chaos-backend is to keep root's rights; a user of its own would leave it with none")
    }
    // Opened now, as the disk may stand still when one is to be started; what is there a frozen disk opens.
    var file = open(log, O_WRONLY | O_APPEND | O_CLOEXEC)
    if file < 0 { file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640) }
    if file < 0 { report("chaos-backend's messages are lost: open \(log): \(String(cString: strerror(errno)))") }
    let starts = Starts()
    self.starts = starts
    client = BackendClient(path: socket) { [file] () throws(BackendError) in
      try starts.turn.withLock { _ throws(BackendError) in
        try Self.spawn(program, socket: socket, account, log: file)
      }
    }
  }

  /// Runs something that must not meet the start of a back-end.
  func whileNoneIsStarted(_ body: () -> Void) { starts.turn.withLock { _ in body() } }

  /// Sends a request, connecting first where needed, and where it makes sense on more than one connection. One that meets a dead back-end starts another, which serves no
  /// domain until it is handed it: the reconciler does that for every guest.
  @discardableResult
  public func perform(
    _ request: ControlProtocol.Request, descriptors: [Int32] = [], on only: Int? = nil
  ) throws(BackendError) -> ControlProtocol.Reply {
    try client.perform(request, descriptors: descriptors, on: only)
  }

  /// As long as it is the same, so is the back-end.
  var connections: Int { client.connections }

  /// The domains the back-end serves now.
  public func domains() throws(BackendError) -> [ControlProtocol.Status] { try client.domains() }

  /// Starts chaos-backend in a session of its own, so that it outlives this process.
  private static func spawn(
    _ program: String, socket: String, _ account: Account, log: Int32
  ) throws(BackendError) {
    // Said here, where somebody hears it, and not only in the log of a program that ends at once.
    if case .user(let name) = account { _ = try SystemUser(named: name) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, cbackends_spawn_setsid)
    var files = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&files)
    defer { posix_spawn_file_actions_destroy(&files) }
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    if log >= 0 {
      posix_spawn_file_actions_adddup2(&files, log, STDERR_FILENO)
    } else {
      posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    }
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO)
    // Above all not the API's listener: held open here it would take connections for a dead chaosd.
    cbackends_spawn_close_rest(&files)
    var arguments = [program, "--socket", socket]
    switch account {
    case .user(let name): arguments += ["--user", name]
    case .root: arguments.append("--as-root")
    }
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var child = pid_t()
    let code = posix_spawn(&child, program, &files, &attributes, &pointers, environ)
    if code != 0 { throw BackendError("start \(program)", errno: code) }
  }
}
