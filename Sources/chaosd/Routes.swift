import ChaosAPI
import HTTPTypes
import Hummingbird
import ImageStore
import NIOCore
import Toolstack

/// The HTTP API (docs/api/openapi.yaml): what each path does, in terms of the toolstack.
struct Routes: Sendable {
  let toolstack: Toolstack
  let settings: PoolSettings

  /// Largest JSON body taken, in bytes.
  private static let maxBody = 1 << 20

  var router: Router<BasicRequestContext> {
    let router = Router()
    router.addMiddleware { ErrorAnswers() }
    let v1 = router.group("v1")
    addHost(v1)
    addGuests(v1.group("guests"))
    addConsole(v1.group("guests"))
    addPool(v1.group("pool"))
    addImages(v1.group("images"))
    return router
  }

  private typealias Group = RouterGroup<BasicRequestContext>

  private func addHost(_ group: Group) {
    group.get("version") { _, _ in try Answer.json(toolstack.version(Product.version)) }
    group.get("host") { _, _ in try Answer.json(toolstack.host()) }
  }

  // MARK: Guests

  private func addGuests(_ group: Group) {
    group.get { _, _ in Answer.json(GuestList(guests: try toolstack.list())) }
    group.post { request, _ in try await create(request) }
    group.delete { _, _ in
      Answer.json(DestroyedCount(destroyed: try await BlockingWork.run { try toolstack.destroyAll() }))
    }
    group.get(":guest") { _, context in Answer.json(try toolstack.info(try guest(context))) }
    group.delete(":guest") { _, context in
      let reference = try guest(context)
      try await BlockingWork.run { try toolstack.destroy(reference) }
      return Answer.empty(.noContent)
    }
    group.post(":guest/pause") { _, context in Answer.json(try toolstack.pause(try guest(context))) }
    group.post(":guest/unpause") { _, context in Answer.json(try toolstack.unpause(try guest(context))) }
    group.post(":guest/shutdown") { request, context in try await shutDown(request, try guest(context)) }
    group.get(":guest/wait") { request, context in try await wait(request, try guest(context)) }
  }

  private func guest(_ context: BasicRequestContext) throws(APIError) -> String {
    guard let reference = context.parameters.get("guest") else {
      throw APIError(.notFound, "no guest is named")
    }
    return reference
  }

  private func create(_ request: Request) async throws -> Response {
    let create = try CreateRequest(json: try await json(request), at: "")
    guard create.count != nil else { return Answer.json(try toolstack.create(create), status: .created) }
    return try await createMany(create)
  }

  /// Answers with a line a guest. What is refused before the first guest is made gets a plain error answer.
  private func createMany(_ create: CreateRequest) async throws -> Response {
    let (lines, continuation) = AsyncThrowingStream.makeStream(of: ByteBuffer.self)
    // A task of its own: what was accepted is finished even if the client goes away.
    Task {
      do {
        try await toolstack.createAll(create) { result in continuation.yield(Answer.line(result.json)) }
        continuation.finish()
      } catch {
        continuation.finish(throwing: APIError(error))
      }
    }
    let iterator = LineIterator(lines)
    let first = try await iterator.next()
    return Response(
      status: .ok, headers: [.contentType: "application/x-ndjson"],
      body: ResponseBody { writer in
        if let first { try await writer.write(first) }
        do {
          while let line = try await iterator.next() { try await writer.write(line) }
        } catch let error as APIError {
          try await writer.write(Answer.line(error.body))
        }
        try await writer.finish(nil)
      })
  }

  /// Hands one reader the lines of a stream, across the border of the response's closure.
  private final class LineIterator: @unchecked Sendable {
    // Only one task at a time asks: first the handler, then the body writer.
    private var iterator: AsyncThrowingStream<ByteBuffer, any Error>.Iterator

    init(_ stream: AsyncThrowingStream<ByteBuffer, any Error>) { iterator = stream.makeAsyncIterator() }

    func next() async throws -> ByteBuffer? { try await iterator.next(isolation: nil) }
  }

  private func shutDown(_ request: Request, _ guest: String) async throws -> Response {
    let query = Query(request)
    let isAwaited = try query.flag("wait")
    let seconds = try query.seconds("timeout", default: 30)
    guard isAwaited else {
      try toolstack.shutDown(guest)
      return Answer.empty(.accepted)
    }
    _ = try await toolstack.shutDownAndWait(guest, seconds: seconds)
    return Answer.empty(.noContent)
  }

  private func wait(_ request: Request, _ guest: String) async throws -> Response {
    let query = Query(request)
    let seconds = try query.seconds("timeout", default: 30)
    switch query["for"] ?? "ready" {
    case "ready": return Answer.json(try await toolstack.waitUntilReady(guest, seconds: seconds))
    case "ended":
      return Answer.json(EndResult(ended: try await toolstack.waitUntilEnded(guest, seconds: seconds)))
    case let other: throw APIError.refused("for", "expected 'ready' or 'ended'", other)
    }
  }

  // MARK: Console

  private func addConsole(_ group: Group) {
    group.get(":guest/log") { request, context in
      try stream(try guest(context), follow: try Query(request).flag("follow"), request)
    }
    group.get(":guest/console") { request, context in try stream(try guest(context), follow: true, request) }
    group.post(":guest/console") { request, context in
      let input = try await request.body.collect(upTo: 64 << 10)
      try toolstack.type(Array(input.readableBytesView), to: try guest(context))
      return Answer.empty(.noContent)
    }
  }

  private func stream(_ guest: String, follow: Bool, _ request: Request) throws -> Response {
    let console = ConsoleStream(adopting: try toolstack.openConsole(guest, follow: follow, input: false))
    return Response(
      status: .ok, headers: [.contentType: "application/octet-stream"],
      body: ResponseBody { writer in
        defer { console.close() }
        // Without output nothing is written, so that only the request's side shows that the client left.
        let output = writer
        try await request.body.consumeWithInboundCloseHandler { _ in
          var writer = output
          for await bytes in console.output {
            try await writer.write(ByteBuffer(bytes: bytes))
            console.proceed()
          }
          try await writer.finish(nil)
        } onInboundClosed: {
          console.close()
        }
      })
  }

  // MARK: Pool

  private func addPool(_ group: Group) {
    group.get { _, _ in Answer.json(toolstack.poolStatus(settings)) }
    group.put("flavours") { request, _ in
      let set = try PoolSetRequest(json: try await json(request), at: "")
      return Answer.json(try await BlockingWork.run { try toolstack.setPool(set, settings) })
    }
    group.post("drain") { _, _ in
      Answer.json(DestroyedCount(destroyed: try await BlockingWork.run { toolstack.pool.drain() }))
    }
    group.post("fill") { request, _ in
      toolstack.pool.fill()
      if try Query(request).flag("wait") {
        while !toolstack.pool.isFull { try await Task.sleep(for: .milliseconds(10)) }
      }
      return Answer.json(toolstack.poolStatus(settings))
    }
  }

  // MARK: Images

  private func addImages(_ group: Group) {
    group.get { _, _ in
      Answer.json(ImageList(images: toolstack.images.list().map { Self.describe($0.image, $0.name, $0.added) }))
    }
    group.post { request, _ in
      let kind = Query(request)["kind"] ?? "kernel"
      guard kind == "kernel" || kind == "ramdisk" else {
        throw APIError.refused("kind", "expected 'kernel' or 'ramdisk'", kind)
      }
      return try await upload(request, name: nil, isKernel: kind == "kernel")
    }
    group.put(":image") { request, context in
      let name = context.parameters.get("image") ?? ""
      try Names.checkImageName(name)
      let answer = try await upload(request, name: name, isKernel: true)
      // The name may have meant another image until now.
      try await BlockingWork.run { toolstack.applyPoolSettings(settings) }
      return answer
    }
    group.delete(":image") { _, context in
      do throws(ImageStoreError) {
        try toolstack.images.remove(context.parameters.get("image") ?? "")
      } catch {
        throw APIError(error, field: nil)
      }
      try await BlockingWork.run { toolstack.applyPoolSettings(settings) }
      return Answer.empty(.noContent)
    }
  }

  private func upload(_ request: Request, name: String?, isKernel: Bool) async throws -> Response {
    do {
      let upload = try toolstack.images.beginUpload(isNamed: name != nil)
      for try await part in request.body {
        try part.withUnsafeReadableBytes { try upload.append($0) }
      }
      let image = try toolstack.images.commit(upload, name: name, isKernel: isKernel)
      return Answer.json(Self.describe(image, name, Answer.now()), status: .created)
    } catch let error as ImageStoreError {
      throw APIError(error, field: "image")
    }
  }

  private static func describe(_ image: StoredImage, _ name: String?, _ added: Int) -> ImageInfo {
    ImageInfo(
      name: name, digest: image.digest.description, size: image.size,
      entry: (image.kernel?.entry).map { Int($0) },
      runtimeABI: (image.kernel?.runtime?.abiVersion).map { Int($0) }, added: Timestamp.format(seconds: added))
  }

  private func json(_ request: Request) async throws -> JSON {
    let body = try await request.body.collect(upTo: Self.maxBody)
    do {
      return try JSON(parsing: Array(body.readableBytesView))
    } catch {
      throw APIError(error)
    }
  }
}
