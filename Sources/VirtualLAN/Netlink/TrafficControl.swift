import CNetlink
import Glibc

/// A filter of traffic control on what an interface hands to the host.
public struct TrafficFilter: Hashable, Sendable {
  public let device: InterfaceIndex
  /// The name of its classifier: "bpf", "matchall", "u32".
  public let kind: String
  /// It throws everything away, as `RouteRequest.dropIngress` made it.
  public let dropsAll: Bool
}

extension RouteRequest {
  /// Gives an interface the place where filters look at what it hands to the host: its ingress queueing discipline.
  /// Refused with EEXIST when it has one, with ENOENT by a kernel without it (sch_ingress).
  public static func createIngress(_ device: InterfaceIndex) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_NEWQDISC, flags: NLM_F_CREATE | NLM_F_EXCL)
    message.appendTrafficHeader(device, handle: ingressHandle, parent: UInt32(TC_H_INGRESS))
    message.append(TCA_KIND, text: Array("ingress".utf8))
    return RouteRequest(
      operation: "create ingress of", subject: LinkReference.index(device).description, message: message.bytes)
  }

  /// Has an interface hand nothing to the host any more. A bridge forwards between its ports all the same: what it
  /// forwards is never its own. Asked for again there are two such filters. Refused with EINVAL when the interface
  /// has no ingress, with ENOENT by a kernel without cls_bpf.
  public static func dropIngress(_ device: InterfaceIndex) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_NEWTFILTER, flags: NLM_F_CREATE | NLM_F_EXCL)
    // Priority 1, the first, in the upper half; the protocol behind it.
    let everything = UInt16(ETH_P_ALL).bigEndian
    message.appendTrafficHeader(device, parent: ingressHandle, information: 1 << 16 | UInt32(everything))
    message.append(TCA_KIND, text: Array(TrafficFilter.programKind.utf8))
    message.nest(TCA_OPTIONS) { options in
      options.append(TCA_BPF_OPS_LEN, integer: UInt16(TrafficFilter.dropAll.count / TrafficFilter.instructionSize))
      options.append(TCA_BPF_OPS, TrafficFilter.dropAll)
      options.append(TCA_BPF_FLAGS, integer: UInt32(TCA_BPF_FLAG_ACT_DIRECT))
    }
    return RouteRequest(
      operation: "drop ingress of", subject: LinkReference.index(device).description, message: message.bytes)
  }

  /// Asks for the filters on an interface's ingress.
  static func ingressFilters(of device: InterfaceIndex) -> RouteRequest {
    var message = NetlinkMessageBuilder(type: RTM_GETTFILTER, flags: NLM_F_DUMP)
    message.appendTrafficHeader(device, parent: ingressHandle)
    return RouteRequest(
      operation: "list", subject: "filters of \(LinkReference.index(device))", message: message.bytes)
  }

  /// ffff: in the notation of tc(8).
  private static let ingressHandle: UInt32 = 0xffff_0000
}

extension NetlinkMessageBuilder {
  /// `struct tcmsg` (linux/rtnetlink.h): family, padding, interface, handle, parent, information.
  fileprivate mutating func appendTrafficHeader(
    _ device: InterfaceIndex, handle: UInt32 = 0, parent: UInt32, information: UInt32 = 0
  ) {
    append(UInt32(AF_UNSPEC))
    append(device.rawValue)
    append(handle)
    append(parent)
    append(information)
  }
}

// MARK: - Replies

extension TrafficFilter {
  fileprivate static let programKind = "bpf"
  fileprivate static let instructionSize = 8
  /// One instruction of classic BPF, `struct sock_filter` (linux/filter.h): return the constant TC_ACT_SHOT, which
  /// throws the frame away.
  fileprivate static let dropAll: [UInt8] =
    withUnsafeBytes(of: UInt16(BPF_RET | BPF_K)) { Array($0) } + [0, 0]
    + withUnsafeBytes(of: UInt32(TC_ACT_SHOT)) { Array($0) }

  /// Reads `struct tcmsg` and its attributes; nil for what is of no interface, but of a block that several share.
  init?(payload: RawSpan) throws(NetlinkFormatError) {
    let headerSize = 20
    guard let number: Int32 = payload.integer(at: 4), payload.byteCount >= headerSize else {
      throw .truncated(what: "filter", needed: headerSize, left: payload.byteCount)
    }
    guard let device = InterfaceIndex(rawValue: number) else { return nil }
    var kind = ""
    var dropsAll = false
    var attributes = NetlinkAttributes(payload.dropping(headerSize))
    // The kernel writes the kind before the data that it tells how to read.
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case TCA_KIND: kind = String(decoding: attribute.text, as: UTF8.self)
      case TCA_OPTIONS where kind == Self.programKind: dropsAll = try Self.dropsAll(attribute.payload)
      default: break
      }
    }
    self.init(device: device, kind: kind, dropsAll: dropsAll)
  }

  /// Whether the program is the one above, and its word counts.
  private static func dropsAll(_ options: RawSpan) throws(NetlinkFormatError) -> Bool {
    var program: [UInt8] = []
    var flags: UInt32 = 0
    var attributes = NetlinkAttributes(options)
    while let attribute = try attributes.next() {
      switch Int(attribute.type) {
      case Int(TCA_BPF_OPS): program = attribute.payload.copied
      case Int(TCA_BPF_FLAGS): flags = try attribute.integer()
      default: break
      }
    }
    return program == dropAll && flags & UInt32(TCA_BPF_FLAG_ACT_DIRECT) != 0
  }
}

extension RouteSocket {
  /// The filters on what an interface hands to the host; none where it has no place for them.
  public mutating func ingressFilters(of device: InterfaceIndex) throws(NetlinkError) -> [TrafficFilter] {
    do {
      return try list(.ingressFilters(of: device)) {
        guard case .filter(let filter) = $0, filter.device == device else { return nil }
        return filter
      }
    } catch {
      if error.code == EINVAL || error.code == ENOENT { return [] }
      throw error
    }
  }
}
