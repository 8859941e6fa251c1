end(runChaos(commandLineArguments()))
