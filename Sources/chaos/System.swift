import ChaosAPI

#if canImport(Glibc)
  import Glibc
#else
  import CPosix

  var errno: Int32 { cposix_errno() }
#endif

// What this program asks of the system, so that most of it need not know which library is underneath: Glibc, or
// in Embedded Swift the C headers.

/// Ends the process. Nothing is buffered, so there is nothing for exit handlers to do.
func end(_ status: ExitStatus) -> Never {
  _exit(status.rawValue)
}

/// What follows the program's name. Text is UTF-8 here and in the API: other bytes would reach a guest as what
/// stands for them, so they are refused.
func commandLineArguments() throws(APIError) -> ArraySlice<String> {
  var arguments: [String] = []
  for text in argumentVector() {
    if let argument = String(validatingCString: text) {
      arguments.append(argument)
      continue
    }
    // What it is the value of, if anything, is the word before it or in it.
    let shown = String(cString: text)
    let place = arguments.last.flatMap { $0.hasPrefix("--") ? " after \($0)" : nil } ?? ""
    throw .usage("the argument\(place) is not UTF-8: '\(shown)'", of: nil)
  }
  return arguments.dropFirst()
}

private func argumentVector() -> [UnsafeMutablePointer<CChar>] {
  #if hasFeature(Embedded)
    // There is no CommandLine. The ABI lays argc, argv and the environment one after another on the initial
    // stack, with a null at the end of argv, so argv is found backwards from the environment, which nobody has
    // moved yet. The word before argv is argc, smaller than any pointer.
    guard let environment = cposix_environment() else { return [] }
    var argument = environment - 2
    var arguments: [UnsafeMutablePointer<CChar>] = []
    while let text = argument.pointee, UInt(bitPattern: text) > UInt(bitPattern: environment) {
      arguments.append(text)
      argument -= 1
    }
    return arguments.reversed()
  #else
    return (0..<Int(CommandLine.argc)).compactMap { CommandLine.unsafeArgv[$0] }
  #endif
}

func environmentValue(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}

func isTerminal(_ descriptor: Int32) -> Bool {
  isatty(descriptor) == 1
}

func secondsSince1970() -> Int {
  time(nil)
}

func monotonicMilliseconds() -> Int {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Whatever signals do not end the process cut it short.
func sleep(milliseconds: Int) {
  _ = poll(nil, 0, Int32(clamping: milliseconds))
}

/// What the system says of an error number.
func errorText(_ code: Int32) -> String {
  String(cString: strerror(code))
}

// MARK: Files

/// An open file. The standard streams are not closed.
struct File: ~Copyable {
  let descriptor: Int32
  /// As the user named it.
  let path: String

  init(reading path: String) throws(FileError) {
    descriptor = openFile(path, O_RDONLY | O_CLOEXEC)
    self.path = path
    guard descriptor >= 0 else { throw FileError(path: path, code: errno) }
  }

  init(standardInputNamed path: String) {
    descriptor = STDIN_FILENO
    self.path = path
  }

  deinit {
    if descriptor > STDERR_FILENO { close(descriptor) }
  }

  enum Kind {
    /// With its size in bytes.
    case regular(Int)
    /// Or a socket: its size is known at its end.
    case pipe
    /// A device, which may have none.
    case other
  }

  func kind() throws(FileError) -> Kind {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileError(path: path, code: errno) }
    switch status.st_mode & mode_t(S_IFMT) {
    case mode_t(S_IFREG): return .regular(status.st_size)
    case mode_t(S_IFIFO), mode_t(S_IFSOCK): return .pipe
    case mode_t(S_IFDIR): throw FileError(path: path, code: EISDIR)
    default: return .other
    }
  }

  /// The whole content, which must not be longer than `limit`.
  func readAll(limit: Int) throws(FileError) -> [UInt8] {
    var content: [UInt8] = []
    while true {
      let piece = try read(upTo: max(16_384, content.count))
      if piece.isEmpty { return content }
      if content.isEmpty { content = piece } else { content += piece }
      guard content.count <= limit else { throw FileError(path: path, code: EFBIG) }
    }
  }

  /// One read; empty at the end.
  func read(upTo capacity: Int) throws(FileError) -> [UInt8] {
    var code: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      var result: Int
      repeat {
        result = readBytes(descriptor, buffer.baseAddress, capacity)
      } while result < 0 && errno == EINTR
      if result < 0 { code = errno }
      count = max(0, result)
    }
    guard code == 0 else { throw FileError(path: path, code: code) }
    return bytes
  }
}

struct FileError: Error {
  let path: String
  let code: Int32

  /// There is no such file.
  var isMissing: Bool { code == ENOENT }
}

/// - Parameter mode: of a file that is made.
func openFile(_ path: String, _ flags: Int32, mode: mode_t = 0) -> Int32 {
  #if canImport(Glibc)
    open(path, flags, mode)
  #else
    cposix_open(path, flags, mode)
  #endif
}

private func readBytes(_ file: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  read(file, buffer, count)
}

enum Stream {
  case output
  case error

  var descriptor: Int32 { self == .output ? STDOUT_FILENO : STDERR_FILENO }

  /// Writes all of it. What cannot be written is lost: there is nobody left to tell. A reader that went away
  /// ends the process by SIGPIPE, without a word.
  func write(_ bytes: [UInt8]) { _ = writeAll(descriptor, bytes[...]) }

  func write(_ text: String) {
    write(Array(text.utf8))
  }
}

/// Writes all of it; returns 0, or the error that ended it.
func writeAll(_ file: Int32, _ bytes: ArraySlice<UInt8>) -> Int32 {
  bytes.withUnsafeBytes { buffer in
    var written = 0
    while written < buffer.count {
      let count = writeBytes(file, buffer.baseAddress! + written, buffer.count - written)
      if count > 0 { written += count } else if errno != EINTR { return errno }
    }
    return 0
  }
}

private func writeBytes(_ file: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  write(file, bytes, count)
}

// MARK: Signals

/// What is done when a signal comes: for handlers that only call what signal-safety(7) allows.
typealias SignalHandler = @convention(c) (Int32) -> Void

/// The handler runs once; then the signal does what it does by default.
func handleOnce(_ signals: [Int32], _ handler: SignalHandler) {
  var action = sigaction()
  action.__sigaction_handler.sa_handler = handler
  action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
  for signal in signals { sigaction(signal, &action, nil) }
}

/// What `exitOnInterrupt` says. Written once, before its handler is set.
nonisolated(unsafe) private var farewell: (text: UnsafePointer<UInt8>?, count: Int) = (nil, 0)

/// From now on, Ctrl-C writes the message and ends the process with status 130.
func exitOnInterrupt(_ message: StaticString) {
  farewell = (message.utf8Start, message.utf8CodeUnitCount)
  handleOnce([SIGINT]) { _ in
    _ = write(STDERR_FILENO, farewell.text, farewell.count)
    end(.interrupted)
  }
}
