import DevicePages
import DomainBuilder
import Synchronization
import VirtualLAN
import Xen

/// A domain with everything but an identity: memory, vCPUs, ports, rings, taps and, when hot, its image. A guest
/// is one that was told who it is.
///
/// Keeps the start info and device page mapped, so that telling costs no hypercall.
public final class DomainShell: Sendable {
  public let handle: DomainHandle
  public let domain: DomainID
  public let flavour: Flavour
  /// The taps of the vifs, by slot.
  public let taps: [InterfaceName]
  private let pages: Mutex<Pages>

  private struct Pages: ~Copyable {
    /// The start info and the device page, in this order.
    var mapping: ForeignMapping?
    var startInfoFrame = Slots.startInfoFrame
  }

  /// - Parameter pages: the start info and the device page; nil for a domain that can only be torn
  ///   down.
  init(
    handle: DomainHandle, domain: DomainID, flavour: Flavour, pages: consuming ForeignMapping?
  ) {
    self.handle = handle
    self.domain = domain
    self.flavour = flavour
    taps = (0..<flavour.vifs).map { Self.tapName(domain, slot: $0) }
    self.pages = Mutex(Pages(mapping: pages))
  }

  /// The name of the tap of a domain's vif slot.
  static func tapName(_ domain: DomainID, slot: Int) -> InterfaceName {
    InterfaceName("ch\(domain).\(slot)")!
  }

  /// The domain a tap's name says it belongs to; nil when the name is not one of ours.
  static func owner(ofTap name: String) -> DomainID? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].hasPrefix("ch"), let id = UInt16(parts[0].dropFirst(2)),
      let slot = UInt8(parts[1])
    else { return nil }
    // Numbers can be written in other ways ("07", "+7"), but not by us.
    let domain = DomainID(rawValue: id)
    return slot < Slots.maxVifs && tapName(domain, slot: Int(slot)).description == name ? domain : nil
  }

  /// What is written down of the shell once it is ready.
  var record: DomainRecord {
    let frame = pages.withLock { $0.startInfoFrame }
    return DomainRecord(
      handle: handle, phase: .shell, flavour: flavour,
      startInfoFrame: frame == Slots.startInfoFrame ? nil : frame)
  }

  /// Takes another start info page into use, for a kernel that cannot reach the ABI's.
  func replacePages(with mapping: consuming ForeignMapping, startInfo: UInt64) {
    var replacement: ForeignMapping? = .some(mapping)
    pages.withLock { pages in
      pages.mapping = replacement.take()
      pages.startInfoFrame = startInfo
    }
  }

  /// Writes the whole start info page.
  func write(_ info: StartInfo) {
    pages.withLock { $0.mapping?.write(info.encoded(), at: 0) }
  }

  /// Writes the command line into the start info page.
  public func writeCommandLine(_ commandLine: String) {
    let field = StartInfo.commandLineField(commandLine)
    pages.withLock { $0.mapping?.write(field.bytes, at: field.offset) }
  }

  /// Lays a device page for a guest that has not started.
  public func write(_ page: DevicePage) {
    pages.withLock { $0.mapping?.write(page.encoded(), at: GuestFrame.size) }
  }

  /// The same domain under another handle. This object gives its pages up.
  func renamed(to handle: DomainHandle) -> DomainShell {
    let mapping = pages.withLock { $0.mapping.take() }
    return DomainShell(handle: handle, domain: domain, flavour: flavour, pages: mapping)
  }

  /// Lets go of the pages; a domain is gone only when nobody maps it.
  func unmap() {
    pages.withLock { $0.mapping = nil }
  }
}
