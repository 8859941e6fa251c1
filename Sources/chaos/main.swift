end(runChaos())
