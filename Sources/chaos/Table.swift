/// Rows under headings, each column as wide as its widest cell.
struct Table {
  enum Alignment {
    case left
    case right
  }

  private let columns: [(heading: String, alignment: Alignment)]
  private var rows: [[String]] = []

  init(_ columns: [(heading: String, alignment: Alignment)]) {
    self.columns = columns
  }

  /// A cell for each column. Empty ones are shown as `-`, so that columns can be counted by scripts.
  mutating func add(_ cells: [String]) {
    rows.append(cells.map { $0.isEmpty ? "-" : plain($0) })
  }

  var text: String {
    var widths = columns.map { $0.heading.count }
    for row in rows {
      for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
    }
    return ([columns.map { $0.heading }] + rows).map { line($0, widths) }.joined()
  }

  private func line(_ cells: [String], _ widths: [Int]) -> String {
    var line = ""
    for (column, cell) in cells.enumerated() {
      let padding = String(repeating: " ", count: widths[column] - cell.count)
      let isLast = column == cells.count - 1
      if column > 0 { line += "  " }
      switch columns[column].alignment {
      case .left: line += isLast ? cell : cell + padding
      case .right: line += padding + cell
      }
    }
    return line + "\n"
  }
}

/// Names and values, one pair a line, the values under one another.
struct FactSheet {
  private var facts: [(name: String, value: String)] = []

  mutating func add(_ name: String, _ value: String) {
    facts.append((name, plain(value)))
  }

  var text: String {
    let width = facts.map { $0.name.count }.max() ?? 0
    return facts.map { fact in
      let padding = String(repeating: " ", count: width - fact.name.count)
      return "\(fact.name):\(padding) \(fact.value)\n"
    }.joined()
  }
}

/// A span of time with its two largest units: `3d4h`, `5m12s`.
func shortDuration(seconds: Int) -> String {
  switch max(0, seconds) {
  case let time where time >= 86_400: "\(time / 86_400)d\(time / 3600 % 24)h"
  case let time where time >= 3600: "\(time / 3600)h\(time / 60 % 60)m"
  case let time where time >= 60: "\(time / 60)m\(time % 60)s"
  case let time: "\(time)s"
  }
}

/// A number of bytes in the unit that leaves one to four digits.
func shortSize(bytes: Int) -> String {
  if bytes >= 10 << 20 { return "\(bytes >> 20) MiB" }
  if bytes >= 10 << 10 { return "\(bytes >> 10) KiB" }
  return "\(bytes) B"
}
