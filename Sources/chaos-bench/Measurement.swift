/// Something measured in one go. It has a row for each heading.
struct Measurement {
  let headings: [Heading]
  let samples: Int
  let quickSamples: Int
  /// Takes so many samples; gives a figure for each heading.
  let measure: (_ bench: Workbench, _ samples: Int) throws -> [Figure]

  init(
    _ headings: [Heading], samples: Int, quick: Int,
    _ measure: @escaping (_ bench: Workbench, _ samples: Int) throws -> [Figure]
  ) {
    self.headings = headings
    self.samples = samples
    quickSamples = quick
    self.measure = measure
  }

  /// In the order that they are taken and reported.
  static var all: [Measurement] {
    processStarts + createsByCommand + callsToAPI + counts + packets + memoryFloor + cpuByPhase + lans
      + burst + flatness + recovery + sustained + createsByXL + sustainedByXL
  }

  /// Those of them that have a wanted row.
  static func chosen(_ names: [String]) throws(Failure) -> [Measurement] {
    guard !names.isEmpty else { return all }
    let known = all.flatMap(\.headings).map(\.name)
    for name in names where !known.contains(name) { throw Failure("no row '\(name)'; --list shows them") }
    return all.filter { $0.headings.contains { names.contains($0.name) } }
  }

  /// Never fails: what goes wrong is what the rows say.
  func rows(_ bench: Workbench, _ options: Options) -> [Row] {
    let count = options.samples ?? (options.isQuick ? quickSamples : samples)
    do {
      let figures = try measure(bench, count)
      return zip(headings, figures).map { Row(heading: $0, result: .success($1)) }
    } catch {
      return headings.map { Row(heading: $0, result: .failure(Failure(error))) }
    }
  }
}
