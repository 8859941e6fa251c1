import CNetlink
import Glibc

/// The owner of a descriptor of a network namespace, which lives at least as long as that.
public struct NamespaceHandle: ~Copyable, Sendable {
  private let file: Descriptor

  /// For `RouteSocket.init(namespace:)` and `VethPeer.namespace`; open as long as the handle lives.
  public var descriptor: CInt { file.rawValue }

  /// Two handles of the same namespace have the same identity (namespaces(7)).
  public struct Identity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
  }

  public let identity: Identity

  /// Opens the namespace that a file stands for: /proc/PID/ns/net, or one bound elsewhere, as container runtimes do.
  ///
  /// - Throws: `NetlinkError.call`; with ENOENT when there is no such file, with EINVAL when it is no namespace's.
  public init(path: String) throws(NetlinkError) {
    func failed(_ call: String, _ code: CInt) -> NetlinkError {
      .call(call, operation: "open network namespace", subject: "'\(path)'", code: code)
    }
    // Not blocking, for the path may be a FIFO's.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw failed("open", errno) }
    let file = Descriptor(owning: descriptor)
    let kind = cnetlink_check_network_namespace(descriptor)
    guard kind == 0 else { throw failed("NS_GET_NSTYPE", -kind) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failed("fstat", errno) }
    self.file = file
    identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// The calling thread's own namespace.
  ///
  /// - Throws: `NetlinkError.call`.
  public static func own() throws(NetlinkError) -> NamespaceHandle {
    try NamespaceHandle(path: "/proc/thread-self/ns/net")
  }
}
