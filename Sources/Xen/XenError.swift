import CXen
import Glibc

/// What the hypervisor or a Xen device refused: the call, the domain it was about and the reason.
public struct XenError: Error, CustomStringConvertible {
  public let call: String
  public let domain: DomainID?
  public let errno: Int32
  /// What the Xen library logged about it, often empty.
  public let detail: String

  public init(call: String, domain: DomainID?, errno: Int32, detail: String = "") {
    self.call = call
    self.domain = domain
    self.errno = errno
    self.detail = detail
  }

  /// Reads errno and the library's last message; call it right after the call that failed.
  static func last(_ call: String, _ domain: DomainID? = nil) -> XenError {
    let code = Glibc.errno
    return XenError(call: call, domain: domain, errno: code, detail: String(cString: cxen_take_message()))
  }

  public var description: String {
    var text = call
    if let domain { text += ": domain \(domain)" }
    text += ": \(String(cString: strerror(errno)))"
    if !detail.isEmpty { text += " (\(detail.prefix { $0 != "\n" }))" }
    return text
  }
}
