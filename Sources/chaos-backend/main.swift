import Backends
import Glibc

// chaos-backend: serves the devices of guests on the noxs bus. Listens first, as root; then gives up every
// privilege and lives from the descriptors chaosd sends.

signal(SIGPIPE, SIG_IGN)

func fail(_ message: String, status: Int32) -> Never {
  let line = "chaos-backend: \(message)\n"
  _ = write(STDERR_FILENO, line, line.utf8.count)
  exit(status)
}

let options: BackendOptions
do {
  options = try BackendOptions(Array(CommandLine.arguments.dropFirst()))
} catch {
  fail(error.description, status: 2)
}
if options.showsHelp {
  print(BackendOptions.help)
  exit(0)
}

func report(_ line: String) {
  let text = "chaos-backend: \(line)\n"
  _ = write(STDERR_FILENO, text, text.utf8.count)
}

do {
  let listener = try ControlSocket.listen(at: options.socket)
  if let user = options.user { try Privileges.drop(to: user) }
  let server = try BackendServer(listener: listener, report: report)
  server.run()
} catch {
  fail(error.description, status: 1)
}
