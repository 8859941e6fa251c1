import Dispatch

/// When what failed is tried again: at once the first time, then after 1 s, 2 s, 4 s and so on up to a minute.
struct Backoff: Sendable {
  private(set) var failures = 0
  private var next = DispatchTime(uptimeNanoseconds: 0)

  private static let longestSeconds = 60

  /// Whether it is time for another try.
  var isDue: Bool { DispatchTime.now() >= next }

  /// Notes one more failure.
  mutating func fail() {
    let seconds = min(1 << min(failures, 6), Self.longestSeconds)
    failures += 1
    next = .now() + .seconds(seconds)
  }
}
