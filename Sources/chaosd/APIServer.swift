import ChaosAPI
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// The API's listener on its unix socket: SwiftNIO's channels and HTTP parser, with nothing between them and the
/// routes. A request that can be answered at once is answered on the connection's own event loop, because each
/// switch of threads is a measurable part of a create.
struct APIServer {
  private let routes: Routes
  private let group: MultiThreadedEventLoopGroup

  init(routes: Routes) {
    self.routes = routes
    group = MultiThreadedEventLoopGroup(numberOfThreads: min(4, System.coreCount))
  }

  /// Listens at `path`, replacing the socket file of a dead daemon.
  func listen(at path: String) async throws -> any Channel {
    let routes = routes
    return try await ServerBootstrap(group: group)
      .serverChannelOption(ChannelOptions.backlog, value: 1024)
      // Clients like `nc -N` end their side once the request is out and still want the answer.
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
          try channel.pipeline.syncOperations.addHandler(ConnectionHandler(routes: routes))
        }
      }
      .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
  }
}
