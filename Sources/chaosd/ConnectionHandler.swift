import ChaosAPI
import NIOCore
import NIOHTTP1
import Threads

/// One client's connection: collects each request, has it routed and writes the reply. Runs on the connection's
/// event loop; requests come one at a time (NIO's pipelining handler sees to that).
///
/// A client that is slow, silent or gone costs a place among the connections until a time-out, and nothing else.
final class ConnectionHandler: ChannelDuplexHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  private enum State {
    case idle
    case collecting(Collected)
    case storing(UploadWriter)
    /// The rest of a request that is already answered (refused) is read and forgotten.
    case discarding
    case replying
  }

  private struct Collected {
    var body = ByteBuffer()
    /// For what is taken of the memory for all bodies.
    let permit: Allowance.Permit
  }

  /// The request that is served now.
  private struct Current {
    let head: RequestHead
    let path: String
    let start = NIODeadline.now()
  }

  private let router: any Router
  private let edge: Edge
  private let peer: PeerCredentials
  private let permit: Allowance.Permit
  /// Answers whatever comes.
  private let refusal: APIError?
  private var state = State.idle
  private var current: Current?
  private var deadline: Scheduled<Void>?
  /// Called when the client is gone, to end what only it was waiting for.
  private var onLeave: (() -> Void)?
  /// Called when the client only sends no more.
  private var onEndOfInput: (() -> Void)?
  private var closesAfterReply = false
  /// An answer is on its way out.
  private var isWriting = false
  private var uploadPermit: Allowance.Permit?
  private var uploadEnd = NIODeadline.distantFuture
  /// Bytes that the upload's writer has not written.
  private var backlog = 0
  private var wantsRead = false

  init(
    _ router: any Router, _ edge: Edge, peer: PeerCredentials, permit: Allowance.Permit, refusal: APIError? = nil
  ) {
    self.router = router
    self.edge = edge
    self.peer = peer
    self.permit = permit
    self.refusal = refusal
  }

  func handlerAdded(context: ChannelHandlerContext) {
    limit(refusal == nil ? edge.limits.idle : edge.limits.refusal, context)
  }

  // MARK: Requests

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): begin(head, context)
    case .body(let part): take(part, context)
    case .end: finish(context)
    }
  }

  private func begin(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    let request = RequestHead(head)
    current = Current(head: request, path: head.uri)
    do {
      if let refusal { throw refusal }
      if edge.isStopping { throw APIError(.unavailable, "chaosd is stopping") }
      if let sink = try router.bodySink(for: request) {
        try store(in: sink, context)
      } else {
        if let length = request.contentLength { try checkSize(length) }
        state = .collecting(Collected(permit: try edge.bodies.take(0)))
        limit(edge.limits.body, context)
      }
      if request.expectsContinue { tellToContinue(context) }
    } catch {
      refuse(error, context)
    }
  }

  private func tellToContinue(_ context: ChannelHandlerContext) {
    context.writeAndFlush(
      wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
  }

  private func checkSize(_ size: Int) throws(APIError) {
    let limit = edge.limits.bodyBytes
    if size > limit { throw APIError(.invalidArgument, "the request's body is larger than \(limit) bytes") }
  }

  private func take(_ part: ByteBuffer, _ context: ChannelHandlerContext) {
    do {
      switch state {
      case .collecting(var collected):
        // Taken out of the state first, so that appending does not copy.
        state = .discarding
        try collect(part, &collected)
        state = .collecting(collected)
      case .storing(let writer):
        backlog += part.readableBytes
        limitUpload(context)
        try writer.append(part)
      case .idle, .discarding, .replying: break
      }
    } catch {
      refuse(error, context)
    }
  }

  private func collect(_ part: ByteBuffer, _ collected: inout Collected) throws(APIError) {
    try checkSize(collected.body.readableBytes + part.readableBytes)
    try collected.permit.grow(by: part.readableBytes)
    var part = part
    collected.body.writeBuffer(&part)
  }

  private func finish(_ context: ChannelHandlerContext) {
    switch state {
    case .collecting(let collected):
      deadline?.cancel()
      state = .replying
      reply(Array(collected.body.readableBytesView), context)
    case .storing(let writer):
      do { try writer.finish() } catch { return refuse(error, context) }
      // Written and named in the disk's time, not the client's.
      deadline?.cancel()
      state = .replying
    case .discarding: context.close(promise: nil)
    case .idle, .replying: break
    }
  }

  // MARK: Uploads

  private func store(in sink: any BodySink, _ context: ChannelHandlerContext) throws(APIError) {
    uploadPermit = try edge.uploads.take()
    uploadEnd = .now() + edge.limits.upload
    backlog = 0
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let loop = context.eventLoop
    let writer = UploadWriter(sink, edge.pool) { event in
      loop.execute {
        let (handler, context) = bound.value
        if context.channel.isActive { handler.note(event, context) }
      }
    }
    state = .storing(writer)
    onLeave = { writer.abandon() }
    limitUpload(context)
  }

  private func note(_ event: UploadWriter.Event, _ context: ChannelHandlerContext) {
    switch event {
    case .wrote(let count):
      backlog -= count
      if case .storing = state { limitUpload(context) }
      if wantsRead { read(context: context) }
    case .finished(let response): respond(response, context)
    case .failed(let error):
      if case .replying = state { write(Answer(APIError(error)), context) } else { refuse(error, context) }
    }
  }

  /// Reads no more of an upload than the disk keeps up with.
  func read(context: ChannelHandlerContext) {
    wantsRead = backlog > edge.limits.uploadBacklog
    if !wantsRead { context.read() }
  }

  private func limitUpload(_ context: ChannelHandlerContext) {
    limit(min(edge.limits.uploadStall, uploadEnd - .now()), context)
  }

  // MARK: Replies

  private func reply(_ body: [UInt8], _ context: ChannelHandlerContext) {
    guard let current else { return }
    do {
      switch try router.reply(to: current.head, body: body) {
      case .now(let answer): write(answer, context)
      case .blocking(let work): try answer(work, on: edge.pool, context)
      case .looking(let look): try answer({ blocking in .whole(try look(blocking)) }, on: edge.looks, context)
      case .waiting(let work): try answer(waiting: work, context)
      }
    } catch {
      write(Answer(APIError(error)), context)
    }
  }

  private func answer(
    _ work: @escaping @Sendable (borrowing Blocking) throws -> Response, on pool: BlockingPool,
    _ context: ChannelHandlerContext
  ) throws {
    let loop = context.eventLoop
    let bound = NIOLoopBound((self, context), eventLoop: loop)
    try pool.submit { blocking in
      let response: Response
      do { response = try work(blocking) } catch { response = .whole(Answer(APIError(error))) }
      loop.execute {
        let (handler, context) = bound.value
        handler.respond(response, context)
      }
    }
  }

  /// A wait ends with its client: nobody else is interested.
  private func answer(
    waiting work: @escaping @Sendable () async throws -> Answer, _ context: ChannelHandlerContext
  ) throws(APIError) {
    let permit = try edge.waits.take()
    let loop = context.eventLoop
    let bound = NIOLoopBound((self, context), eventLoop: loop)
    let task = Task(executorPreference: edge.tasks) {
      let answer: Answer
      do { answer = try await work() } catch { answer = Answer(APIError(error)) }
      withExtendedLifetime(permit) {}
      loop.execute {
        let (handler, context) = bound.value
        handler.respond(.whole(answer), context)
      }
    }
    onLeave = { task.cancel() }
  }

  private func respond(_ response: Response, _ context: ChannelHandlerContext) {
    let isThere = context.channel.isActive
    switch response {
    case .whole(let answer):
      if isThere { write(answer, context) } else { record(answer.status, answer.code) }
    case .stream(let stream):
      if isThere {
        send(stream, context)
      } else {
        stream.cancel()
        record(.ok, "gone")
      }
    }
  }

  /// Answers before the request's body has come; the connection ends when it has.
  private func refuse(_ error: any Error, _ context: ChannelHandlerContext) {
    onLeave?()
    state = .discarding
    write(Answer(APIError(error)), context)
  }

  private var isRefusing: Bool {
    if case .discarding = state { return true }
    return false
  }

  private var isKeptAlive: Bool {
    !isRefusing && !closesAfterReply && !edge.isStopping && current?.head.keepAlive == true
  }

  private func write(_ answer: Answer, _ context: ChannelHandlerContext) {
    writeHead(answer.status, contentType: answer.contentType, length: answer.body.count, context)
    if !answer.body.isEmpty {
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
    }
    end(context)
    record(answer.status, answer.code)
  }

  /// - Parameter length: nil: chunked.
  private func writeHead(
    _ status: HTTPResponseStatus, contentType: String?, length: Int?, _ context: ChannelHandlerContext
  ) {
    var headers = HTTPHeaders()
    if let contentType { headers.add(name: "content-type", value: contentType) }
    if let length {
      if status != .noContent { headers.add(name: "content-length", value: String(length)) }
    } else {
      headers.add(name: "transfer-encoding", value: "chunked")
    }
    if !isKeptAlive { headers.add(name: "connection", value: "close") }
    let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
  }

  private func end(_ context: ChannelHandlerContext) {
    let isKeptAlive = isKeptAlive
    onLeave = nil
    onEndOfInput = nil
    uploadPermit = nil
    backlog = 0
    if wantsRead { read(context: context) }
    // A refused request's body is still coming: closing now could take the answer from a client that writes.
    let isRefusing = isRefusing
    limit(isRefusing ? edge.limits.refusal : edge.limits.answer, context)
    if !isRefusing { state = .idle }
    isWriting = true
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
      let (handler, context) = bound.value
      handler.isWriting = false
      if handler.closesAfterReply || !(isKeptAlive || isRefusing) { return context.close(promise: nil) }
      handler.becomeIdle(context)
    }
  }

  /// The answer is with the client. Its next request may have begun meanwhile.
  private func becomeIdle(_ context: ChannelHandlerContext) {
    if case .idle = state { limit(edge.limits.idle, context) }
  }

  /// Sends a body piece by piece, each only when the one before has left for the client.
  private func send(_ stream: ReplyStream, _ context: ChannelHandlerContext) {
    writeHead(.ok, contentType: stream.contentType, length: stream.length, context)
    context.flush()
    onLeave = stream.cancel
    if stream.endsWithInput {
      onEndOfInput = stream.cancel
      if closesAfterReply { stream.cancel() }
    }
    let loop = context.eventLoop
    let bound = NIOLoopBound((self, context), eventLoop: loop)
    let send: @Sendable ([UInt8]) async throws -> Void = { bytes in
      try await loop.flatSubmit {
        let (handler, context) = bound.value
        guard context.channel.isActive else { return loop.makeFailedFuture(ChannelError.ioOnClosedChannel) }
        if let stall = stream.stall { handler.limit(stall, context) }
        let part = handler.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
        return context.writeAndFlush(part).always { _ in bound.value.0.deadline?.cancel() }
      }.get()
    }
    Task(executorPreference: edge.tasks) {
      let isWhole: Bool
      do {
        try await stream.produce(send)
        isWhole = true
      } catch {
        isWhole = false
      }
      loop.execute {
        let (handler, context) = bound.value
        // Whoever is still there is not to take a part for the whole.
        if context.channel.isActive { if isWhole { handler.end(context) } else { context.close(promise: nil) } }
        handler.record(.ok, isWhole ? "stream" : "cut_off")
      }
    }
  }

  private func record(_ status: HTTPResponseStatus, _ code: String) {
    guard let current else { return }
    self.current = nil
    let nanoseconds = (NIODeadline.now() - current.start).nanoseconds
    edge.metrics.record(current.head, status: Int(status.code), nanoseconds: nanoseconds)
    guard current.head.changesState else { return }
    edge.audit?.write(
      AuditRecord(
        peer: peer, method: current.head.method.rawValue, path: current.path, status: Int(status.code), code: code,
        microseconds: Int(nanoseconds / 1000)))
  }

  // MARK: Leaving

  /// Closes the connection when the client has not done its next part in time.
  private func limit(_ time: TimeAmount, _ context: ChannelHandlerContext) {
    deadline?.cancel()
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    deadline = context.eventLoop.scheduleTask(in: time) { bound.value.close(promise: nil) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      closesAfterReply = true
      onEndOfInput?()
      switch state {
      case .replying: break
      default: if !isWriting { context.close(promise: nil) }
      }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelInactive(context: ChannelHandlerContext) {
    deadline?.cancel()
    onLeave?()
    onLeave = nil
    onEndOfInput = nil
    state = .idle
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A client that broke off, or bytes that are no HTTP: nothing more can be said to it.
    context.close(promise: nil)
  }
}
