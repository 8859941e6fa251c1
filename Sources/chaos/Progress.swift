/// A bar on standard error, for people who wait longer than a second at a terminal.
struct Progress {
  private let total: Int
  private var done = 0
  private let isShown = isTerminal(Stream.error.descriptor)
  /// Standard output goes to a terminal too, which may be the same one.
  private let isInTheWay = isTerminal(Stream.output.descriptor)
  private var nextDrawing = 0
  private var isDrawn = false

  init(total: Int) {
    self.total = total
    if isShown { nextDrawing = monotonicMilliseconds() + 1000 }
  }

  mutating func advance() { advance(to: done + 1) }

  mutating func advance(to count: Int) {
    done = count
    guard isShown else { return }
    let now = monotonicMilliseconds()
    guard now >= nextDrawing else { return }
    nextDrawing = isInTheWay ? now : now + 100
    isDrawn = true
    Stream.error.write(Self.bar(done: done, total: total))
  }

  /// To be called before standard output is written.
  mutating func makeRoom() {
    if isInTheWay { clear() }
  }

  /// Takes the bar away.
  mutating func clear() {
    guard isDrawn else { return }
    isDrawn = false
    Stream.error.write("\r\u{1b}[K")
  }

  static func bar(done: Int, total: Int) -> String {
    let width = 40
    let filled = total > 0 ? min(width, done * width / total) : width
    let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled)
    return "\r[\(bar)] \(done)/\(total)\u{1b}[K"
  }
}
