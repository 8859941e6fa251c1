import ChaosAPI

enum Unit: String {
  case milliseconds = "ms"
  case microseconds = "us"
  case perSecond = "/s"
  case count = "count"
  case mebibytes = "MiB"

  /// More is better.
  var isRate: Bool { self == .perSecond }
}

/// What a row is: its name, which `--only` and the targets use, and what it says of itself.
struct Heading {
  let name: String
  let unit: Unit
  let summary: String

  init(_ name: String, _ unit: Unit, _ summary: String) {
    self.name = name
    self.unit = unit
    self.summary = summary
  }
}

/// What a measurement found for one heading.
struct Figure {
  let sample: Sample
  let note: String?

  init(_ sample: Sample, note: String? = nil) {
    self.sample = sample
    self.note = note
  }
}

struct Row {
  let heading: Heading
  let result: Result<Figure, Failure>

  var figure: Figure? { try? result.get() }

  var failure: Failure? {
    if case .failure(let failure) = result { failure } else { nil }
  }
}

/// The rows of a run and how they compare.
struct Report {
  var rows: [Row] = []

  var hasFailures: Bool { rows.contains { $0.failure != nil } }

  var comparisons: [Comparison] {
    Target.all.compactMap { target in
      guard let own = self[target.row] else { return nil }
      guard let peer = target.peer else { return Comparison(target, own, nil) }
      return self[peer].map { Comparison(target, own, $0) }
    }
  }

  private subscript(name: String) -> Row? {
    rows.first { $0.heading.name == name && $0.figure != nil }
  }

  // MARK: For people

  var text: String {
    var table = TextTable(["NAME", "SAMPLES", "MEDIAN", "P99", "MIN", "MAX", "UNIT", ""], left: [0, 6, 7])
    for row in rows { table.add(Self.cells(row)) }
    let compared = comparisons
    guard !compared.isEmpty else { return table.text }
    var second = TextTable(["NAME", "AGAINST", "RATIO", "TARGET", "MET"], left: [0, 1, 3, 4])
    for comparison in compared { second.add(comparison.cells) }
    return table.text + "\n" + second.text
  }

  private static func cells(_ row: Row) -> [String] {
    switch row.result {
    case .failure(let failure): return [row.heading.name, "", "", "", "", "", "", "FAILED: \(failure)"]
    case .success(let figure):
      let sample = figure.sample
      return [
        row.heading.name, "\(sample.count)", decimal(sample.median), decimal(sample.percentile99),
        decimal(sample.minimum), decimal(sample.maximum), row.heading.unit.rawValue, figure.note ?? "",
      ]
    }
  }

  // MARK: For machines

  var json: JSON {
    let compared = comparisons
    return [
      "rows": .array(rows.map { row in Self.json(row, compared.filter { $0.target.row == row.heading.name }) })
    ]
  }

  private static func json(_ row: Row, _ comparisons: [Comparison]) -> JSON {
    var object: JSONObject = [
      "name": .string(row.heading.name), "summary": .string(row.heading.summary),
      "unit": .string(row.heading.unit.rawValue),
    ]
    switch row.result {
    case .failure(let failure): object["error"] = .string(failure.description)
    case .success(let figure):
      object["samples"] = .number(figure.sample.count)
      object["median"] = .double(figure.sample.median)
      object["p99"] = .double(figure.sample.percentile99)
      object["min"] = .double(figure.sample.minimum)
      object["max"] = .double(figure.sample.maximum)
      if let note = figure.note { object["note"] = .string(note) }
      object["comparisons"] = .array(comparisons.map(\.json))
    }
    return .object(object)
  }
}

/// Rows under headings, each column as wide as its widest cell.
struct TextTable {
  private var rows: [[String]]
  private let left: Set<Int>

  /// - Parameter left: the columns that are aligned to the left.
  init(_ headings: [String], left: Set<Int>) {
    rows = [headings]
    self.left = left
  }

  mutating func add(_ cells: [String]) { rows.append(cells) }

  var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.indices.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        return left.contains(column) ? row[column] + padding : padding + row[column]
      }
      var line = cells.joined(separator: "  ")
      while line.hasSuffix(" ") { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}

/// Three or four significant digits.
func decimal(_ value: Double) -> String {
  guard value.isFinite else { return "-" }
  let digits = abs(value) >= 1000 ? 0 : abs(value) >= 100 ? 1 : abs(value) >= 1 ? 2 : 3
  let scale = [1, 10, 100, 1000][digits]
  let scaled = Int((abs(value) * Double(scale)).rounded())
  let sign = value < 0 && scaled > 0 ? "-" : ""
  guard digits > 0 else { return "\(sign)\(scaled)" }
  let fraction = String(scaled % scale)
  return "\(sign)\(scaled / scale).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}
