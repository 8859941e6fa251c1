import CDevicePage
import DevicePages
import DomainBuilder
import Glibc
import Xen

/// Lays under an empty domain all that a guest would have to ask for on another toolstack: memory, rings, ports and
/// shared pages, at the places that the ABI fixes. Hypercalls only.
public struct DomainWiring: Sendable {
  let hypervisor: Hypervisor

  public init(hypervisor: Hypervisor) { self.hypervisor = hypervisor }

  /// Where every guest's device page is.
  public static let devicePageFrame = GuestFrame(rawValue: Slots.devicePageFrame)

  func setLimits(_ domain: DomainID, _ flavour: Flavour) throws(XenError) {
    try hypervisor.setMaxMemory(domain, kibibytes: UInt64(flavour.pages) * 4)
    try hypervisor.setMaxVCPUs(domain, flavour.vcpus)
    try hypervisor.setPagingPool(domain, bytes: UInt64(flavour.pagingPoolPages) * 4096)
  }

  func populate(_ domain: DomainID, _ flavour: Flavour) throws {
    guard let plan = flavour.memoryPlan else { throw XenError(call: "plan memory", domain: domain, errno: EINVAL) }
    for batch in plan.batches {
      try hypervisor.populate(domain, extents: batch.extents, order: batch.order)
    }
    var special = [Slots.startInfoFrame, Slots.devicePageFrame, Slots.consoleFrame, Slots.powerctlFrame].map {
      GuestFrame(rawValue: $0)
    }
    for slot in 0..<flavour.vifs { special += Self.window(slot, frames: flavour.windowFrames) }
    try hypervisor.populate(domain, extents: special, order: 0)
  }

  private static func window(_ slot: Int, frames: Int) -> [GuestFrame] {
    let first = GuestFrame(rawValue: Slots.windowFrame(vif: slot))
    return (0..<frames).map { first.advanced(by: $0) }
  }

  /// Rings zeroed, ports allocated, shared pages placed, the console announced to kernels that know nothing of the
  /// device page.
  func wire(_ domain: DomainID, _ flavour: Flavour) throws(XenError) {
    try zeroRings(domain, flavour)
    for expected in 1...UInt32(Slots.portCount) {
      let port = try hypervisor.allocatePort(domain)
      // Ports are a function of the slot: a hypervisor that numbers them otherwise breaks the ABI.
      guard port.rawValue == expected else {
        throw XenError(
          call: "allocate event channel \(expected)", domain: domain, errno: EPROTO, detail: "got \(port)")
      }
    }
    try hypervisor.place(domain, .sharedInfo, at: GuestFrame(rawValue: Slots.sharedInfoFrame))
    try hypervisor.place(domain, .grantTable(index: 0), at: GuestFrame(rawValue: Slots.grantTableFrame))
    try hypervisor.set(.consoleFrame, of: domain, to: Slots.consoleFrame)
    try hypervisor.set(.consolePort, of: domain, to: UInt64(Slots.consolePort))
  }

  private func zeroRings(_ domain: DomainID, _ flavour: Flavour) throws(XenError) {
    var zeroed = [Slots.consoleFrame, Slots.powerctlFrame].map { GuestFrame(rawValue: $0) }
    let rings = VifRings(windowFrames: flavour.windowFrames)
    let ringFrames = (Int(rings.buffers) + GuestFrame.size - 1) / GuestFrame.size
    for slot in 0..<flavour.vifs { zeroed += Self.window(slot, frames: ringFrames) }
    let mapping = try hypervisor.map(domain, frames: zeroed)
    mapping.zero(0..<mapping.byteCount)
  }

  /// Maps what a shell keeps mapped: the start info and the device page.
  func mapPages(_ domain: DomainID, startInfo: UInt64) throws(XenError) -> ForeignMapping {
    try hypervisor.map(domain, frames: [GuestFrame(rawValue: startInfo), Self.devicePageFrame])
  }

  func layPages(_ shell: DomainShell) throws(XenError) {
    let mapping = try mapPages(shell.domain, startInfo: Slots.startInfoFrame)
    mapping.zero(0..<mapping.byteCount)
    shell.replacePages(with: mapping, startInfo: Slots.startInfoFrame)
    try hypervisor.setReadOnly(shell.domain, frame: Self.devicePageFrame)
  }

  /// Whether the guest's device page is still the read-only frame that was laid. A hostile guest can put another there.
  public func isIntact(_ shell: DomainShell) throws(XenError) -> Bool {
    try hypervisor.isReadOnly(shell.domain, frame: Self.devicePageFrame)
  }

  /// Sees to it that a slot has a window of the flavour's size, with empty rings.
  func makeWindow(_ shell: DomainShell, _ slot: Int) throws {
    let frames = Self.window(slot, frames: shell.flavour.windowFrames)
    if (try? hypervisor.map(shell.domain, frames: frames)) == nil {
      guard let info = try hypervisor.info(of: shell.identity) else {
        throw XenError(call: "populate window", domain: shell.domain, errno: ESRCH)
      }
      try hypervisor.setMaxMemory(shell.domain, kibibytes: UInt64(info.pages + frames.count) * 4)
      try hypervisor.setPagingPool(
        shell.domain, bytes: UInt64(shell.flavour.pagingPoolPages(addedVifs: slot + 1)) * 4096)
      try hypervisor.populate(shell.domain, extents: frames, order: 0)
    }
    let mapping = try hypervisor.map(shell.domain, frames: frames)
    mapping.zero(0..<mapping.byteCount)
  }

  /// The generation of the device page that the guest says it has read. Guest-controlled.
  public func generationSeen(_ shell: DomainShell) throws(XenError) -> UInt32 {
    let mapping = try hypervisor.map(shell.domain, frames: [GuestFrame(rawValue: Slots.powerctlFrame)])
    return mapping.loadWord(at: Int(CHAOS_POWERCTL_GENERATION_SEEN))
  }
}
