import ChaosAPI
import Glibc
import ImageStore
import NIOHTTP1
import Toolstack

/// The HTTP API (docs/api/openapi.yaml): what each path does, in terms of the toolstack.
struct Routes: Sendable {
  let toolstack: Toolstack
  let settings: PoolSettings

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
    case ("guests", 1): return try guests(request, body)
    case ("guests", 2): return try guest(request, rest[1], body)
    case ("guests", 3): return try guest(request, rest[1], rest[2], body)
    case ("guests", 4) where rest[2] == "vifs": return try vif(request, rest[1], rest[3])
    case ("lans", 1): return try lans(request, body)
    case ("lans", 2): return try lan(request, rest[1])
    case ("lans", 3...4): return try lan(request, rest[1], rest[2], rest.count == 4 ? rest[3] : nil, body)
    case ("evpn", 1): return try evpn(request, body)
    case ("pool", 1...2): return try pool(request, rest.count == 2 ? rest[1] : nil, body)
    case ("images", 1...2): return try images(request, rest.count == 2 ? rest[1] : nil)
    default: throw unknown(request)
    }
  }

  private func unknown(_ request: RequestHead) -> APIError {
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
    return .now(Answer(try toolstack.host()))
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
      return blocking { Answer(DestroyedCount(destroyed: try toolstack.destroyAll())) }
    default: throw unknown(request)
    }
  }

  private func create(_ request: CreateRequest) throws -> Reply {
    if request.count != nil { return try createMany(request) }
    // With a shell at hand a create takes less time than the switch to another thread and back.
    if toolstack.hasShell(for: request) {
      return .now(Answer(try toolstack.create(request), status: .created))
    }
    return blocking { Answer(try toolstack.create(request), status: .created) }
  }

  private func guest(_ request: RequestHead, _ guest: String, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return .now(Answer(try toolstack.info(guest)))
    case .PATCH: return try change(guest, body)
    case .DELETE:
      return blocking {
        try toolstack.destroy(guest)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func guest(
    _ request: RequestHead, _ guest: String, _ action: String, _ body: [UInt8]
  ) throws -> Reply {
    switch (request.method, action) {
    case (.POST, "pause"): return .now(Answer(try toolstack.pause(guest)))
    case (.POST, "unpause"): return .now(Answer(try toolstack.unpause(guest)))
    case (.POST, "rename"): return try rename(guest, body)
    case (.POST, "reboot"): return try reboot(guest, request.query)
    case (.POST, "restart"): return restart(guest)
    case (.POST, "shutdown"): return try shutDown(request.query, guest)
    case (.GET, "wait"): return try wait(request.query, guest)
    case (.GET, "log"): return try console(guest, follow: try request.query.flag("follow"))
    case (.GET, "console"): return try console(guest, follow: true)
    case (.POST, "vifs"):
      let vif = try VifRequest(json: try json(body), at: "")
      return blocking { Answer(try toolstack.addVif(vif, to: guest), status: .created) }
    case (.POST, "console"):
      try toolstack.type(body, to: guest)
      return .now(Answer(status: .noContent))
    default: throw unknown(request)
    }
  }

  private func vif(_ request: RequestHead, _ guest: String, _ index: String) throws -> Reply {
    guard request.method == .DELETE else { throw unknown(request) }
    guard let slot = Int(index) else { throw APIError.refused("index", "not a number", index) }
    return blocking {
      try toolstack.removeVif(slot, from: guest)
      return Answer(status: .noContent)
    }
  }

  private func shutDown(_ query: Query, _ guest: String) throws -> Reply {
    let seconds = try query.seconds("timeout", default: 30)
    guard try query.flag("wait") else {
      try toolstack.shutDown(guest)
      return .now(Answer(status: .accepted))
    }
    return .later {
      _ = try await toolstack.shutDownAndWait(guest, seconds: seconds)
      return Answer(status: .noContent)
    }
  }

  private func wait(_ query: Query, _ guest: String) throws -> Reply {
    let seconds = try query.seconds("timeout", default: 30)
    switch try WaitGoal(query["for"] ?? WaitGoal.ready.rawValue) {
    case .ready:
      return .later { Answer(try await toolstack.waitUntilReady(guest, seconds: seconds)) }
    case .stopped:
      return .later { Answer(EndResult(ended: try await toolstack.waitUntilEnded(guest, seconds: seconds))) }
    case .gone:
      return .later { Answer(EndResult(ended: try await toolstack.waitUntilGone(guest, seconds: seconds))) }
    }
  }

  private func console(_ guest: String, follow: Bool) throws -> Reply {
    let console = try ConsoleStream(adopting: try toolstack.openConsole(guest, follow: follow, input: false))
    return .stream(
      ReplyStream(
        contentType: "application/octet-stream",
        produce: { send in
          defer { console.close() }
          for await bytes in console.output {
            try await send(bytes)
            console.proceed()
          }
        }, cancel: { console.close() }))
  }

  // MARK: LANs

  private func lans(_ request: RequestHead, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return blocking { Answer(try toolstack.listLANs()) }
    case .POST:
      let lan = try LANRequest(json: try json(body), at: "")
      return blocking { Answer(try toolstack.createLAN(lan), status: .created) }
    default: throw unknown(request)
    }
  }

  private func lan(_ request: RequestHead, _ name: String) throws -> Reply {
    switch request.method {
    case .GET: return blocking { Answer(try toolstack.lanInfo(name)) }
    case .DELETE:
      let force = try request.query.flag("force")
      return blocking {
        try toolstack.deleteLAN(name, force: force)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func lan(
    _ request: RequestHead, _ name: String, _ part: String, _ element: String?, _ body: [UInt8]
  ) throws -> Reply {
    switch (request.method, part, element) {
    case (.GET, "peers", nil): return .now(Answer(try toolstack.peers(of: name)))
    case (.POST, "peers", nil):
      let peer = try LANPeer(json: try json(body), at: "")
      return blocking { Answer(try toolstack.addPeer(peer, to: name), status: .created) }
    case (.DELETE, "peers", let address?):
      return blocking {
        try toolstack.removePeer(address, from: name)
        return Answer(status: .noContent)
      }
    case (.POST, "interfaces", nil):
      let interface = try AttachRequest(json: try json(body), at: "").interface
      return blocking { Answer(try toolstack.attach(interface, to: name), status: .created) }
    case (.DELETE, "interfaces", let interface?):
      return blocking {
        try toolstack.detach(interface, from: name)
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  private func evpn(_ request: RequestHead, _ body: [UInt8]) throws -> Reply {
    switch request.method {
    case .GET: return blocking { Answer(try toolstack.evpnStatus()) }
    case .PUT:
      let settings = try EVPNRequest(json: try json(body), at: "")
      return blocking { Answer(try toolstack.enableEVPN(settings)) }
    case .DELETE:
      return blocking {
        try toolstack.disableEVPN()
        return Answer(status: .noContent)
      }
    default: throw unknown(request)
    }
  }

  // MARK: Pool

  private func pool(_ request: RequestHead, _ action: String?, _ body: [UInt8]) throws -> Reply {
    switch (request.method, action) {
    case (.GET, nil): return .now(Answer(toolstack.poolStatus(settings)))
    case (.PUT, "flavours"):
      let set = try PoolSetRequest(json: try json(body), at: "")
      return blocking { Answer(try toolstack.setPool(set, settings)) }
    case (.POST, "drain"):
      return blocking { Answer(DestroyedCount(destroyed: toolstack.pool.drain())) }
    case (.POST, "fill"):
      toolstack.pool.fill()
      guard try request.query.flag("wait") else { return .now(Answer(toolstack.poolStatus(settings))) }
      return .later {
        while !toolstack.pool.isFull { try await Task.sleep(for: .milliseconds(10)) }
        return Answer(toolstack.poolStatus(settings))
      }
    default: throw unknown(request)
    }
  }

  // MARK: Images

  private func images(_ request: RequestHead, _ name: String?) throws -> Reply {
    switch (request.method, name) {
    case (.GET, nil):
      let images = toolstack.images.list().map { ImageInfo($0.image, name: $0.name, added: $0.added) }
      return .now(Answer(ImageList(images: images)))
    case (.DELETE, let name?):
      return blocking {
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

  /// Where a request's body goes while it comes in; nil when it is collected instead.
  func bodySink(for request: RequestHead) throws -> (any BodySink)? {
    guard request.path.count >= 2, request.path[0] == "v1", request.path[1] == "images" else { return nil }
    switch (request.method, request.path.count) {
    case (.POST, 2):
      let kind = request.query["kind"] ?? "kernel"
      guard kind == "kernel" || kind == "ramdisk" else {
        throw APIError.refused("kind", "expected 'kernel' or 'ramdisk'", kind)
      }
      return try ImageUpload(self, name: nil, isKernel: kind == "kernel")
    case (.PUT, 3):
      try Names.checkImageName(request.path[2])
      return try ImageUpload(self, name: request.path[2], isKernel: true)
    default: return nil
    }
  }

  /// Runs work that blocks outside the event loop and Swift's cooperative pool.
  func blocking(_ work: @escaping @Sendable () throws -> Answer) -> Reply {
    .later { try await BlockingWork.run(work) }
  }
}

/// An image on its way into the store.
private final class ImageUpload: BodySink {
  private let routes: Routes
  private let name: String?
  private let isKernel: Bool
  private let upload: ImageStore.Upload

  init(_ routes: Routes, name: String?, isKernel: Bool) throws {
    self.routes = routes
    self.name = name
    self.isKernel = isKernel
    upload = try routes.toolstack.images.beginUpload(isNamed: name != nil)
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws { try upload.append(bytes) }

  func finish() throws -> Reply {
    let image: StoredImage
    do throws(ImageStoreError) {
      image = try routes.toolstack.images.commit(upload, name: name, isKernel: isKernel)
    } catch {
      throw APIError(error, field: "image")
    }
    let answer = Answer(ImageInfo(image, name: name, added: time(nil)), status: .created)
    guard name != nil else { return .now(answer) }
    // The name may have meant another image until now.
    let routes = routes
    return .later {
      try await BlockingWork.run { routes.toolstack.applyPoolSettings(routes.settings) }
      return answer
    }
  }
}

extension ImageInfo {
  fileprivate init(_ image: StoredImage, name: String?, added: Int) {
    self.init(
      name: name, digest: image.digest.description, size: image.size,
      entry: (image.kernel?.entry).map { Int($0) },
      runtimeABI: (image.kernel?.runtime?.abiVersion).map { Int($0) }, added: Timestamp.format(seconds: added))
  }
}
