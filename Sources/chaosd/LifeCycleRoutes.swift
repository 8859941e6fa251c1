import ChaosAPI
import Toolstack

/// What is done to guests beyond creating and destroying them, and what is told of them.
extension Routes {
  func change(_ guest: String, _ body: [UInt8]) throws -> Reply {
    let change = try GuestChange(json: try json(body), at: "")
    return .answer { blocking in Answer(try toolstack.change(guest, change, blocking)) }
  }

  func rename(_ guest: String, _ body: [UInt8]) throws -> Reply {
    let name = try RenameRequest(json: try json(body), at: "").name
    return .answer { blocking in Answer(try toolstack.rename(guest, to: name, blocking)) }
  }

  func reboot(_ guest: String, _ query: Query) throws -> Reply {
    let force = try query.flag("force")
    return .answer { blocking in
      try toolstack.reboot(guest, force: force, blocking)
      return force ? Answer(try toolstack.info(guest, blocking)) : Answer(status: .accepted)
    }
  }

  func resetVif(_ guest: String, _ index: String) throws -> Reply {
    guard let slot = Int(index) else { throw APIError.refused("index", "not a number", index) }
    return .answer { blocking in Answer(try toolstack.resetVif(slot, of: guest, blocking)) }
  }

  func restart(_ guest: String) -> Reply {
    .answer { blocking in Answer(try toolstack.restart(guest, blocking)) }
  }

  /// The guests, and with `all` those that have ended too.
  func list(_ query: Query) throws -> Reply {
    let isAll = try query.flag("all")
    return .looking { blocking in
      Answer(isAll ? try toolstack.listAll(blocking) : GuestList(guests: try toolstack.list(blocking)))
    }
  }

  func statistics() -> Reply { .looking { blocking in Answer(try toolstack.statistics(blocking)) } }

  // MARK: Events

  /// A line (application/x-ndjson) for each event; with `follow` also for those to come, until the client leaves.
  func events(_ query: Query) throws -> Reply {
    let start = try query["since"].map { text throws(APIError) in try EventStart(text) }
    let reference = query["ref"]
    let follow = try query.flag("follow")
    let journal = toolstack.journal
    let permit = try edge.waits.take()
    return .blocking { _ in
      let changes = journal.changes()
      return .stream(
        ReplyStream(
          contentType: "application/x-ndjson",
          produce: { send in
            var start = start
            for await _ in changes.stream {
              let events = journal.events(since: start, of: reference)
              if let last = events.last { start = .after(number: last.number) }
              let lines = events.flatMap { $0.json.compact + [UInt8(ascii: "\n")] }
              if !lines.isEmpty { try await send(lines) }
              if !follow { break }
            }
            withExtendedLifetime(permit) {}
          }, cancel: changes.stop))
    }
  }
}
