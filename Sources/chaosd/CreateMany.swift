import ChaosAPI
import Threads
import Toolstack

extension Routes {
  /// Answers a create with a count: a line (application/x-ndjson) for each guest as it is made and, if a later
  /// one fails, a last line with the error. What is refused before the first is made gets a plain error answer.
  func createMany(_ request: CreateRequest) -> Reply {
    .blocking { blocking in
      let accepted = try toolstack.accept(request, blocking)
      let (lines, continuation) = AsyncStream.makeStream(of: [UInt8].self)
      // A task of its own: what was accepted is finished even if the client goes away.
      Task(executorPreference: edge.tasks) {
        do {
          try await toolstack.createAll(accepted) { make in
            let result = try await whenThereIsRoom { try await edge.pool.run(make) }
            continuation.yield(Self.line(result.json))
            return result
          }
        } catch {
          continuation.yield(Self.line(APIError(error).body))
        }
        continuation.finish()
      }
      return .stream(
        ReplyStream(
          contentType: "application/x-ndjson",
          produce: { send in for await line in lines { try await send(line) } }, cancel: {}))
    }
  }

  /// Tries again for a while: guests that are made already need not go because others keep the pool busy.
  private func whenThereIsRoom<Result>(_ body: () async throws -> Result) async throws -> Result {
    for _ in 0..<200 {
      do {
        return try await body()
      } catch is BlockingPool.Full {
        try await edge.tasks.sleep(for: .milliseconds(50))
      }
    }
    return try await body()
  }

  private static func line(_ value: JSON) -> [UInt8] { value.compact + [UInt8(ascii: "\n")] }
}
