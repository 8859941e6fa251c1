import ChaosAPI

#if canImport(Glibc)
  import Glibc
#else
  import CPosix
#endif

/// Has chaosd's program look at the host, which it can whether a chaosd runs or not.
func doctor(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var arguments = ["--doctor", "--socket", invocation.socketPath]
  if invocation.wantsJSON { arguments += ["--format", "json"] }
  if invocation.has("all") { arguments.append("--all") }
  for folder in [ownFolder()] + programFolders() {
    guard let folder else { continue }
    // Returns only where there is no such program.
    let code = execute("\(folder)/chaosd", arguments)
    if code != ENOENT && code != ENOTDIR && code != EACCES {
      throw APIError(.internal, "\(folder)/chaosd: \(errorText(code))")
    }
  }
  throw APIError(.unavailable, "there is no program chaosd beside chaos or in PATH, which is what looks at a host")
}

/// The folder of this program.
private func ownFolder() -> String? {
  var buffer = [UInt8](repeating: 0, count: 4096)
  let length = buffer.withUnsafeMutableBytes { bytes in
    readlink("/proc/self/exe", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
  }
  guard length > 0, let slash = buffer[..<length].lastIndex(of: UInt8(ascii: "/")) else { return nil }
  return String(decoding: buffer[..<slash], as: UTF8.self)
}

private func programFolders() -> [String?] {
  let path = environmentValue("PATH") ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
  return path.utf8.split(separator: UInt8(ascii: ":")).map { String(decoding: $0, as: UTF8.self) }
}

/// Becomes a program; returns why not.
private func execute(_ program: String, _ arguments: [String]) -> Int32 {
  var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
  words.append(nil)
  execv(program, words)
  let code = errno
  for word in words { free(word) }
  return code
}
