import ChaosAPI
import Glibc

func console(_ invocation: Invocation) throws -> ExitStatus {
  let reference = invocation.operands[0]
  return try attach(to: reference, shownAs: reference, socketPath: invocation.socketPath)
}

/// Ctrl-]
private let escape: UInt8 = 0x1d

/// Joins this terminal and the guest's console until one of them ends it.
func attach(to reference: String, shownAs name: String, socketPath: String) throws -> ExitStatus {
  var output = ChaosClient(socketPath: socketPath)
  var input = ChaosClient(socketPath: socketPath)
  try output.openConsole(reference)
  let isTerminal = isatty(STDIN_FILENO) == 1
  if isTerminal { tell("connected to \(name); escape is Ctrl-]\r\n") }
  let terminal = RawTerminal(isTerminal ? STDIN_FILENO : nil)
  defer { terminal.restore() }

  guard let first = try output.readReceived() else { return .success }
  printOut(first)
  var sources = [
    pollfd(fd: output.streamDescriptor, events: Int16(POLLIN), revents: 0),
    pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
  ]
  while true {
    if poll(&sources, nfds_t(sources.count), -1) < 0 {
      if errno == EINTR { continue }
      throw APIError(.internal, "poll: \(errorText(errno))")
    }
    if sources[0].revents != 0 {
      guard let bytes = try output.readStreamOnce() else {
        if isTerminal { tell("\r\n\(name) ended\r\n") }
        return .success
      }
      printOut(bytes)
    }
    if sources[1].revents != 0 {
      let typed = readInput()
      let sent = isTerminal ? typed.prefix { $0 != escape } : typed[...]
      if !sent.isEmpty { try input.sendConsole(reference, Array(sent)) }
      if sent.count < typed.count {
        tell("\r\ndetached from \(name)\r\n")
        return .success
      }
      // Input that is no terminal has an end; the guest may have more to say.
      if typed.isEmpty {
        if isTerminal { return .success }
        sources[1].fd = -1
      }
    }
  }
}

private func tell(_ text: String) {
  write(Array(text.utf8), to: STDERR_FILENO)
}

/// Empty at the end.
private func readInput() -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
    var result: Int
    repeat {
      result = read(STDIN_FILENO, buffer.baseAddress, buffer.count)
    } while result < 0 && errno == EINTR
    count = max(0, result)
  }
}

/// What the terminal was like, for the signal handler. Written once, before the handler is set.
nonisolated(unsafe) private var terminalBefore = termios()

/// A terminal in raw mode, until `restore()` or a signal that ends the process.
private struct RawTerminal {
  private let descriptor: Int32?

  /// Nil: there is none, and nothing is done.
  init(_ descriptor: Int32?) {
    guard let descriptor, tcgetattr(descriptor, &terminalBefore) == 0 else {
      self.descriptor = nil
      return
    }
    self.descriptor = descriptor
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE] {
      signal(number) { number in
        tcsetattr(STDIN_FILENO, TCSANOW, &terminalBefore)
        signal(number, SIG_DFL)
        raise(number)
      }
    }
    var raw = terminalBefore
    cfmakeraw(&raw)
    tcsetattr(descriptor, TCSANOW, &raw)
  }

  func restore() {
    guard let descriptor else { return }
    tcsetattr(descriptor, TCSADRAIN, &terminalBefore)
  }
}
