import ChaosAPI
import Glibc

/// Writes all of it; what nobody takes is lost.
func write(_ bytes: some Sequence<UInt8>, to descriptor: Int32) {
  var rest = Array(bytes)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { return }
  }
}

/// What is being done, for whoever waits.
func progress(_ line: String) {
  write("\(line)\n".utf8, to: STDERR_FILENO)
}

func run(_ options: Options) throws -> Int32 {
  let measurements = try Measurement.chosen(options.only)
  let bench = Workbench(options)
  try bench.setUp()
  defer { bench.tearDown() }
  var report = Report()
  for measurement in measurements {
    progress(measurement.headings.map(\.name).joined(separator: ", "))
    let rows = measurement.rows(bench, options)
    report.rows += rows.filter { options.only.isEmpty || options.only.contains($0.heading.name) }
    bench.clear()
  }
  write(report.text.utf8, to: options.wantsJSON ? STDERR_FILENO : STDOUT_FILENO)
  if options.wantsJSON { write(report.json.pretty, to: STDOUT_FILENO) }
  return report.hasFailures ? 1 : 0
}

func listing() -> String {
  var table = TextTable(["NAME", "UNIT", "WHAT"], left: [0, 1, 2])
  for heading in Measurement.all.flatMap(\.headings) {
    table.add([heading.name, heading.unit.rawValue, heading.summary])
  }
  return table.text
}

func main() -> Int32 {
  let options: Options
  do throws(Failure) {
    options = try Options(Array(CommandLine.arguments.dropFirst()))
    _ = try Measurement.chosen(options.only)
  } catch {
    progress("chaos-bench: \(error)")
    return 2
  }
  if options.showsHelp || options.lists {
    write((options.showsHelp ? Options.help : listing()).utf8, to: STDOUT_FILENO)
    return 0
  }
  do {
    return try run(options)
  } catch {
    progress("chaos-bench: \(Failure(error))")
    return 1
  }
}

exit(main())
