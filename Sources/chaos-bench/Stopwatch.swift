import Glibc

/// Time since it was made, on the monotonic clock.
struct Stopwatch {
  private let start = Self.now()

  var nanoseconds: Int { Self.now() - start }
  var milliseconds: Double { Double(nanoseconds) / 1e6 }
  var seconds: Double { Double(nanoseconds) / 1e9 }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}
