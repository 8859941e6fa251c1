import Glibc

/// A program found on PATH and the arguments it is started with. Starting it several times looks nothing up again.
struct Program {
  private let path: String
  private let arguments: [String]

  /// - Parameter name: a path, or a name that is looked for on PATH.
  init(_ name: String, _ arguments: String...) throws(Failure) {
    try self.init(name, arguments)
  }

  init(_ name: String, _ arguments: [String]) throws(Failure) {
    path = try Self.find(name)
    self.arguments = arguments
  }

  /// How a run ended, and what it cost.
  struct Outcome {
    /// From before the start until the exit was seen.
    let milliseconds: Double
    /// Of the program and those of its children that it waited for.
    let cpuMilliseconds: Double
    let output: String
  }

  /// Starts the program and waits for its end. Throws when it does not exit with 0, or not in time.
  @discardableResult
  func run(_ more: [String] = [], seconds: Int = 60) throws(Failure) -> Outcome {
    let output = try Output()
    let stopwatch = Stopwatch()
    let process = try start(more, writingTo: output.descriptor)
    let (status, usage) = Self.wait(for: process, seconds: seconds)
    let milliseconds = stopwatch.milliseconds
    guard status == 0 else {
      throw Failure(
        "\(([path] + arguments + more).joined(separator: " ")) \(Self.describe(status))\(output.lastLine)")
    }
    return Outcome(
      milliseconds: milliseconds,
      cpuMilliseconds: Self.milliseconds(usage.ru_utime) + Self.milliseconds(usage.ru_stime),
      output: output.text)
  }

  /// Starts the program and returns its process ID; standard input is empty, both outputs go to the descriptor.
  func start(_ more: [String] = [], writingTo descriptor: Int32) throws(Failure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, descriptor, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, descriptor, STDERR_FILENO)
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments + more).map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var process: pid_t = 0
    let code = posix_spawn(&process, path, &actions, nil, words, environ)
    guard code == 0 else { throw Failure("\(path): \(String(cString: strerror(code)))") }
    return process
  }

  private static func find(_ name: String) throws(Failure) -> String {
    if name.contains("/") {
      guard access(name, X_OK) == 0 else { throw Failure(doing: name) }
      return name
    }
    let folders = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    for folder in folders.split(separator: ":") where access("\(folder)/\(name)", X_OK) == 0 {
      return "\(folder)/\(name)"
    }
    throw Failure("\(name): not on PATH")
  }

  // MARK: Waiting

  /// Waits for a child; one that takes longer is killed.
  static func wait(for process: pid_t, seconds: Int) -> (status: Int32, usage: rusage) {
    var status: Int32 = 0
    var usage = rusage()
    armTimer(seconds)
    defer { armTimer(0) }
    while wait4(process, &status, 0, &usage) < 0 && errno == EINTR { kill(process, SIGKILL) }
    return (status, usage)
  }

  /// Interrupts wait4(2) after so long, and again each second: the first signal may come just before the wait.
  private static func armTimer(_ seconds: Int) {
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in }
    sigaction(SIGALRM, &action, nil)
    var timer = itimerval()
    timer.it_value.tv_sec = seconds
    timer.it_interval.tv_sec = seconds > 0 ? 1 : 0
    setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &timer, nil)
  }

  private static func describe(_ status: Int32) -> String {
    let signal = status & 0x7f
    return signal == 0 ? "exited with \(status >> 8 & 0xff)" : "was ended by signal \(signal)"
  }

  private static func milliseconds(_ time: timeval) -> Double {
    Double(time.tv_sec) * 1000 + Double(time.tv_usec) / 1000
  }

  /// What a program writes, in a file without a name: it never waits for a reader.
  private struct Output: ~Copyable {
    let descriptor: Int32

    init() throws(Failure) {
      var path = Array("/tmp/chaos-bench.XXXXXX".utf8CString)
      descriptor = mkstemp(&path)
      guard descriptor >= 0 else { throw Failure(doing: "make a file in /tmp") }
      unlink(path)
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }

    deinit { close(descriptor) }

    var text: String {
      var bytes = [UInt8](repeating: 0, count: 64 << 10)
      let count = pread(descriptor, &bytes, bytes.count, 0)
      return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    /// For a message: a colon and the line, or nothing.
    var lastLine: String { text.split(separator: "\n").last.map { ": \($0)" } ?? "" }
  }
}
