/// Physical processors as xl writes them: `all`, or numbers and ranges joined by commas, where one with `^` before
/// it takes away from what stands before it: `0-3,^2`.
public struct CPUList: Sendable, Equatable {
  /// In order, each once. Nil: all that the host has.
  public let numbers: [Int]?

  /// Xen's own limit (NR_CPUS, CONFIG_NR_CPUS's upper end).
  public static let highest = 16_383
  private static let longestText = 1024

  /// - Throws: `invalid_argument`, naming `field`, for text that is no list or leaves no processor.
  public init(_ text: String, field: String) throws(APIError) {
    guard text.utf8.count <= Self.longestText else {
      throw .refused(field, "longer than \(Self.longestText) bytes", text)
    }
    if text == "all" {
      numbers = nil
      return
    }
    var chosen: [Bool] = []
    for part in text.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
      let isExcluded = part.first == UInt8(ascii: "^")
      guard let range = Self.range(isExcluded ? part.dropFirst() : part) else {
        throw .refused(field, "expected processors, as 0-3,^2, or all", text)
      }
      if chosen.count <= range.upperBound {
        chosen += [Bool](repeating: false, count: range.upperBound + 1 - chosen.count)
      }
      for number in range { chosen[number] = !isExcluded }
    }
    let numbers = chosen.indices.filter { chosen[$0] }
    guard !numbers.isEmpty else { throw .refused(field, "leaves no processor", text) }
    self.numbers = numbers
  }

  private static func range(_ text: Substring.UTF8View) -> ClosedRange<Int>? {
    let ends = text.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard 1...2 ~= ends.count, let first = number(ends[0]), let last = number(ends[ends.count - 1]), first <= last
    else { return nil }
    return first...last
  }

  private static func number(_ digits: Substring.UTF8View) -> Int? {
    guard 1...5 ~= digits.count else { return nil }
    var value = 0
    for digit in digits {
      guard isDigit(digit) else { return nil }
      value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return value <= highest ? value : nil
  }
}
