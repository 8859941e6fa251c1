import ChaosAPI
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// The API's listener on its unix socket: SwiftNIO's channels and HTTP parser, with nothing between them and the
/// routes. A request that can be answered at once is answered on the connection's own event loop, because each
/// switch of threads is a measurable part of a create.
struct APIServer {
  let router: any Router
  let edge: Edge
  let group: MultiThreadedEventLoopGroup
  private let report: @Sendable (String) -> Void

  init(
    _ router: any Router, _ edge: Edge, group: MultiThreadedEventLoopGroup,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.router = router
    self.edge = edge
    self.group = group
    self.report = report
  }

  /// Listens at `path`, replacing the socket file of a dead daemon.
  func listen(at path: String) async throws -> any Channel {
    try await bootstrap.bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
  }

  /// Listens on a socket that systemd bound.
  func listen(on socket: Int32) async throws -> any Channel {
    try await bootstrap.withBoundSocket(socket).get()
  }

  private var bootstrap: ServerBootstrap {
    let report = report
    let (router, edge) = (router, edge)
    return ServerBootstrap(group: group)
      .serverChannelOption(ChannelOptions.backlog, value: 1024)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptPause(report))
        }
      }
      // Clients like `nc -N` end their side once the request is out and still want the answer.
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        PeerCredentials.of(channel).flatMapThrowing { peer in try Self.configure(channel, router, edge, peer) }
      }
  }

  private static func configure(_ channel: any Channel, _ router: any Router, _ edge: Edge, _ peer: PeerCredentials)
    throws
  {
    let reserve = peer.uid == 0 ? 0 : edge.limits.connectionsForRoot
    let handler: ConnectionHandler
    if let permit = edge.connections.takeIfFree(leaving: reserve) {
      handler = ConnectionHandler(router, edge, peer: peer, permit: permit)
    } else {
      // Thrown, this closes the connection: so many are not even told.
      let permit = try edge.refusedConnections.take()
      let refusal = APIError(.noCapacity, "too many connections: the limit is \(edge.connections.limit)")
      handler = ConnectionHandler(router, edge, peer: peer, permit: permit, refusal: refusal)
    }
    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
    try channel.pipeline.syncOperations.addHandler(handler)
  }
}

/// Stops to accept for a moment when that fails for want of descriptors or memory: the connection waits in the kernel's
/// queue, and to look at it again at once would take a whole CPU. (NIO's AcceptBackoffHandler holds back the next read,
/// but the one that failed stays pending, and with it the spinning.)
final class AcceptPause: ChannelInboundHandler {
  typealias InboundIn = any Channel

  private static let pause = TimeAmount.milliseconds(200)
  private let report: @Sendable (String) -> Void
  private var isReported = false

  init(_ report: @escaping @Sendable (String) -> Void) { self.report = report }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    isReported = false
    context.fireChannelRead(data)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard let failure = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(failure.errnoCode) else {
      return context.fireErrorCaught(error)
    }
    if !isReported { report("connections wait: \(String(cString: strerror(failure.errnoCode)))") }
    isReported = true
    let channel = context.channel
    channel.setOption(.autoRead, value: false).whenSuccess {
      channel.eventLoop.scheduleTask(in: Self.pause) { channel.setOption(.autoRead, value: true) }
    }
  }
}
