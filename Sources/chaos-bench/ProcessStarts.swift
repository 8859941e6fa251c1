extension Measurement {
  /// What a start of a process costs here, from before its start to its exit.
  static var processStarts: [Measurement] {
    [
      start(Heading("true", .milliseconds, "dynamic /bin/true, start to exit")) { _ throws(Failure) in
        try Program("/bin/true")
      },
      start(Heading("static-true", .milliseconds, "static C true, start to exit")) { bench throws(Failure) in
        try Program(bench.options.staticTrue)
      },
      start(Heading("chaos-version", .milliseconds, "chaos --version, start to exit")) { _ throws(Failure) in
        try Program("chaos", "--version")
      },
      start(Heading("chaos-ask", .milliseconds, "chaos version: one empty call, start to exit")) {
        bench throws(Failure) in
        try Program("chaos", "version", "--socket", bench.options.socket)
      },
    ]
  }

  private static func start(
    _ heading: Heading, _ program: @escaping (Workbench) throws(Failure) -> Program
  ) -> Measurement {
    Measurement([heading], samples: 100, quick: 20) { bench, samples in
      let program = try program(bench)
      try program.run()
      return [Figure(Sample(try (0..<samples).map { _ in try program.run().milliseconds }))]
    }
  }
}
