import CContainer
import ChaosAPI
import Glibc

/// The IPAM plug-in of a network, run as the CNI specification's section 4 has it: found in CNI_PATH, with the
/// environment and the configuration that this plug-in got.
struct AddressManager: Sendable {
  /// Its file name, which the configuration calls its type.
  let type: String
  private let program: String
  private let environment: [String: String]
  private let configuration: [UInt8]

  /// The longest answer read, in bytes.
  private static let longestAnswer = 1 << 20

  /// - Parameters:
  ///   - path: the value of CNI_PATH.
  ///   - environment: what the plug-in is run with.
  /// - Throws: `CNIError` when no folder of `path` has the program.
  init(
    type: String, path: String, environment: [String: String], configuration: [UInt8]
  ) throws(CNIError) {
    guard !type.utf8.contains(UInt8(ascii: "/")), !type.utf8.contains(0), type != ".", type != ".." else {
      throw .refused("ipam.type", "not a file name", type)
    }
    let candidates = path.split(separator: ":").map { "\($0)/\(type)" }
    guard let program = candidates.first(where: Self.isProgram) else {
      throw CNIError(
        .delegate, "ipam.type: no such program in CNI_PATH: \(quoted(type))", details: "CNI_PATH is \(quoted(path))"
      )
    }
    self.type = type
    self.program = program
    self.environment = environment
    self.configuration = configuration
  }

  private static func isProgram(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
  }

  /// Asks for addresses.
  ///
  /// - Returns: its refusal, after which it has given none, or what it gave.
  /// - Throws: `CNIError` when it may have given some, but did not come to say so.
  func add() throws(CNIError) -> Result<AttachmentResult, CNIError> {
    let answer: [UInt8]
    switch try run("ADD") {
    case .failure(let refusal): return .failure(refusal)
    case .success(let output): answer = output
    }
    do {
      let reader = try ConfigurationReader(try JSON(parsing: answer), at: type, code: .delegate)
      return .success(try AttachmentResult(reader))
    } catch let error as CNIError {
      throw error
    } catch {
      throw CNIError(.delegate, "\(type): \(error)")
    }
  }

  /// Runs it with a command that has no answer but success and failure.
  func perform(_ command: String) throws(CNIError) { _ = try run(command).get() }

  // MARK: Running

  /// - Returns: what it wrote to standard output; its own error, with its name in front, where it exited with
  ///   another status than 0 or could not be started.
  /// - Throws: `CNIError` when it came to another end.
  private func run(_ command: String) throws(CNIError) -> Result<[UInt8], CNIError> {
    let input = try Pipe(for: program)
    let output = try Pipe(for: program)
    let child = try spawn(command, input: input.reader, output: output.writer)
    let answer = converse(input: input.keepWriter(), output: output.keepReader())
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 {
      guard errno == EINTR else { throw Self.failure(program, "wait", errno) }
    }
    let exitStatus = ccontainer_exit_status(status)
    guard exitStatus >= 0 else { throw CNIError(.delegate, "\(type): ended by signal \(status & 0x7f)") }
    guard exitStatus == 0 else { return .failure(refusal(answer ?? [], status: exitStatus)) }
    guard let answer else { throw CNIError(.delegate, "\(type): answered more than \(Self.longestAnswer) bytes") }
    return .success(answer)
  }

  private static func failure(_ program: String, _ call: String, _ code: Int32) -> CNIError {
    CNIError(.delegate, "run \(program): \(call): \(String(cString: strerror(code)))")
  }

  /// Two descriptors that no other program inherits.
  private struct Pipe: ~Copyable {
    let reader, writer: Int32

    init(for program: String) throws(CNIError) {
      var ends: [Int32] = [-1, -1]
      guard pipe(&ends) == 0 else { throw AddressManager.failure(program, "pipe", errno) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      reader = ends[0]
      writer = ends[1]
    }

    /// Closes the end that the other program has now, and gives the other away.
    consuming func keepWriter() -> Int32 {
      let writer = writer
      close(reader)
      discard self
      return writer
    }

    /// Closes the end that the other program has now, and gives the other away.
    consuming func keepReader() -> Int32 {
      let reader = reader
      close(writer)
      discard self
      return reader
    }

    deinit {
      close(reader)
      close(writer)
    }
  }

  private func spawn(_ command: String, input: Int32, output: Int32) throws(CNIError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    // This program ignores SIGPIPE, which the other would inherit.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))

    var variables = environment
    variables["CNI_COMMAND"] = command
    let arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), nil]
    let strings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for string in arguments + strings { free(string) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, program, &actions, &attributes, arguments, strings)
    guard code == 0 else { throw Self.failure(program, "start", code) }
    return child
  }

  /// Writes the configuration and reads the answer, as the other program is ready for either, and closes both.
  ///
  /// - Returns: nil when there is more than the longest answer. What is beyond it is read and dropped, so that
  ///   the writer comes to its end.
  private func converse(input: Int32, output: Int32) -> [UInt8]? {
    var rest = configuration[...]
    var answer: [UInt8] = []
    var isTooLong = false
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    _ = fcntl(input, F_SETFL, O_NONBLOCK)
    var files = [
      pollfd(fd: input, events: Int16(POLLOUT), revents: 0), pollfd(fd: output, events: Int16(POLLIN), revents: 0),
    ]
    while files[1].fd >= 0 {
      guard poll(&files, nfds_t(files.count), -1) >= 0 || errno == EINTR else { break }
      if files[0].fd >= 0, files[0].revents != 0 {
        let written = rest.withUnsafeBytes { write(input, $0.baseAddress, $0.count) }
        if written > 0 { rest = rest.dropFirst(written) }
        // A program that does not want to read all of it does not have to.
        if rest.isEmpty || written < 0 && errno != EAGAIN && errno != EINTR {
          close(input)
          files[0].fd = -1
        }
      }
      guard files[1].revents != 0 else { continue }
      let length = read(output, &piece, piece.count)
      if length < 0, errno == EINTR { continue }
      if length <= 0 { files[1].fd = -1 }
      isTooLong = isTooLong || answer.count + max(0, length) > Self.longestAnswer
      if !isTooLong { answer += piece.prefix(max(0, length)) }
    }
    if files[0].fd >= 0 { close(input) }
    close(output)
    return isTooLong ? nil : answer
  }

  private func refusal(_ answer: [UInt8], status: Int32) -> CNIError {
    guard let json = try? JSON(parsing: answer), case .string(let message)? = json["msg"] else {
      return CNIError(.delegate, "\(type): failed with exit status \(status) and no error message")
    }
    var code = CNIError.Code.delegate
    if case .integer(let number)? = json["code"], let number = Int(exactly: number) {
      code = .init(rawValue: number)
    }
    var details = ""
    if case .string(let text)? = json["details"] { details = text }
    return CNIError(code, "\(type): \(message)", details: details)
  }
}
