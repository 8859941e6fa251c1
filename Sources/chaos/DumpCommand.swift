import ChaosAPI

/// Writes a guest's memory and vCPUs to a file.
func dumpCore(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let reference = invocation.operands[0]
  let path = invocation.operands[1]
  let format = try DumpFormat(invocation.value("format") ?? DumpFormat.elf.rawValue)
  if path == "-", isTerminal(Stream.output.descriptor) {
    throw invocation.usage("a dump is not for a terminal: give a file, or a pipe")
  }
  var client = invocation.client()
  // Known before the guest is stopped for it.
  var file = try OutputFile(path)
  let length = try client.openDump(reference, format)
  var progress = Progress(total: length >> 20)
  do throws(APIError) {
    while let bytes = try client.readStream() {
      try file.write(bytes)
      progress.advance(to: (length - client.streamRemaining) >> 20)
    }
  } catch {
    progress.clear()
    guard error.code == .unavailable else { throw error }
    throw APIError(.unavailable, "the dump of '\(reference)' was cut off: \(error.message)")
  }
  progress.clear()
  try file.finish()
  return .success
}
