import ChaosAPI

#if canImport(Glibc)
  import Glibc
#else
  import CPosix
#endif

func console(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let reference = invocation.operands[0]
  return try attach(to: reference, shownAs: reference, socketPath: invocation.socketPath)
}

/// Joins this terminal and the guest's console until one of them ends it.
///
/// - Throws: how the guest ended, where it was not in order.
func attach(
  to reference: String, shownAs name: String, socketPath: String
) throws(APIError) -> ExitStatus {
  let isInteractive = isTerminal(File(standardInputNamed: "standard input").descriptor)
  var client = ChaosClient(socketPath: socketPath)
  try client.openConsole(reference)
  let ending: StreamEnding
  do throws(APIError) {
    let input = ChaosClient(socketPath: socketPath)
    ending = try stream(reference, shownAs: name, isInteractive: isInteractive, from: &client, to: input)
  } catch {
    // The guest may have left the cursor anywhere.
    if isInteractive { Stream.error.write("\r\n") }
    throw error.cuttingOff(name)
  }
  switch ending {
  case .detached:
    Stream.error.write("\r\ndetached from \(plain(name))\r\n")
  case .ended:
    if isInteractive { Stream.error.write("\r\n\(plain(name)) ended\r\n") }
    if let failure = client.failure(of: reference, shownAs: name) { throw failure }
  }
  return .success
}

private enum StreamEnding {
  case detached
  case ended
}

/// Ctrl-]
private let escape: UInt8 = 0x1d

private func stream(
  _ reference: String, shownAs name: String, isInteractive: Bool, from output: inout ChaosClient,
  to input: consuming ChaosClient
) throws(APIError) -> StreamEnding {
  let keyboard = File(standardInputNamed: "standard input")
  if isInteractive { Stream.error.write("connected to \(plain(name)); escape is Ctrl-]\n") }
  let terminal = RawTerminal(isInteractive ? keyboard.descriptor : nil)
  defer { terminal.restore() }

  var sources = [
    pollfd(fd: output.streamDescriptor, events: Int16(POLLIN), revents: 0),
    pollfd(fd: keyboard.descriptor, events: Int16(POLLIN), revents: 0),
  ]
  while let received = try output.readReceived() {
    // What has been received, the stream's end among it, is not announced by poll(2).
    if !received.isEmpty {
      printOut(received)
      continue
    }
    if poll(&sources, nfds_t(sources.count), -1) < 0 {
      if errno == EINTR { continue }
      throw APIError(.internal, "poll: \(errorText(errno))")
    }
    if sources[0].revents != 0 { printOut(try output.readStreamOnce() ?? []) }
    guard sources[1].revents != 0 else { continue }
    let typed = try read(keyboard)
    let sent = isInteractive ? typed.prefix { $0 != escape } : typed[...]
    if !sent.isEmpty { try input.sendConsole(reference, Array(sent)) }
    if sent.count < typed.count || (typed.isEmpty && isInteractive) {
      return .detached
    }
    // Input that is no terminal has an end; the guest may have more to say.
    if typed.isEmpty { sources[1].fd = -1 }
  }
  return .ended
}

/// Empty at the end.
private func read(_ keyboard: borrowing File) throws(APIError) -> [UInt8] {
  do throws(FileError) {
    return try keyboard.read(upTo: 4096)
  } catch {
    throw APIError(error)
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
    handleOnce([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE]) { number in
      tcsetattr(STDIN_FILENO, TCSANOW, &terminalBefore)
      raise(number)
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
