import ChaosAPI

func printOut(_ bytes: [UInt8]) {
  Stream.output.write(bytes)
}

func printOut(_ text: String) {
  Stream.output.write(text)
}

/// On standard error, with the program's name before it.
func complain(_ message: String) {
  Stream.error.write("chaos: \(plain(message))\n")
}

func printWarning(_ warning: String) {
  complain("warning: \(warning)")
}

/// One value: laid out for people on a terminal, else on one line for programs.
func printJSON(_ value: JSON) {
  if isTerminal(Stream.output.descriptor) {
    printOut(value.pretty)
  } else {
    printLine(value)
  }
}

func printLine(_ value: JSON) {
  printOut(value.compact + [UInt8(ascii: "\n")])
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

extension String {
  func includes(_ part: String) -> Bool {
    let all = Array(utf8)
    let wanted = Array(part.utf8)
    guard wanted.count <= all.count else { return false }
    return (0...all.count - wanted.count).contains { start in
      all[start..<start + wanted.count].elementsEqual(wanted)
    }
  }
}
