import ChaosAPI
import ContainerNetwork
import Glibc

// An IPAM plug-in that ends early must not take this one with it.
signal(SIGPIPE, SIG_IGN)

if CommandLine.arguments.dropFirst().contains("--version") {
  print("chaos-cni \(Product.version)")
  exit(0)
}

let outcome = Plugin.serve(environment: Process.environment, readInput: StandardStreams.readInput)
StandardStreams.write(outcome.output)
exit(outcome.exitStatus)
