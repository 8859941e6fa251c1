import ChaosAPI
import Glibc

// Nothing is buffered, so there is nothing for exit handlers to do.
_exit(runChaos(CommandLine.arguments.dropFirst()).rawValue)
