import ChaosAPI

extension Measurement {
  /// The least memory with which the image works.
  static var memoryFloor: [Measurement] {
    let heading = Heading(
      "memory-floor", .mebibytes, "the least memory with which a guest with one vif answers UDP")
    return [
      Measurement([heading], samples: 1, quick: 1) { bench, _ in
        try bench.usePool(.none)
        var least: Int?
        for memory in [3, 2, 1] {
          if let problem = try bench.problem(withMemory: memory) {
            guard let least else { throw Failure("with \(memory) MiB: \(problem)") }
            return [Figure(Sample([Double(least)]), note: "with \(memory) MiB: \(problem)")]
          }
          least = memory
        }
        return [Figure(Sample([1]))]
      }
    ]
  }
}

extension Workbench {
  /// Why a guest of so little memory does not work; nil when it does.
  fileprivate func problem(withMemory memory: Int) throws -> String? {
    let guest = newGuest()
    do throws(APIError) {
      _ = try client.create(guest.request(pool: false, memoryMiB: memory))
    } catch {
      // What says that nobody could be asked is no answer.
      if error.code == .unavailable || error.code == .forbidden { throw error }
      return error.message
    }
    let echo = try UDPEcho(guest.address, limit: 200)
    let answers = echo.waitUntilAnswered(seconds: 5)
    try destroy(guest)
    return answers ? nil : "it does not answer"
  }
}
