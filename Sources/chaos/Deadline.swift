/// A moment that several waits have in common.
struct Deadline {
  private let end: Int

  init(seconds: Int) {
    end = monotonicMilliseconds() + seconds * 1000
  }

  /// Whole seconds, so that the last wait ends at or after the moment.
  var secondsLeft: Int {
    (max(0, end - monotonicMilliseconds()) + 999) / 1000
  }
}
