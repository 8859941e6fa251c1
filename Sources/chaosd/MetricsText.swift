/// Prometheus's text exposition format, version 0.0.4.
struct MetricsText {
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  enum Kind: String {
    case counter, gauge, histogram
  }

  private(set) var text = ""

  /// Begins a metric; its samples follow.
  mutating func family(_ name: String, _ kind: Kind, _ help: String) {
    text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
  }

  mutating func sample(_ name: String, _ labels: [(String, String)] = [], _ value: Int) {
    sample(name, labels, text: String(value))
  }

  mutating func sample(_ name: String, _ labels: [(String, String)] = [], seconds: Double) {
    sample(name, labels, text: String(seconds))
  }

  /// A metric with one sample.
  mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Int) {
    family(name, kind, help)
    sample(name, [], value)
  }

  mutating func histogram(_ name: String, _ labels: [(String, String)], _ histogram: Histogram) {
    var below = 0
    for (bound, count) in zip(Histogram.bounds, histogram.counts) {
      below += count
      sample("\(name)_bucket", labels + [("le", bound.text)], below)
    }
    sample("\(name)_bucket", labels + [("le", "+Inf")], histogram.count)
    sample("\(name)_sum", labels, seconds: Double(histogram.nanoseconds) / 1e9)
    sample("\(name)_count", labels, histogram.count)
  }

  private mutating func sample(_ name: String, _ labels: [(String, String)], text value: String) {
    text += name
    if !labels.isEmpty {
      text += "{" + labels.map { "\($0)=\"\(Self.escaped($1, quotes: true))\"" }.joined(separator: ",") + "}"
    }
    text += " \(value)\n"
  }

  private static func escaped(_ value: String, quotes: Bool) -> String {
    var result = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }
}

/// How long something took, in fixed buckets.
struct Histogram: Sendable {
  struct Bound: Sendable {
    let nanoseconds: Int64
    /// In seconds, as it is written.
    let text: String
  }

  static let bounds = [
    Bound(nanoseconds: 100_000, text: "0.0001"), Bound(nanoseconds: 250_000, text: "0.00025"),
    Bound(nanoseconds: 500_000, text: "0.0005"), Bound(nanoseconds: 1_000_000, text: "0.001"),
    Bound(nanoseconds: 2_500_000, text: "0.0025"), Bound(nanoseconds: 5_000_000, text: "0.005"),
    Bound(nanoseconds: 10_000_000, text: "0.01"), Bound(nanoseconds: 50_000_000, text: "0.05"),
    Bound(nanoseconds: 250_000_000, text: "0.25"), Bound(nanoseconds: 1_000_000_000, text: "1"),
    Bound(nanoseconds: 10_000_000_000, text: "10"), Bound(nanoseconds: 60_000_000_000, text: "60"),
  ]

  /// By bound; what exceeds the last is only in `count`.
  private(set) var counts = [Int](repeating: 0, count: Histogram.bounds.count)
  private(set) var count = 0
  private(set) var nanoseconds: Int64 = 0

  mutating func record(nanoseconds time: Int64) {
    count += 1
    nanoseconds += time
    if let bucket = Self.bounds.firstIndex(where: { time <= $0.nanoseconds }) { counts[bucket] += 1 }
  }
}
