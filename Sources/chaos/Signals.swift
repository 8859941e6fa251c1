import Glibc

/// What the handler below says. Written once, before the handler is set.
nonisolated(unsafe) private var farewell: (text: UnsafePointer<UInt8>?, count: Int) = (nil, 0)

/// From now on, Ctrl-C writes the message and ends the process with status 130.
func exitOnInterrupt(_ message: StaticString) {
  farewell = (message.utf8Start, message.utf8CodeUnitCount)
  signal(SIGINT) { _ in
    _ = Glibc.write(STDERR_FILENO, farewell.text, farewell.count)
    _exit(ExitStatus.interrupted.rawValue)
  }
}
