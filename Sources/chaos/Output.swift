import ChaosAPI
import Glibc

/// Writes all of it. What cannot be written is lost: there is nobody left to tell. A reader that went away ends
/// the process by SIGPIPE, without a word.
func write(_ bytes: [UInt8], to descriptor: Int32) {
  bytes.withUnsafeBytes { buffer in
    var written = 0
    while written < buffer.count {
      let count = Glibc.write(descriptor, buffer.baseAddress! + written, buffer.count - written)
      if count > 0 { written += count } else if errno != EINTR { return }
    }
  }
}

func printOut(_ bytes: [UInt8]) {
  write(bytes, to: STDOUT_FILENO)
}

func printOut(_ text: String) {
  printOut(Array(text.utf8))
}

/// On standard error, with the program's name before it.
func complain(_ message: String) {
  write(Array("chaos: \(plain(message))\n".utf8), to: STDERR_FILENO)
}

/// Text that a terminal shows and does not obey: control characters become question marks.
func plain(_ text: String) -> String {
  func isControl(_ scalar: UnicodeScalar) -> Bool {
    scalar.value < 0x20 || 0x7f..<0xa0 ~= scalar.value
  }
  guard text.unicodeScalars.contains(where: isControl) else { return text }
  var shown = String.UnicodeScalarView()
  for scalar in text.unicodeScalars { shown.append(isControl(scalar) ? "?" : scalar) }
  return String(shown)
}

/// One value: laid out for people on a terminal, else on one line for programs.
func printJSON(_ value: JSON) {
  printOut(isatty(STDOUT_FILENO) == 1 ? value.pretty : value.compact + [UInt8(ascii: "\n")])
}

/// What the system says of an error number.
func errorText(_ code: Int32) -> String {
  String(cString: strerror(code))
}
