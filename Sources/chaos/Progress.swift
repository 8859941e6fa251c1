/// A bar on standard error, for people who wait longer than a second at a terminal.
struct Progress {
  private let total: Int
  private var done = 0
  private let isShown: Bool
  private var nextDrawing: Int
  private var isDrawn = false

  init(total: Int) {
    self.total = total
    isShown = isTerminal(Stream.error.descriptor)
    nextDrawing = isShown ? monotonicMilliseconds() + 1000 : 0
  }

  mutating func advance() {
    done += 1
    guard isShown else { return }
    let now = monotonicMilliseconds()
    guard now >= nextDrawing else { return }
    nextDrawing = now + 100
    isDrawn = true
    Stream.error.write(Self.bar(done: done, total: total))
  }

  /// Takes the bar away, before anything else is written to what may be the same terminal.
  mutating func clear() {
    guard isDrawn else { return }
    isDrawn = false
    Stream.error.write("\r\u{1b}[K")
    // What is cleared for one line comes back with the next.
    nextDrawing = 0
  }

  static func bar(done: Int, total: Int) -> String {
    let width = 40
    let filled = total > 0 ? min(width, done * width / total) : width
    let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: width - filled)
    return "\r[\(bar)] \(done)/\(total)\u{1b}[K"
  }
}
