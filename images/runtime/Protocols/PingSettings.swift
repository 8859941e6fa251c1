/// What to ping and how, from a command line.
struct PingSettings {
  let target: IPv4Address
  /// Requests to send; 0: for ever.
  let count: UInt64
  /// Bytes of payload.
  let size: Int
  /// Nanoseconds from one request to the next.
  let interval: UInt64
  let mayFragment: Bool

  /// Which of the values is wrong.
  enum Defect: Error, Equatable {
    case target
    case count
    case size(largest: Int)
    case interval
    case mayFragment
  }

  /// Nil where the command line has no `ping=`.
  ///
  /// - Parameter largestSize: the payload that still fits a frame buffer.
  init?(_ words: Words, largestSize: Int) throws(Defect) {
    guard let text = words.value(of: "ping") else { return nil }
    guard let address = text.dottedIPv4, address.isUnicast else { throw .target }
    target = address

    count = UInt64(try Self.number("count", in: words, 0...1_000_000_000, default: 0, orThrow: .count))
    size = try Self.number(
      "size", in: words, 0...max(largestSize, 0), default: 56, orThrow: .size(largest: largestSize))
    let milliseconds = try Self.number(
      "interval", in: words, 1...3_600_000, default: 200, orThrow: .interval)
    interval = UInt64(milliseconds) * 1_000_000

    guard let flag = words.value(of: "df") else {
      mayFragment = false
      return
    }
    guard flag.spells("yes") || flag.spells("no") else { throw .mayFragment }
    mayFragment = flag.spells("no")
  }

  private static func number(
    _ key: StaticString, in words: Words, _ range: ClosedRange<Int>, default standard: Int,
    orThrow defect: Defect
  ) throws(Defect) -> Int {
    guard let text = words.value(of: key) else { return standard }
    guard let number = text.decimal(in: range) else { throw defect }
    return number
  }
}

extension TextOutput {
  /// "size=9999: not a number from 0 to 1994"
  mutating func write(_ defect: PingSettings.Defect, in words: Words) {
    let key: StaticString =
      switch defect {
      case .target: "ping"
      case .count: "count"
      case .size: "size"
      case .interval: "interval"
      case .mayFragment: "df"
      }
    write(key)
    write("=")
    if let value = words.value(of: key) { write(value) }
    switch defect {
    case .target: write(": not an IPv4 address of a host")
    case .count: write(": not a number from 0 to 1000000000")
    case .size(let largest):
      write(": not a number from 0 to ")
      writeDecimal(UInt64(largest))
    case .interval: write(": not a number from 1 to 3600000")
    case .mayFragment: write(": not yes or no")
    }
  }
}
