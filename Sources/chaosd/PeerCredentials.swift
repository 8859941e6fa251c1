import Glibc
import NIOCore

/// Who is at the other end of a unix socket, as the kernel noted when it connected (SO_PEERCRED).
struct PeerCredentials: Sendable, Equatable {
  var pid: Int32
  var uid: UInt32

  /// A peer that cannot be told counts as nobody.
  static let unknown = PeerCredentials(pid: 0, uid: 65534)

  /// The kernel's struct ucred, which glibc hides from Swift.
  private struct Credentials {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
  }

  static func of(_ socket: Int32) -> PeerCredentials {
    var found = Credentials()
    var size = socklen_t(MemoryLayout<Credentials>.size)
    guard getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &found, &size) == 0 else { return unknown }
    return PeerCredentials(pid: found.pid, uid: found.uid)
  }

  static func of(_ channel: any Channel) -> EventLoopFuture<PeerCredentials> {
    guard let options = channel as? any SocketOptionProvider else {
      return channel.eventLoop.makeSucceededFuture(unknown)
    }
    let found: EventLoopFuture<Credentials> = options.unsafeGetSocketOption(
      level: SocketOptionLevel(SOL_SOCKET), name: SocketOptionName(SO_PEERCRED))
    return found.map { PeerCredentials(pid: $0.pid, uid: $0.uid) }
      .flatMapErrorThrowing { _ in unknown }
  }
}
