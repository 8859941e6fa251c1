import CNetlink
import Glibc

extension Descriptor {
  /// Opens a netlink socket, bound to a number of the kernel's choice, whose refusals carry the kernel's words.
  ///
  /// - Parameters:
  ///   - protocol: NETLINK_ROUTE, NETLINK_NETFILTER.
  ///   - namespace: an open descriptor of the network namespace to speak to; nil for the thread's own.
  ///   - receiveBufferSize: in bytes; the kernel counts under 1 KiB for a small message.
  /// - Throws: `NetlinkError.call`.
  static func netlinkSocket(
    _ protocol: CInt, namespace: CInt? = nil, groups: UInt32 = 0, receiveBufferSize: CInt
  ) throws(NetlinkError) -> Descriptor {
    let socket = cnetlink_open_socket(namespace ?? -1, `protocol`)
    guard socket >= 0 else { throw .socket("socket", code: -socket) }
    let descriptor = Descriptor(owning: socket)

    // Without this the kernel's refusals carry a number only; with CAP_ACK they do not repeat the request.
    try descriptor.setNetlinkOption(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    try descriptor.setNetlinkOption(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    try descriptor.setNetlinkOption(SOL_SOCKET, SO_RCVBUF, receiveBufferSize)

    // Number 0 lets the kernel choose ours.
    var own = cnetlink_kernel()
    own.nl_groups = groups
    let bound = withUnsafeBytes(of: &own) { address in
      bind(socket, address.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t(address.count))
    }
    guard bound == 0 else { throw .socket("bind", code: errno) }
    return descriptor
  }

  borrowing func setNetlinkOption(_ level: CInt, _ option: CInt, _ value: CInt) throws(NetlinkError) {
    guard setOption(level, option, value) == 0 else { throw .socket("setsockopt", code: errno) }
  }
}

extension NetlinkError {
  fileprivate static func socket(_ call: String, code: CInt) -> NetlinkError {
    .call(call, operation: "open", subject: "netlink socket", code: code)
  }
}
