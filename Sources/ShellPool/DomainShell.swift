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
  public let identity: DomainIdentity
  public let flavour: Flavour
  /// By slot: those of the flavour, until vifs are added to or removed from a guest.
  private let tapsBySlot: Mutex<[Int: GuestTap]>
  private let pages: Mutex<Pages>
  /// The connection on which the domain was handed to chaos-backend; nil: by another chaosd.
  private let handedOver = Mutex<Int?>(nil)

  private struct Pages: ~Copyable {
    /// The start info and the device page, in this order.
    var mapping: ForeignMapping?
    var startInfoFrame = Slots.startInfoFrame
  }

  /// - Parameters:
  ///   - pages: the start info and the device page; nil for a domain that can only be torn down.
  ///   - startInfoFrame: where the first of them is; nil: at the ABI's place.
  init(
    identity: DomainIdentity, flavour: Flavour, taps: [GuestTap], pages: consuming ForeignMapping?,
    startInfoFrame: UInt64? = nil
  ) {
    self.identity = identity
    self.flavour = flavour
    tapsBySlot = Mutex(Dictionary(uniqueKeysWithValues: taps.map { ($0.slot, $0) }))
    self.pages = Mutex(Pages(mapping: pages, startInfoFrame: startInfoFrame ?? Slots.startInfoFrame))
  }

  public var domain: DomainID { identity.domain }
  public var handle: DomainHandle { identity.handle }

  /// The name that the tap of a domain's vif slot is given.
  public static func name(ofTap slot: Int, of domain: DomainID) -> InterfaceName {
    InterfaceName("ch\(domain).\(slot)")!
  }

  /// The taps, by slot.
  public var taps: [GuestTap] { tapsBySlot.withLock { $0.values.sorted { $0.slot < $1.slot } } }

  /// The tap of a slot; nil when it has none.
  public func tap(slot: Int) -> GuestTap? { tapsBySlot.withLock { $0[slot] } }

  /// Notes that a slot has a tap from now on.
  func add(_ tap: GuestTap) { tapsBySlot.withLock { $0[tap.slot] = tap } }

  /// Notes that a slot has no tap any more.
  func removeTap(slot: Int) { tapsBySlot.withLock { _ = $0.removeValue(forKey: slot) } }

  var connection: Int? {
    get { handedOver.withLock { $0 } }
    set { handedOver.withLock { $0 = newValue } }
  }

  /// What is written down of the shell once it is ready.
  var record: DomainRecord { record(.shell) }

  /// What is written down of the domain in a phase.
  public func record(_ phase: DomainRecord.Phase, guest: GuestRecord? = nil) -> DomainRecord {
    let frame = pages.withLock { $0.startInfoFrame }
    // The tap of a vif that a guest is losing is no longer spoken of: after a kill it is found as stray.
    let slots = guest.map { Set($0.vifs.map(\.slot)) }
    return DomainRecord(
      handle: handle, domain: domain, phase: phase, flavour: flavour,
      taps: taps.filter { slots?.contains($0.slot) ?? true }, guest: guest,
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
    let frame = pages.withLock { $0.startInfoFrame }
    let mapping = pages.withLock { $0.mapping.take() }
    let renamed = DomainShell(
      identity: DomainIdentity(domain: domain, handle: handle), flavour: flavour, taps: taps, pages: mapping,
      startInfoFrame: frame)
    renamed.connection = connection
    return renamed
  }

  /// The same domain under another handle, without its pages.
  func standIn(_ handle: DomainHandle) -> DomainShell {
    DomainShell(
      identity: DomainIdentity(domain: domain, handle: handle), flavour: flavour, taps: taps, pages: nil)
  }

  /// Lets go of the pages; a domain is gone only when nobody maps it.
  func unmap() {
    pages.withLock { $0.mapping = nil }
  }
}
