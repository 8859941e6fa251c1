/// The date and time as RFC 867 suggests it, in UTC: "Friday, November 20, 2026 23:24:11-UTC" and CR LF.
enum Daytime {
  /// - Parameter seconds: since 1970-01-01T00:00:00Z.
  /// - Returns: bytes written; nil: they do not fit.
  static func write(_ seconds: UInt64, into bytes: Bytes) -> Int? {
    let days = seconds / 86_400
    let second = seconds % 86_400
    let date = civilDate(daysSince1970: days)

    var text = TextWriter(bytes)
    text.write(weekday(days))
    text.write(", ")
    text.write(monthName(date.month))
    text.write(" ")
    text.writeDecimal(date.day)
    text.write(", ")
    text.writeDecimal(date.year)
    text.write(" ")
    text.writeTwoDigits(second / 3600)
    text.write(":")
    text.writeTwoDigits(second / 60 % 60)
    text.write(":")
    text.writeTwoDigits(second % 60)
    text.write("-UTC\r\n")
    return text.overflowed ? nil : text.count
  }

  /// The Gregorian date. Years are counted from March, so that the leap day ends one.
  private static func civilDate(
    daysSince1970 days: UInt64
  ) -> (year: UInt64, month: UInt64, day: UInt64) {
    let shifted = days + 719_468  // days since 0000-03-01
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (
      year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month: month,
      day: dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    )
  }

  private static func weekday(_ days: UInt64) -> StaticString {
    switch days % 7 {
    case 0: "Thursday"
    case 1: "Friday"
    case 2: "Saturday"
    case 3: "Sunday"
    case 4: "Monday"
    case 5: "Tuesday"
    default: "Wednesday"
    }
  }

  private static func monthName(_ month: UInt64) -> StaticString {
    switch month {
    case 1: "January"
    case 2: "February"
    case 3: "March"
    case 4: "April"
    case 5: "May"
    case 6: "June"
    case 7: "July"
    case 8: "August"
    case 9: "September"
    case 10: "October"
    case 11: "November"
    default: "December"
    }
  }
}
