import Backends
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
  /// The vif slots that have a tap: those of the flavour, until vifs are added to or removed from a guest.
  private let slots: Mutex<Set<Int>>
  private let pages: Mutex<Pages>

  private struct Pages: ~Copyable {
    /// The start info and the device page, in this order.
    var mapping: ForeignMapping?
    var startInfoFrame = Slots.startInfoFrame
  }

  /// - Parameters:
  ///   - pages: the start info and the device page; nil for a domain that can only be torn down.
  ///   - slots: the vifs that have a tap; nil: the flavour's.
  init(
    handle: DomainHandle, domain: DomainID, flavour: Flavour, pages: consuming ForeignMapping?,
    slots: Set<Int>? = nil
  ) {
    self.handle = handle
    self.domain = domain
    self.flavour = flavour
    self.slots = Mutex(slots ?? Set(0..<flavour.vifs))
    self.pages = Mutex(Pages(mapping: pages))
  }

  /// The name of the tap of a domain's vif slot.
  static func tapName(_ domain: DomainID, slot: Int) -> InterfaceName {
    InterfaceName("ch\(domain).\(slot)")!
  }

  /// How the back-end knows the domain.
  public var key: ControlProtocol.DomainKey { ControlProtocol.DomainKey(domain: domain, handle: handle) }

  /// The taps, by slot.
  public var taps: [(slot: Int, name: InterfaceName)] {
    slots.withLock { $0.sorted() }.map { ($0, Self.tapName(domain, slot: $0)) }
  }

  public func tap(slot: Int) -> InterfaceName { Self.tapName(domain, slot: slot) }

  /// Notes that a slot has a tap from now on, or no longer.
  func setHasTap(_ hasTap: Bool, slot: Int) {
    slots.withLock { slots in
      if hasTap { slots.insert(slot) } else { slots.remove(slot) }
    }
  }

  /// The domain and the slot that a tap's name says it belongs to; nil when the name is not one of ours.
  public static func owner(ofTap name: String) -> (domain: DomainID, slot: Int)? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].hasPrefix("ch"), let id = UInt16(parts[0].dropFirst(2)),
      let slot = UInt8(parts[1])
    else { return nil }
    // Numbers can be written in other ways ("07", "+7"), but not by us.
    let domain = DomainID(rawValue: id)
    let isOurs = slot < Slots.maxVifs && tapName(domain, slot: Int(slot)).description == name
    return isOurs ? (domain, Int(slot)) : nil
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

  /// Lays a changed device page under a guest that may be reading it: the generation is odd meanwhile and moves
  /// on by two. Nothing when the page says the same already.
  ///
  /// - Parameter page: its generation does not matter.
  /// - Returns: the generation that says so; nil when the page is not mapped.
  public func rewrite(_ page: DevicePage) -> UInt32? {
    pages.withLock { pages in
      let start = GuestFrame.size
      guard let present = pages.mapping?.read(start..<start + DevicePage.size) else { return nil }
      var changed = page
      // Read back for its number only: whatever a guest made of it, the next one is even and another.
      let even = DevicePage.generation(in: present) & ~1
      changed.generation = even
      if present == changed.encoded() { return even }
      changed.generation = even &+ 2
      let bytes = changed.encoded()
      let counter = DevicePage.generationOffset
      pages.mapping?.storeWord(even &+ 1, at: start + counter)
      atomicMemoryFence(ordering: .sequentiallyConsistent)
      pages.mapping?.write(Array(bytes[..<counter]), at: start)
      pages.mapping?.write(Array(bytes[(counter + 4)...]), at: start + counter + 4)
      // The store is a release: whoever sees the even number sees the page.
      pages.mapping?.storeWord(changed.generation, at: start + counter)
      return changed.generation
    }
  }

  /// The same domain under another handle. This object gives its pages up.
  func renamed(to handle: DomainHandle) -> DomainShell {
    let mapping = pages.withLock { $0.mapping.take() }
    return DomainShell(
      handle: handle, domain: domain, flavour: flavour, pages: mapping, slots: slots.withLock { $0 })
  }

  /// Lets go of the pages; a domain is gone only when nobody maps it.
  func unmap() {
    pages.withLock { $0.mapping = nil }
  }
}
