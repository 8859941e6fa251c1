import Dispatch

/// When what failed is tried again: at once the first time, then after 1 s, 2 s, 4 s and so on up to a minute.
public struct Backoff: Sendable {
  public private(set) var failures = 0
  private var next = DispatchTime(uptimeNanoseconds: 0)

  private static let longestSeconds = 60

  public init() {}

  /// Whether it is time for another try.
  public var isDue: Bool { DispatchTime.now() >= next }

  /// Puts the next try off for a moment: what was to be tried was busy.
  public mutating func postpone() { next = .now() + .milliseconds(500) }

  /// Notes one more failure.
  public mutating func fail() {
    let seconds = min(1 << min(failures, 6), Self.longestSeconds)
    failures += 1
    next = .now() + .seconds(seconds)
  }
}
