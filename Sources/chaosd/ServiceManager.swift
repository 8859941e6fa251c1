import Glibc

/// What a service manager (systemd) hands a service through its environment, and is told by it in turn: sd_notify(3)
/// and sd_listen_fds(3) without their library.
struct ServiceManager: Sendable {
  /// A listener that was bound for us.
  let listener: Int32?
  /// How often it wants to hear that all is well.
  let watchdog: Duration?
  private let socket: String?

  /// Takes the variables out of the environment: they are not for our children.
  static func fromEnvironment() -> ServiceManager {
    let names = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC", "NOTIFY_SOCKET"]
    var variables: [String: String] = [:]
    for name in names {
      variables[name] = getenv(name).map { String(cString: $0) }
      unsetenv(name)
    }
    return ServiceManager(variables, process: getpid())
  }

  init(_ variables: [String: String], process: Int32) {
    let own = String(process)
    let isForUs = variables["LISTEN_PID"] == own && variables["LISTEN_FDS"].flatMap { Int($0) } ?? 0 > 0
    listener = isForUs ? 3 : nil
    if let listener { _ = fcntl(listener, F_SETFD, FD_CLOEXEC) }
    let microseconds = variables["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    let isWatched = variables["WATCHDOG_PID"].map { $0 == own } ?? true
    watchdog = isWatched && microseconds > 0 ? .microseconds(microseconds) : nil
    socket = variables["NOTIFY_SOCKET"].flatMap { $0.first == "/" || $0.first == "@" ? $0 : nil }
  }

  /// Whether the process was started by one that wants to hear of it.
  var isPresent: Bool { socket != nil }

  /// Sends one message, such as "READY=1". A manager that does not listen is not waited for.
  func tell(_ message: String) {
    guard let socket, var address = Self.address(socket) else { return }
    let sender = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard sender >= 0 else { return }
    defer { close(sender) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + socket.utf8.count)
    let bytes = Array(message.utf8)
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        _ = sendto(sender, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), pointer, length)
      }
    }
  }

  private static func address(_ path: String) -> sockaddr_un? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    // An abstract name: it begins with a zero byte.
    if bytes.first == UInt8(ascii: "@") { bytes[0] = 0 }
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return address
  }
}
