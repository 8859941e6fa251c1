import ChaosAPI
import NIOCore
import NIOHTTP1
import Toolstack

/// One client's connection: collects each request, has it routed and writes the reply. Runs on the connection's
/// event loop; requests come one at a time (NIO's pipelining handler sees to that).
final class ConnectionHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  /// Largest body that is collected in memory, in bytes; images are streamed to the store instead.
  private static let maxBody = 1 << 20

  private enum State {
    case idle
    case collecting(RequestHead, ByteBuffer)
    case storing(RequestHead, any BodySink)
    /// The rest of a request that is already answered (refused) is read and forgotten.
    case discarding
    case replying(keepAlive: Bool)
  }

  private let routes: Routes
  private var state = State.idle
  /// Called when the client is gone, to end what only it was waiting for.
  private var onLeave: (@Sendable () -> Void)?
  private var closesAfterReply = false
  /// A refused request's body is still coming: closing now could take the answer away from a client that writes.
  private var isRefusing = false

  init(routes: Routes) { self.routes = routes }

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
    do {
      if let sink = try routes.bodySink(for: request) {
        state = .storing(request, sink)
      } else {
        state = .collecting(request, ByteBuffer())
      }
    } catch {
      refuse(error, request, context)
    }
  }

  private func take(_ part: ByteBuffer, _ context: ChannelHandlerContext) {
    switch state {
    case .collecting(let request, var body):
      guard body.readableBytes + part.readableBytes <= Self.maxBody else {
        let error = APIError(.invalidArgument, "the request's body is larger than \(Self.maxBody) bytes")
        return refuse(error, request, context)
      }
      var part = part
      // Taken out of the state first, so that appending does not copy.
      state = .discarding
      body.writeBuffer(&part)
      state = .collecting(request, body)
    case .storing(let request, let sink):
      do {
        try part.withUnsafeReadableBytes { try sink.append($0) }
      } catch {
        refuse(error, request, context)
      }
    case .idle, .discarding, .replying: break
    }
  }

  private func finish(_ context: ChannelHandlerContext) {
    let current = state
    switch current {
    case .collecting(let request, let body):
      reply(to: request, context) { try self.routes.reply(to: request, body: Array(body.readableBytesView)) }
    case .storing(let request, let sink):
      reply(to: request, context) { try sink.finish() }
    case .discarding:
      context.close(promise: nil)
    case .idle, .replying: break
    }
  }

  // MARK: Replies

  private func reply(to request: RequestHead, _ context: ChannelHandlerContext, _ make: () throws -> Reply) {
    state = .replying(keepAlive: request.keepAlive)
    do {
      switch try make() {
      case .now(let answer): write(answer, context)
      case .later(let work): answerLater(work, context)
      case .stream(let stream): send(stream, context)
      }
    } catch {
      write(Answer(APIError(error)), context)
    }
  }

  /// Answers before the request's body has come; the connection ends when it has.
  private func refuse(_ error: any Error, _ request: RequestHead, _ context: ChannelHandlerContext) {
    state = .replying(keepAlive: false)
    isRefusing = true
    write(Answer(APIError(error)), context)
    state = .discarding
  }

  private func write(_ answer: Answer, _ context: ChannelHandlerContext) {
    writeHead(answer.status, contentType: answer.contentType, length: answer.body.count, context)
    if !answer.body.isEmpty {
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
    }
    end(context)
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

  private var isKeptAlive: Bool {
    if case .replying(let keepAlive) = state { return keepAlive && !closesAfterReply }
    return false
  }

  private func end(_ context: ChannelHandlerContext) {
    let isKeptAlive = isKeptAlive
    onLeave = nil
    let written = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    state = .idle
    if !isKeptAlive && !isRefusing {
      let channel = context.channel
      written.whenComplete { _ in channel.close(promise: nil) }
    }
  }

  private func answerLater(
    _ work: @escaping @Sendable () async throws -> Answer, _ context: ChannelHandlerContext
  ) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    context.eventLoop.makeFutureWithTask {
      do { return try await work() } catch { return Answer(APIError(error)) }
    }.whenSuccess { answer in
      let (handler, context) = bound.value
      if context.channel.isActive { handler.write(answer, context) }
    }
  }

  /// Sends a body piece by piece, each only when the one before has left for the client.
  private func send(_ stream: ReplyStream, _ context: ChannelHandlerContext) {
    writeHead(.ok, contentType: stream.contentType, length: nil, context)
    context.flush()
    onLeave = stream.cancel
    let loop = context.eventLoop
    let bound = NIOLoopBound((self, context), eventLoop: loop)
    let send: @Sendable ([UInt8]) async throws -> Void = { bytes in
      try await loop.flatSubmit {
        let (handler, context) = bound.value
        guard context.channel.isActive else { return loop.makeFailedFuture(ChannelError.ioOnClosedChannel) }
        let part = handler.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
        return context.writeAndFlush(part)
      }.get()
    }
    loop.makeFutureWithTask { try await stream.produce(send) }.whenComplete { _ in
      let (handler, context) = bound.value
      if context.channel.isActive { handler.end(context) }
    }
  }

  // MARK: Leaving

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      closesAfterReply = true
      onLeave?()
      switch state {
      case .idle, .discarding: context.close(promise: nil)
      default: break
      }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelInactive(context: ChannelHandlerContext) {
    onLeave?()
    onLeave = nil
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A client that broke off, or bytes that are no HTTP: nothing more can be said to it.
    context.close(promise: nil)
  }
}
