import Glibc

/// What a plug-in's process reads and writes.
public enum StandardStreams {
  /// Standard input to its end; nothing of a terminal's, which has none.
  public static func readInput() throws(CNIError) -> [UInt8] {
    guard isatty(STDIN_FILENO) == 0 else { return [] }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      let length = read(STDIN_FILENO, &piece, piece.count)
      if length < 0, errno == EINTR { continue }
      guard length >= 0 else {
        throw CNIError(.io, "read standard input: \(String(cString: strerror(errno)))")
      }
      if length == 0 { return bytes }
      bytes += piece.prefix(length)
      guard bytes.count <= NetworkConfiguration.longest else {
        throw CNIError(.io, "standard input: longer than \(NetworkConfiguration.longest) bytes")
      }
    }
  }

  /// To standard output, as far as somebody reads it.
  public static func write(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let length = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if length < 0, errno == EINTR { continue }
      guard length > 0 else { return }
      rest = rest.dropFirst(length)
    }
  }
}
