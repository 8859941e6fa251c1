import ChaosAPI
import Glibc
import ImageStore
import NIOHTTP1
import Threads
import Toolstack

/// The HTTP API (docs/api/openapi.yaml): what each path does, in terms of the toolstack.
///
/// On the event loop stay creates that find a hot shell and join no LAN, whose time is measured and less than a
/// switch of threads, and what only reads memory. All that may wait (for a guest's queue, the back-end, the
/// hypervisor's locks, netlink, a file's lock, the disk) goes to the pool of blocking threads.
struct Routes: Router {
  let toolstack: Toolstack
  let settings: PoolSettings
  let edge: Edge
  let health: HealthChecks

  /// - Parameter body: the whole body, for all but uploads.
  func reply(to request: RequestHead, body: [UInt8]) throws -> Reply {
    guard request.path.first == "v1" else { throw unknown(request) }
    let rest = Array(request.path.dropFirst())
    switch (rest.first, rest.count) {
    case ("version", 1): return try version(request)
    case ("host", 1): return try host(request)
    case ("counters", 1): return try counters(request)
    case ("stats", 1) where request.method == .GET: return statistics()
    case ("events", 1) where request.method == .GET: return try events(request.query)
    case ("metrics", 1): return try metrics(request)
    case ("health", 1): return try health(request)
    case ("guests", 1): return try guests(request, body)
    case ("guests", 2): return try guest(request, rest[1], body)
    case ("guests", 3): return try guest(request, rest[1], rest[2], body)
    case ("guests", 4) where rest[2] == "vifs": return try vif(request, rest[1], rest[3])
    case ("guests", 5) where request.method == .POST && rest[2] == "vifs" && rest[4] == "reset":
      return try resetVif(rest[1], rest[3])
    case ("lans", 1): return try lans(request, body)
    case ("lans", 2): return try lan(request, rest[1])
    case ("lans", 3...4): return try lan(request, rest[1], rest[2], rest.count == 4 ? rest[3] : nil, body)
    case ("evpn", 1): return try evpn(request, body)
    case ("pool", 1...2): return try pool(request, rest.count == 2 ? rest[1] : nil, body)
    case ("images", 1...2): return try images(request, rest.count == 2 ? rest[1] : nil)
    default: throw unknown(request)
    }
  }

  func unknown(_ request: RequestHead) -> APIError {
    APIError(.notFound, "no such resource: \(request.method) /\(request.path.joined(separator: "/"))")
  }

  func json(_ body: [UInt8]) throws(APIError) -> JSON {
    do throws(JSONError) { return try JSON(parsing: body) } catch { throw APIError(error) }
  }

  // MARK: Host

  private func version(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .now(Answer(try toolstack.version(Product.version)))
  }

  private func host(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .looking { blocking in Answer(try toolstack.host(blocking)) }
  }

  private func counters(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .now(Answer(toolstack.counters))
  }

  // MARK: Guests

  private func guests(_ request: RequestHead, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return try list(request.query)
    case .POST: return try create(try CreateRequest(json: try json(body), at: ""))
    case .DELETE:
      return .answer { blocking in Answer(DestroyedCount(destroyed: try toolstack.destroyAll(blocking))) }
    default: throw unknown(request)
    }
  }

  private func create(_ request: CreateRequest) throws -> Reply {
    if request.count != nil { return createMany(request) }
    if let made = try toolstack.createAtOnce(request) { return .now(Answer(made, status: .created)) }
    return .answer { blocking in Answer(try toolstack.create(request, blocking), status: .created) }
  }

  private func guest(_ request: RequestHead, _ guest: String, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return .looking { blocking in Answer(try toolstack.info(guest, blocking)) }
    case .PATCH: return try change(guest, body)
    case .DELETE:
      return .answer { blocking in
        try toolstack.destroy(guest, blocking)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func guest(
    _ request: RequestHead, _ guest: String, _ action: String, _ body: [UInt8]
  ) throws -> Reply {
    switch (request.method, action) {
    case (.POST, "pause"): return .answer { blocking in Answer(try toolstack.pause(guest, blocking)) }
    case (.POST, "unpause"): return .answer { blocking in Answer(try toolstack.unpause(guest, blocking)) }
    case (.POST, "rename"): return try rename(guest, body)
    case (.POST, "reboot"): return try reboot(guest, request.query)
    case (.POST, "restart"): return restart(guest)
    case (.POST, "shutdown"): return try shutDown(request.query, guest)
    case (.GET, "wait"): return try wait(request.query, guest)
    case (.GET, "log"):
      return try console(guest, follow: try request.query.flag("follow"), orKept: true)
    case (.GET, "console"): return try console(guest, follow: true)
    case (.POST, "dump"): return try dump(guest, request.query)
    case (.POST, "vifs"):
      let vif = try VifRequest(json: try json(body), at: "")
      return .answer { blocking in Answer(try toolstack.addVif(vif, to: guest, blocking), status: .created) }
    case (.POST, "console"):
      return .answer { blocking in
        try toolstack.type(body, to: guest, blocking)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func vif(_ request: RequestHead, _ guest: String, _ index: String) throws -> Reply {
    guard request.method == .DELETE else { throw unknown(request) }
    guard let slot = Int(index) else { throw APIError.refused("index", "not a number", index) }
    return .answer { blocking in
      try toolstack.removeVif(slot, from: guest, blocking)
      return Answer(status: .noContent)
    }
  }

  private func shutDown(_ query: Query, _ guest: String) throws -> Reply {
    let seconds = try query.seconds("timeout", default: 30)
    guard try query.flag("wait") else {
      return .answer { blocking in
        try toolstack.shutDown(guest, blocking)
        return Answer(status: .accepted)
      }
    }
    return .waiting {
      _ = try await toolstack.shutDownAndWait(guest, seconds: seconds, on: edge.pool)
      return Answer(status: .noContent)
    }
  }

  private func wait(_ query: Query, _ guest: String) throws -> Reply {
    let seconds = try query.seconds("timeout", default: 30)
    switch try WaitGoal(query["for"] ?? WaitGoal.ready.rawValue) {
    case .ready:
      return .waiting { Answer(try await toolstack.waitUntilReady(guest, seconds: seconds)) }
    case .stopped:
      return .waiting { Answer(EndResult(ended: try await toolstack.waitUntilEnded(guest, seconds: seconds))) }
    case .gone:
      return .waiting { Answer(EndResult(ended: try await toolstack.waitUntilGone(guest, seconds: seconds))) }
    }
  }

  /// Shows a guest's console.
  ///
  /// - Parameter orKept: of a guest that has ended, what is kept of its output.
  private func console(_ guest: String, follow: Bool, orKept: Bool = false) throws -> Reply {
    let permit = try edge.consoles.take()
    return .blocking { blocking in
      if orKept, let kept = try toolstack.endedLog(guest, blocking) {
        return .whole(Answer(text: kept, contentType: "application/octet-stream"))
      }
      let console = try ConsoleStream(
        adopting: try toolstack.openConsole(guest, follow: follow, input: false, blocking))
      return .stream(
        ReplyStream(
          contentType: "application/octet-stream",
          produce: { send in
            defer { console.close() }
            for await bytes in console.output {
              try await send(bytes)
              console.proceed()
            }
            withExtendedLifetime(permit) {}
          }, endsWithInput: follow, cancel: { console.close() }))
    }
  }

  /// Sends a dump of a guest, which stands still as long as that takes.
  private func dump(_ guest: String, _ query: Query) throws -> Reply {
    let format = try DumpFormat(query["format"] ?? DumpFormat.elf.rawValue)
    let permit = try edge.dumps.take()
    return .blocking { blocking in
      let dump = try toolstack.dump(guest, as: format, blocking)
      let (pool, tasks) = (edge.pool, edge.tasks)
      return .stream(
        ReplyStream(
          contentType: "application/octet-stream", length: dump.length, stall: edge.limits.dumpStall,
          produce: { send in
            do {
              while let bytes = try await pool.run({ blocking in try dump.next(blocking) }) {
                try await send(bytes)
              }
            } catch {
              await dump.end(on: pool)
              throw error
            }
            await dump.end(on: pool)
            withExtendedLifetime(permit) {}
          }, cancel: { Task(executorPreference: tasks) { await dump.end(on: pool) } }))
    }
  }

  // MARK: LANs

  private func lans(_ request: RequestHead, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return .looking { blocking in Answer(try toolstack.listLANs(blocking)) }
    case .POST:
      let lan = try LANRequest(json: try json(body), at: "")
      return .answer { blocking in Answer(try toolstack.createLAN(lan, blocking), status: .created) }
    default: throw unknown(request)
    }
  }

  private func lan(_ request: RequestHead, _ name: String) throws -> Reply {
    switch request.method {
    case .GET: return .answer { blocking in Answer(try toolstack.lanInfo(name, blocking)) }
    case .DELETE:
      let force = try request.query.flag("force")
      return .answer { blocking in
        try toolstack.deleteLAN(name, force: force, blocking)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func lan(
    _ request: RequestHead, _ name: String, _ part: String, _ element: String?, _ body: [UInt8]
  ) throws -> Reply {
    switch (request.method, part, element) {
    case (.GET, "peers", nil): return .answer { blocking in Answer(try toolstack.peers(of: name, blocking)) }
    case (.POST, "peers", nil):
      let peer = try LANPeer(json: try json(body), at: "")
      return .answer { blocking in Answer(try toolstack.addPeer(peer, to: name, blocking), status: .created) }
    case (.DELETE, "peers", let address?):
      return .answer { blocking in
        try toolstack.removePeer(address, from: name, blocking)
        return Answer(status: .noContent)
      }
    case (.POST, "interfaces", nil):
      let interface = try AttachRequest(json: try json(body), at: "").interface
      return .answer { blocking in Answer(try toolstack.attach(interface, to: name, blocking), status: .created) }
    case (.DELETE, "interfaces", let interface?):
      return .answer { blocking in
        try toolstack.detach(interface, from: name, blocking)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func evpn(_ request: RequestHead, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return .answer { blocking in Answer(try toolstack.evpnStatus(blocking)) }
    case .PUT:
      let settings = try EVPNRequest(json: try json(body), at: "")
      return .answer { blocking in Answer(try toolstack.enableEVPN(settings, blocking)) }
    case .DELETE:
      return .answer { blocking in
        try toolstack.disableEVPN(blocking)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  // MARK: Pool

  private func pool(_ request: RequestHead, _ action: String?, _ body: [UInt8]) throws -> Reply {
    switch (request.method, action) {
    case (.GET, nil): return .answer { _ in Answer(toolstack.poolStatus(settings)) }
    case (.PUT, "flavours"):
      let set = try PoolSetRequest(json: try json(body), at: "")
      return .answer { blocking in Answer(try toolstack.setPool(set, settings, blocking)) }
    case (.POST, "drain"):
      return .answer { blocking in Answer(DestroyedCount(destroyed: toolstack.pool.drain(blocking))) }
    case (.POST, "fill"):
      toolstack.pool.fill()
      guard try request.query.flag("wait") else {
        return .answer { _ in Answer(toolstack.poolStatus(settings)) }
      }
      return .waiting {
        while !toolstack.pool.isFull { try await edge.tasks.sleep(for: .milliseconds(10)) }
        return try await edge.pool.run { _ in Answer(toolstack.poolStatus(settings)) }
      }
    default: throw unknown(request)
    }
  }

  // MARK: Images

  private func images(_ request: RequestHead, _ name: String?) throws -> Reply {
    switch (request.method, name) {
    case (.GET, nil):
      return .answer { _ in
        let entries: [ImageStore.Entry]
        do throws(ImageStoreError) {
          entries = try toolstack.images.list()
        } catch {
          throw APIError(error, field: nil)
        }
        return Answer(ImageList(images: entries.map { ImageInfo($0.image, name: $0.name, added: $0.added) }))
      }
    case (.DELETE, let name?):
      return .answer { _ in
        do throws(ImageStoreError) {
          try toolstack.images.remove(name)
        } catch {
          throw APIError(error, field: nil)
        }
        toolstack.applyPoolSettings(settings)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }
}
