import ChaosAPI
import NetworkAddresses

/// An interface of the host that was made a member of a LAN: what it was called then, and what it is known by under
/// any name.
public struct AttachedInterface: Hashable, Sendable {
  public var name: InterfaceName
  /// Of hardware.
  public var permanentAddress: MACAddress?
  /// Its index, and the start of the host since which that means this interface.
  public var index: InterfaceIndex?
  public var boot: String?

  /// One of which nothing but the name is known yet.
  public init(_ name: InterfaceName) { self.name = name }

  public init(_ link: Link) {
    name = link.name
    permanentAddress = link.permanentAddress
    index = link.index
    boot = HostBoot.current
  }

  /// Whether a name is this interface's, now or when it was attached.
  public func isCalled(_ name: InterfaceName, _ link: Link?) -> Bool {
    if self.name == name { return true }
    guard let link else { return false }
    return link.name == self.name || index == link.index && boot == HostBoot.current
  }
}

extension HostFacts {
  /// The interface that was attached, whatever it is called by now; nil when it is not there.
  func link(of attached: AttachedInterface) throws(LANError) -> Link? {
    if let index = attached.index, attached.boot == HostBoot.current, let link = try link(.index(index)) {
      return link
    }
    let named = try link(.name(attached.name))
    guard let address = attached.permanentAddress, named?.permanentAddress != address else { return named }
    let same = try everyLink().filter { $0.permanentAddress == address }
    // A card that was replaced has another address, and its place's name.
    return same.count == 1 ? same.first : named
  }
}

// MARK: - JSON

extension AttachedInterface {
  /// What is kept beside the name; nil when there is nothing.
  var identity: JSON? {
    var object = JSONObject()
    object["mac"] = permanentAddress.map { .string($0.description) }
    if let index, let boot {
      object["index"] = .number(index.rawValue)
      object["boot"] = .string(boot)
    }
    let json = JSON.object(object)
    return permanentAddress == nil && index == nil ? nil : json
  }

  /// What is not understood of the identity is passed over: the name does without it.
  init(_ name: InterfaceName, identity: JSON?) {
    self.init(name)
    guard let identity else { return }
    if case .string(let text)? = identity["mac"] { permanentAddress = MACAddress(text) }
    guard case .integer(let number)? = identity["index"], case .string(let text)? = identity["boot"] else { return }
    index = Int32(exactly: number).flatMap { InterfaceIndex(rawValue: $0) }
    boot = text
  }
}
