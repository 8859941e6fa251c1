/// The text of `/etc/frr/daemons`, which a shell reads: the daemons that FRR's start script starts.
enum FRRDaemons {
  /// The text with bgpd among them, and nothing else changed. zebra is always started.
  static func enablingBGP(_ bytes: [UInt8]) -> [UInt8] {
    let name = Array("bgpd=".utf8)
    let quotes = Array("'\"".utf8)
    var result: [UInt8] = []
    var isThere = false
    for line in FRRLine.lines(of: bytes) {
      let text = bytes[line.range]
      guard text.starts(with: name) else {
        result += text
        continue
      }
      isThere = true
      let value = text.dropFirst(name.count).prefix { $0 > UInt8(ascii: " ") && $0 != UInt8(ascii: "#") }
      // What the script takes for off (daemon_list in frrcommon.sh).
      let isOff = ["", "no", "0"].map { Array($0.utf8) }.contains(value.filter { !quotes.contains($0) })
      result += isOff ? name + Array("yes".utf8) + text[value.endIndex...] : Array(text)
    }
    if isThere { return result }
    if let last = result.last, last != UInt8(ascii: "\n") { result.append(UInt8(ascii: "\n")) }
    return result + Array("bgpd=yes\n".utf8)
  }
}
