import Backends
import Glibc
import Threads

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

if options.account == nil && geteuid() == 0 {
  fail("does not run as root unless told so: give --user NAME, whom it is to become, or --as-root", status: 2)
}

do throws(BackendError) {
  var user: (name: String, ids: SystemUser)?
  if case .user(let name) = options.account { user = (name, try SystemUser(named: name)) }
  let listener = try ControlSocket.listen(at: options.socket)
  if let user { try Privileges.become(user.ids, named: user.name) }
  try Privileges.giveUpMore()
  let messages: MessageWriter
  do throws(BackgroundThread.Failure) { messages = try MessageWriter() } catch { throw BackendError(error) }
  let server = try BackendServer(listener: listener) { messages.write("chaos-backend: \($0)") }
  // Its threads run by now, and it needs no others.
  try Privileges.confine()
  server.run()
} catch {
  fail(error.kind == .refused && error.errno == ENOENT ? error.operation : error.description, status: 1)
}
