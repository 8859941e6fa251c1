/// Moments as the API writes them: RFC 3339 in UTC, `2026-03-01T12:00:00Z`, with a fraction where it matters.
public enum Timestamp {
  /// `seconds` since 1970; milliseconds are written when they are not zero. Years beyond 0 to 9999 have no
  /// RFC 3339 form: their seconds are clamped.
  public static func format(seconds: Int, milliseconds: Int = 0) -> String {
    let clamped = min(max(seconds, -62_167_219_200), 253_402_300_799)
    var (days, time) = clamped.quotientAndRemainder(dividingBy: 86_400)
    if time < 0 {
      days -= 1
      time += 86_400
    }
    let (year, month, day) = date(ofDay: days)
    let fraction = milliseconds == 0 ? "" : "." + padded(milliseconds % 1000, 3)
    return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(time / 3600, 2))"
      + ":\(padded(time / 60 % 60, 2)):\(padded(time % 60, 2))\(fraction)Z"
  }

  /// Seconds since 1970, a fraction dropped; nil when the text is not RFC 3339 in UTC.
  public static func seconds(_ text: String) -> Int? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes.last == UInt8(ascii: "Z") else { return nil }
    let marks: [(Int, UInt8)] = [
      (4, UInt8(ascii: "-")), (7, UInt8(ascii: "-")), (10, UInt8(ascii: "T")),
      (13, UInt8(ascii: ":")), (16, UInt8(ascii: ":")),
    ]
    guard marks.allSatisfy({ bytes[$0.0] == $0.1 }) else { return nil }
    if bytes.count > 20 {
      let fraction = bytes[20..<bytes.count - 1]
      guard bytes[19] == UInt8(ascii: "."), !fraction.isEmpty, fraction.allSatisfy(isDigit) else {
        return nil
      }
    }
    guard let year = number(bytes[0..<4], in: 0...9999),
      let month = number(bytes[5..<7], in: 1...12),
      let day = number(bytes[8..<10], in: 1...31),
      let hour = number(bytes[11..<13], in: 0...23),
      let minute = number(bytes[14..<16], in: 0...59),
      let second = number(bytes[17..<19], in: 0...60)
    else { return nil }
    let days = dayNumber(year: year, month: month, day: day)
    guard date(ofDay: days) == (year, month, day) else { return nil }
    return days * 86_400 + hour * 3600 + minute * 60 + second
  }

  private static func number(_ digits: ArraySlice<UInt8>, in range: ClosedRange<Int>) -> Int? {
    var value = 0
    for digit in digits {
      guard isDigit(digit) else { return nil }
      value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return range.contains(value) ? value : nil
  }

  private static func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }

  // Both by counting in eras of 400 years (146,097 days) from 1 March of year 0, so that the leap day is the
  // last of its year. 719,468 days lie between that and 1 January 1970.

  private static func dayNumber(year: Int, month: Int, day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func date(ofDay number: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = number + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
  }
}
