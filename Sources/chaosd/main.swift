import ChaosAPI
import Glibc
import Logging
import Threads
import Toolstack

signal(SIGPIPE, SIG_IGN)
// Ended children (chaos-backend) are reaped by the kernel.
signal(SIGCHLD, SIG_IGN)

func fail(_ message: String, status: Int32) -> Never {
  let line = "chaosd: \(message)\n"
  _ = write(STDERR_FILENO, line, line.utf8.count)
  exit(status)
}

let options: DaemonOptions
do {
  options = try DaemonOptions(Array(CommandLine.arguments.dropFirst()))
} catch {
  fail(error.description, status: 2)
}
if options.showsHelp {
  print(DaemonOptions.help)
  exit(0)
}
if options.showsVersion {
  print("chaosd \(Product.version)")
  exit(0)
}
if options.listsSteps {
  for step in Toolstack.stepNames { print(step) }
  exit(0)
}
if options.examines { examine(options) }

let messages: MessageWriter
do throws(BackgroundThread.Failure) { messages = try MessageWriter() } catch { fail("\(error)", status: 1) }
let logger = Logger(label: "chaosd") { MessageLog(label: $0, messages: messages) }
do {
  try await Daemon(options, manager: .fromEnvironment(), logger: logger).run()
} catch {
  messages.flush()
  fail("\(error)", status: 1)
}
messages.flush()
