import Glibc
import NetworkAddresses
import Synchronization

/// The host's links as guests use them: taps that chaosd owns, and the bridges they are ports of.
///
/// One socket serves all threads in turn: the kernel takes rtnetlink requests one at a time anyway.
public final class HostNetwork: Sendable {
  private let socket: Mutex<RouteSocket>

  public init() throws(NetlinkError) { socket = Mutex(try RouteSocket()) }

  /// rtnetlink requests sent so far, for tests and measurements.
  public var messagesSent: Int { socket.withLock { $0.messagesSent } }

  /// The address of every guest's tap on dom0's side. The highest there is, so that a bridge, which takes the
  /// lowest of its ports' addresses, never changes its own when a guest comes or goes.
  private static let tapAddress = MACAddress("fe:ff:ff:ff:ff:ff")!

  /// The interface group of every guest's tap: the mark by which a tap that nothing speaks of is known to be
  /// chaos's. A LAN's devices are in groups of their own.
  public static let tapGroup = InterfaceGroup(rawValue: 0x65 << 24)

  /// Creates a persistent tap without an IPv6 address of its own and sets it up, which takes longer than joining
  /// a bridge and is not left to that. Returns its queue's descriptor, which the caller owns, and its index.
  public func createTap(_ name: InterfaceName) throws(NetlinkError) -> (queue: CInt, index: InterfaceIndex) {
    let tap = try Tap.create(name: name)
    guard let index = InterfaceIndex(of: name) else {
      throw .noSuchInterface(operation: "create tap", name: name)
    }
    do {
      let change = LinkChange(
        addressGeneration: LinkChange.AddressGeneration.none, address: Self.tapAddress, group: Self.tapGroup)
      // Two messages: the kernel would set it up before it heard that no address is wanted.
      try perform([.changeLink(.index(index), change), .changeLink(.index(index), LinkChange(isUp: true))])
    } catch {
      try? delete([index])
      throw error
    }
    return (tap.takeDescriptor(), index)
  }

  /// A new descriptor of an existing tap's queue, for a back-end that lost its own.
  public func openTap(_ name: InterfaceName) throws(NetlinkError) -> CInt {
    try Tap.open(name: name).takeDescriptor()
  }

  /// The link of that name; nil when there is none.
  public func link(named name: InterfaceName) throws(NetlinkError) -> Link? {
    try socket.withLock { socket throws(NetlinkError) in try socket.link(named: name) }
  }

  public func links() throws(NetlinkError) -> [Link] {
    try socket.withLock { socket throws(NetlinkError) in try socket.links() }
  }

  /// Puts taps into their bridges: one message a tap, all in one batch.
  public func join(_ ports: [(tap: InterfaceName, bridge: InterfaceIndex, mtu: Int)])
    throws(NetlinkError)
  {
    try perform(
      ports.map { port in
        .changeLink(
          .name(port.tap),
          LinkChange(master: .port(of: port.bridge), mtu: UInt32(clamping: port.mtu)))
      })
  }

  /// Deletes links that may be gone already.
  public func delete(_ indexes: [InterfaceIndex]) throws(NetlinkError) {
    for index in indexes { try deleteIfThere(.index(index)) }
  }

  public func delete(_ names: [InterfaceName]) throws(NetlinkError) {
    for name in names { try deleteIfThere(.name(name)) }
  }

  private func deleteIfThere(_ link: LinkReference) throws(NetlinkError) {
    do {
      try perform([.deleteLink(link)])
    } catch {
      if error.code != ENODEV { throw error }
    }
  }

  /// Carries out requests in their order; a refused one does not keep the later ones from being carried out.
  ///
  /// - Throws: `NetlinkError.partlyRefused`, or what kept the kernel from answering.
  public func perform(_ requests: [RouteRequest]) throws(NetlinkError) {
    if requests.isEmpty { return }
    try query { socket throws(NetlinkError) in try socket.perform(requests) }
  }

  /// Lends the socket out, to nobody else meanwhile.
  public func query<Answer: Sendable>(
    _ body: (inout RouteSocket) throws(NetlinkError) -> Answer
  ) throws(NetlinkError) -> Answer {
    try socket.withLock { socket throws(NetlinkError) in try body(&socket) }
  }
}
