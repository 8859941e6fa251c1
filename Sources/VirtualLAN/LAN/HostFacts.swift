import CNetlink
import Glibc
import NetworkAddresses
import StateFiles

/// What a LAN stands on, as it is now: asked of the kernel bit by bit, or of a look at everything. What is concluded
/// from it is the same either way.
protocol HostFacts {
  /// The interface of that index, name or alternative name; nil when there is none.
  func link(_ reference: LinkReference) throws(LANError) -> Link?
  func everyLink() throws(LANError) -> [Link]
  /// Of one interface, or of all.
  func addresses(of device: InterfaceIndex?) throws(LANError) -> [InterfaceAddress]
  /// The interface that has an address, up or not.
  func holder(of address: IPAddress) throws(LANError) -> InterfaceIndex?
  /// The main table's routes for what has no other, of both families, the preferred ones first.
  func defaultRoutes() throws(LANError) -> [Route]
}

extension HostNetwork: HostFacts {
  func link(_ reference: LinkReference) throws(LANError) -> Link? {
    try ask { socket throws(NetlinkError) in
      switch reference {
      case .index(let index): try socket.link(index: index)
      case .name(let name): try socket.link(named: name)
      }
    }
  }

  func everyLink() throws(LANError) -> [Link] {
    try ask { socket throws(NetlinkError) in try socket.links() }
  }

  func addresses(of device: InterfaceIndex?) throws(LANError) -> [InterfaceAddress] {
    do throws(NetlinkError) {
      return try query { socket throws(NetlinkError) in try socket.addresses(of: device) }
    } catch {
      // The interface went meanwhile.
      if error.code == ENODEV { return [] }
      throw LANError(error)
    }
  }

  func holder(of address: IPAddress) throws(LANError) -> InterfaceIndex? {
    if let holder = try ask({ socket throws(NetlinkError) in try socket.holder(of: address) }) { return holder }
    // An interface that is down has its address all the same.
    return try addresses(of: nil).first { $0.address.address == address }?.index
  }

  func defaultRoutes() throws(LANError) -> [Route] {
    try ask { socket throws(NetlinkError) in try socket.defaultRoutes() }
  }

  /// Asks the kernel, with failures in this layer's form.
  func ask<Answer: Sendable>(
    _ body: (inout RouteSocket) throws(NetlinkError) -> Answer
  ) throws(LANError) -> Answer {
    do throws(NetlinkError) {
      return try query(body)
    } catch {
      throw LANError(error)
    }
  }
}

/// The time since the host's last start, in which an interface's index means one interface.
enum HostBoot {
  /// The kernel's name for it; nil where it has none.
  static let current: String? = {
    guard let bytes = try? StateFile.read("/proc/sys/kernel/random/boot_id") else { return nil }
    return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
  }()
}
