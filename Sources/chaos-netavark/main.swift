import ChaosAPI
import ContainerNetwork
import Glibc

signal(SIGPIPE, SIG_IGN)

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.contains("--version") {
  print("chaos-netavark \(Product.version)")
  exit(0)
}

let outcome = NetavarkPlugin.serve(
  arguments: arguments, version: Product.version, readInput: StandardStreams.readInput
) { warning in
  let line = "chaos: warning: \(warning)\n"
  _ = write(STDERR_FILENO, line, line.utf8.count)
}
StandardStreams.write(outcome.output)
exit(outcome.exitStatus)
