/// How much somebody may do: so much at once, and in the long run so much a second.
struct Allowance {
  let burst: Int
  let perSecond: Int
  /// In billionths, so that no fraction is lost between two looks.
  private var left: Int
  private var updated: ContinuousClock.Instant?

  init(burst: Int, perSecond: Int) {
    self.burst = burst
    self.perSecond = perSecond
    left = burst * Self.unit
  }

  private static let unit = 1_000_000_000

  /// Takes `count` if that much is left.
  mutating func take(_ count: Int = 1, at now: ContinuousClock.Instant) -> Bool {
    refill(now)
    guard count * Self.unit <= left else { return false }
    left -= count * Self.unit
    return true
  }

  private mutating func refill(_ now: ContinuousClock.Instant) {
    defer { updated = now }
    guard let updated, now > updated else { return }
    // An hour fills any allowance, and keeps the product in range.
    let nanoseconds = Int(min(now - updated, .seconds(3600)) / .nanoseconds(1))
    let (gained, overflow) = nanoseconds.multipliedReportingOverflow(by: perSecond)
    left = overflow ? burst * Self.unit : min(burst * Self.unit, left + gained)
  }
}
