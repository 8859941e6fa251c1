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
  ///
  /// - Parameter note: told of the index before the tap carries the mark of a guest's: who looks for taps that nothing
  ///   speaks of does not find this one.
  public func createTap(
    _ name: InterfaceName, note: (InterfaceIndex) -> Void = { _ in }
  ) throws(NetlinkError) -> (queue: CInt, index: InterfaceIndex) {
    var made: InterfaceIndex?
    let tap = try Tap.create(name: name) { () throws(NetlinkError) in
      guard let index = InterfaceIndex(of: name) else {
        throw .call("if_nametoindex", operation: "create tap", subject: "'\(name)'", code: errno)
      }
      made = index
      note(index)
      // Outside of a bridge, which somebody may delete under it, it would be the guest's door to the host.
      let change = LinkChange(
        addressGeneration: LinkChange.AddressGeneration.none, address: Self.tapAddress, group: Self.tapGroup,
        ipv4: BridgeSeal.ipv4)
      // Two messages: the kernel would set it up before it heard that no address is wanted.
      try perform([.changeLink(.index(index), change), .changeLink(.index(index), LinkChange(isUp: true))])
    }
    guard let made else { throw .noSuchInterface(operation: "create tap", name: name) }
    return (tap.takeDescriptor(), made)
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
  ///
  /// A bridge whose MTU nobody set has the smallest of its ports', so a tap takes what the bridge has, whatever its
  /// guest is told: the bridge, and with it all who are on it, stays as it was.
  ///
  /// - Parameter ports: with the bridge's MTU in bytes.
  public func join(_ ports: [(tap: InterfaceName, bridge: InterfaceIndex, bridgeMTU: Int)]) throws(NetlinkError) {
    try perform(ports.map { Self.joining($0.tap, $0.bridge, bridgeMTU: $0.bridgeMTU) })
  }

  private static func joining(
    _ tap: InterfaceName, _ bridge: InterfaceIndex, bridgeMTU: Int
  ) -> RouteRequest {
    .changeLink(.name(tap), LinkChange(master: .port(of: bridge), isUp: true, mtu: UInt32(clamping: bridgeMTU)))
  }

  /// Puts taps where they belong.
  public func putBack(_ ports: [MisplacedPort]) throws(NetlinkError) {
    try perform(
      ports.flatMap { port in
        [
          Self.joining(port.tap, port.bridgeIndex, bridgeMTU: port.bridgeMTU),
          .changeBridgePort(.name(port.tap), Self.portSettings),
        ]
      })
  }

  /// What a guest's tap is as a port of a bridge.
  private static let portSettings = BridgePortChange(isMulticastRouter: true)

  /// Makes the settings of a tap that is on its bridge. Not an error when it is gone.
  public func setUpPort(_ tap: InterfaceIndex) throws(NetlinkError) {
    do {
      try perform([.changeBridgePort(.index(tap), Self.portSettings)])
    } catch {
      // EOPNOTSUPP: it left its bridge meanwhile.
      if ![ENODEV, EOPNOTSUPP].contains(error.code) { throw error }
    }
  }

  /// Deletes links that may be gone already.
  ///
  /// Many go by their group, in one message: the kernel waits some 20 ms for its readers, once for all of them.
  public func delete(_ indexes: [InterfaceIndex]) throws(NetlinkError) {
    guard indexes.count > 1 else {
      for index in indexes { try deleteIfThere(.index(index)) }
      return
    }
    do {
      try perform(indexes.map { .changeLink(.index($0), LinkChange(group: Self.doomedGroup)) })
    } catch {
      // Some are gone already; what is refused for another reason is refused by the deletion, too.
      if error.code != ENODEV { throw error }
    }
    do {
      try perform([.deleteLinks(group: Self.doomedGroup)])
    } catch {
      if error.code != ENODEV { throw error }
    }
  }

  /// Where taps go that are deleted together.
  private static let doomedGroup = InterfaceGroup(rawValue: 0x66 << 24)

  /// Whether an interface carries the mark of a guest's tap.
  public static func isTap(_ link: Link) -> Bool {
    link.kind == .tun && (link.group == tapGroup || link.group == doomedGroup)
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
