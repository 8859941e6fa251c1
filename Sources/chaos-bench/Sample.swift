/// The values that one row measured.
struct Sample {
  let values: [Double]
  /// How many observations they come from: an average is one value of many.
  let count: Int

  init(_ values: [Double]) {
    self.values = values.sorted()
    count = values.count
  }

  init(average: Double, of count: Int) {
    values = [average]
    self.count = count
  }

  var minimum: Double { values.first ?? .nan }
  var maximum: Double { values.last ?? .nan }

  /// The value that all but one in a hundred do not exceed; of fewer than a hundred values the largest.
  var percentile99: Double {
    guard !values.isEmpty else { return .nan }
    return values[min(values.count - 1, (values.count * 99 + 99) / 100 - 1)]
  }

  var median: Double {
    guard !values.isEmpty else { return .nan }
    let middle = values.count / 2
    return values.count.isMultiple(of: 2) ? (values[middle - 1] + values[middle]) / 2 : values[middle]
  }
}
