import Backends
import CDevicePage
import DevicePages
import DomainBuilder
import Glibc
import ImageStore
import StateFiles
import Synchronization
import VirtualLAN
import Xen

/// Makes and unmakes shells: the prepare phase.
public final class ShellBuilder: Sendable {
  public let hypervisor: Hypervisor
  public let network: HostNetwork
  public let backend: BackendService
  public let records: RecordStore
  /// Folder of the console logs.
  private let logs: String
  /// Where a new vCPU's constant records come from; the same for every domain of a host.
  private let startContext = Mutex<StartContext?>(nil)

  public init(
    hypervisor: Hypervisor, network: HostNetwork, backend: BackendService, records: RecordStore, logs: String
  ) {
    self.hypervisor = hypervisor
    self.network = network
    self.backend = backend
    self.records = records
    self.logs = logs
  }

  /// The images a shell gets loaded.
  public struct Images: Sendable {
    public let kernel: StoredImage
    public let ramdisk: StoredImage?

    public init(kernel: StoredImage, ramdisk: StoredImage?) {
      self.kernel = kernel
      self.ramdisk = ramdisk
    }

    /// The images a hot flavour names.
    ///
    /// - Throws: ``ImageStoreError`` when the store no longer has one of them.
    public init(_ hot: Flavour.HotImage, in store: ImageStore) throws(ImageStoreError) {
      let kernel = try store.find(hot.kernel.description)
      guard let digest = hot.ramdisk else {
        self.init(kernel: kernel, ramdisk: nil)
        return
      }
      self.init(kernel: kernel, ramdisk: try store.find(digest.description, isKernel: false))
    }

    /// What is in force on the vifs of a guest that runs the kernel.
    public var vifFeatures: VifFeatures {
      VifFeatures.inForce(declared: kernel.kernel?.runtime?.vifFeatures ?? 0)
    }
  }

  // MARK: Prepare

  /// Makes a shell; on failure nothing of it is left.
  ///
  /// - Parameters:
  ///   - images: present exactly when the flavour is hot.
  ///   - observe: called before each step.
  public func build(
    _ flavour: Flavour, handle: DomainHandle, images: Images?, observe: Procedure.Observer?
  ) throws -> DomainShell {
    var procedure = Procedure("prepare", observe: observe)
    do {
      let shell = try prepare(flavour, handle, images, &procedure)
      try procedure.step("record shell") {
        try records.write(shell.record)
      }
      return shell
    } catch {
      procedure.rollBack()
      throw error
    }
  }

  private func prepare(
    _ flavour: Flavour, _ handle: DomainHandle, _ images: Images?, _ procedure: inout Procedure
  ) throws -> DomainShell {
    try procedure.step("record") {
      try records.write(DomainRecord(handle: handle, phase: .building, flavour: flavour))
    } undo: { [records] in
      records.remove(handle)
    }
    let domain = try procedure.step("create domain") {
      try hypervisor.createDomain(handle: handle, maxVCPUs: flavour.vcpus)
    } undo: { domain in
      try? self.destroyDomain(domain, handle)
    }
    try procedure.step("limit") { try setLimits(domain, flavour) }
    try procedure.step("populate") { try populate(domain, flavour) }
    try procedure.step("wire") { try wire(domain, flavour) }
    var queues: [Descriptors] = []
    for slot in 0..<flavour.vifs {
      queues.append(try createTap(domain, slot, &procedure))
    }
    let shell = DomainShell(
      handle: handle, domain: domain, flavour: flavour, pages: nil)
    try procedure.step("map pages") {
      try layPages(shell)
    } undo: {
      shell.unmap()
    }
    try procedure.step("attach back-end") {
      try attachBackend(shell, features: images?.vifFeatures ?? .always, queues: queues)
    } undo: {
      _ = try? self.backend.perform(.detach(shell.key))
    }
    if let images { try procedure.step("load image") { try load(images, into: shell, commandLine: "") } }
    return shell
  }

  private func setLimits(_ domain: DomainID, _ flavour: Flavour) throws(XenError) {
    try hypervisor.setMaxMemory(domain, kibibytes: UInt64(flavour.pages) * 4)
    try hypervisor.setMaxVCPUs(domain, flavour.vcpus)
    try hypervisor.setPagingPool(domain, bytes: UInt64(flavour.pagingPoolPages) * 4096)
  }

  private func populate(_ domain: DomainID, _ flavour: Flavour) throws {
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

  /// Where every guest's device page is.
  public static let devicePageFrame = GuestFrame(rawValue: Slots.devicePageFrame)

  /// Everything a guest would have to ask for on another toolstack: rings zeroed, ports allocated, shared pages
  /// placed, the console announced to kernels that know nothing of the device page.
  private func wire(_ domain: DomainID, _ flavour: Flavour) throws(XenError) {
    var zeroed = [Slots.consoleFrame, Slots.powerctlFrame].map { GuestFrame(rawValue: $0) }
    let rings = VifRings(windowFrames: flavour.windowFrames)
    let ringFrames = (Int(rings.buffers) + GuestFrame.size - 1) / GuestFrame.size
    for slot in 0..<flavour.vifs { zeroed += Self.window(slot, frames: ringFrames) }
    let mapping = try hypervisor.map(domain, frames: zeroed)
    mapping.zero(0..<mapping.byteCount)
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

  /// A tap queue and a vhost-net instance, both open; closed when dropped.
  private final class Descriptors: Sendable {
    let tap, vhost: Descriptor

    init(tap: consuming Descriptor, vhost: consuming Descriptor) {
      self.tap = tap
      self.vhost = vhost
    }
  }

  private func createTap(
    _ domain: DomainID, _ slot: Int, _ procedure: inout Procedure
  ) throws -> Descriptors {
    let name = DomainShell.tapName(domain, slot: slot)
    let queue = try procedure.step("create tap") {
      try network.createTap(name)
    } undo: { _ in
      try? self.network.delete([name])
    }
    return Descriptors(tap: Descriptor(adopting: queue), vhost: try Self.openVhost())
  }

  private static func openVhost() throws(BackendError) -> Descriptor {
    let raw = open("/dev/vhost-net", O_RDWR | O_CLOEXEC)
    if raw < 0 { throw BackendError("open /dev/vhost-net", errno: errno) }
    return Descriptor(adopting: raw)
  }

  /// Maps what a shell keeps mapped: the start info and the device page.
  private func mapPages(_ domain: DomainID, startInfo: UInt64) throws(XenError) -> ForeignMapping {
    try hypervisor.map(domain, frames: [GuestFrame(rawValue: startInfo), Self.devicePageFrame])
  }

  private func layPages(_ shell: DomainShell) throws(XenError) {
    let mapping = try mapPages(shell.domain, startInfo: Slots.startInfoFrame)
    mapping.zero(0..<mapping.byteCount)
    shell.replacePages(with: mapping, startInfo: Slots.startInfoFrame)
    try hypervisor.setReadOnly(shell.domain, frame: Self.devicePageFrame)
  }

  // MARK: Back-end

  /// Hands a domain to the back-end: what it may map, ring and write, and the queues of its vifs.
  private func attachBackend(
    _ shell: DomainShell, features: VifFeatures, queues: [Descriptors]
  ) throws {
    let privcmd = Descriptor(adopting: try RestrictedDevices.openPrivcmd(for: shell.domain))
    let channels = Descriptor(adopting: try RestrictedDevices.openEventChannels(for: shell.domain))
    let log = try openLog(shell.handle)
    let vifs = shell.taps.map { shell.flavour.vif(slot: $0.slot, features: features) }
    try backend.perform(
      .attach(shell.key, vifs: vifs),
      descriptors: [privcmd.raw, channels.raw, log.raw] + queues.flatMap { [$0.tap.raw, $0.vhost.raw] })
  }

  /// Hands a domain to a back-end that does not serve it yet, because its predecessor died.
  public func reattach(_ shell: DomainShell, features: VifFeatures) throws {
    let queues = try shell.taps.map { tap in
      Descriptors(tap: Descriptor(adopting: try network.openTap(tap.name)), vhost: try Self.openVhost())
    }
    try attachBackend(shell, features: features, queues: queues)
  }

  // MARK: Vifs of a running guest

  /// Gives a guest the window, the tap and the back-end of one more vif. On failure none of it is left but the
  /// window's memory, which the next vif in the slot takes.
  ///
  /// The port has been there since the domain was made.
  public func addVif(
    _ shell: DomainShell, slot: Int, features: VifFeatures, _ procedure: inout Procedure
  ) throws {
    try procedure.step("populate window") { try makeWindow(shell, slot) }
    let queue = try createTap(shell.domain, slot, &procedure)
    shell.setHasTap(true, slot: slot)
    try procedure.step("attach vif") {
      let privcmd = Descriptor(adopting: try RestrictedDevices.openPrivcmd(for: shell.domain))
      try backend.perform(
        .attachVif(shell.key, shell.flavour.vif(slot: slot, features: features)),
        descriptors: [privcmd.raw, queue.tap.raw, queue.vhost.raw])
    } undo: { _ in
      shell.setHasTap(false, slot: slot)
      _ = try? self.backend.perform(.detachVif(shell.key, slot: UInt8(slot)))
    }
  }

  /// Takes a vif's back-end and tap away. Safe to repeat.
  public func removeVif(_ shell: DomainShell, slot: Int) throws {
    _ = try? backend.perform(.detachVif(shell.key, slot: UInt8(slot)))
    try network.delete([shell.tap(slot: slot)])
    shell.setHasTap(false, slot: slot)
  }

  /// Sees to it that a slot has a window of the flavour's size, with empty rings.
  private func makeWindow(_ shell: DomainShell, _ slot: Int) throws {
    let frames = Self.window(slot, frames: shell.flavour.windowFrames)
    if (try? hypervisor.map(shell.domain, frames: frames)) == nil {
      guard let info = try hypervisor.info(of: shell.domain) else {
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

  private func logPath(_ handle: DomainHandle) -> String { "\(logs)/\(handle.uuid).log" }

  private func openLog(_ handle: DomainHandle) throws(BackendError) -> Descriptor {
    let path = logPath(handle)
    let raw = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
    if raw < 0 { throw BackendError("open console log \(path)", errno: errno) }
    return Descriptor(adopting: raw)
  }

  // MARK: Image

  /// Why images do not fit a flavour; nil when they do. Asked before anything is made.
  public static func misfit(_ images: Images, _ flavour: Flavour) -> String? {
    guard let kernel = images.kernel.kernel, let plan = flavour.memoryPlan else {
      return "\(flavour.memoryMiB) MiB leave no room for RAM beside \(flavour.vifs) windows"
    }
    guard kernel.segments.allSatisfy({ plan.contains($0.range) }) else {
      return "the image needs RAM up to \(kernel.end >> 10) KiB, \(flavour.memoryMiB) MiB of memory give "
        + "\((plan.ram.first?.upperBound ?? 0) >> 10) KiB"
    }
    guard plan.startInfoFrame(for: kernel) != nil else {
      return "\(flavour.memoryMiB) MiB leave no room for the start info beside the image"
    }
    if let ramdisk = images.ramdisk, plan.ramdiskAddress(size: UInt64(ramdisk.size), kernel: kernel) == nil {
      return "kernel and ramdisk (\(ramdisk.size >> 10) KiB) do not fit \(flavour.memoryMiB) MiB of memory"
    }
    return nil
  }

  /// Copies kernel and ramdisk into a shell, lays its start info and points its vCPU at the entry.
  public func load(_ images: Images, into shell: DomainShell, commandLine: String) throws {
    guard let kernel = images.kernel.kernel, let plan = shell.flavour.memoryPlan,
      let startInfo = plan.startInfoFrame(for: kernel)
    else { throw XenError(call: "load image", domain: shell.domain, errno: EINVAL) }
    let loader = KernelLoader(hypervisor: hypervisor, domain: shell.domain)
    try images.kernel.withBytes { try loader.load(kernel, from: $0) }
    var range: Range<UInt64>?
    if let ramdisk = images.ramdisk {
      let size = UInt64(ramdisk.size)
      guard let address = plan.ramdiskAddress(size: size, kernel: kernel) else {
        throw XenError(call: "place ramdisk", domain: shell.domain, errno: ENOSPC)
      }
      try ramdisk.withBytes { try loader.write($0, padTo: size, at: address) }
      range = address..<address + size
    }
    if startInfo != Slots.startInfoFrame {
      shell.replacePages(with: try mapPages(shell.domain, startInfo: startInfo), startInfo: startInfo)
    }
    shell.write(StartInfo(plan: plan, commandLine: commandLine, ramdisk: range, frame: startInfo))
    let context = try startContext(of: shell.domain)
    try hypervisor.setContext(
      of: shell.domain,
      try context.bytes(entry: kernel.entry, startInfo: UInt32(startInfo << 12)))
  }

  private func startContext(of domain: DomainID) throws(XenError) -> StartContext {
    try startContext.withLock { context throws(XenError) in
      if let context { return context }
      let read = StartContext(template: try hypervisor.context(of: domain))
      context = read
      return read
    }
  }

  // MARK: Adopt and unmake

  /// Takes over a domain that another chaosd made.
  public func adopt(_ record: DomainRecord, domain: DomainID) throws(XenError) -> DomainShell {
    let startInfo = record.startInfoFrame ?? Slots.startInfoFrame
    let mapping = try mapPages(domain, startInfo: startInfo)
    return DomainShell(
      handle: record.handle, domain: domain, flavour: record.flavour, pages: .some(mapping),
      slots: record.vifSlots)
  }

  /// Stands for a domain that can only be torn down: one found half-made, or whose pages cannot be mapped.
  public func remains(_ record: DomainRecord, domain: DomainID) -> DomainShell {
    DomainShell(
      handle: record.handle, domain: domain, flavour: record.flavour, pages: nil, slots: record.vifSlots)
  }

  /// Gives a shell the handle its guest was asked to have. The new record comes first and the old one goes last,
  /// so that the domain always has one.
  ///
  /// - Parameter record: what to write under the new handle.
  public func rename(_ shell: DomainShell, _ record: DomainRecord) throws -> DomainShell {
    try records.write(record)
    try hypervisor.setHandle(shell.domain, record.handle)
    Glibc.rename(logPath(shell.handle), logPath(record.handle))
    records.remove(shell.handle)
    return shell.renamed(to: record.handle)
  }

  /// Unmakes a domain and everything that was made for it: back-end detached, pages unmapped, domain destroyed,
  /// taps deleted, the domain's end waited for, log and record removed. Safe to repeat, so a failure in the middle
  /// is mended by another try.
  public func tearDown(_ shell: DomainShell, observe: Procedure.Observer? = nil) throws {
    var procedure = Procedure("destroy", observe: observe)
    // Without a back-end nothing serves the domain; what died with it needs no detaching.
    try procedure.step("detach back-end") { _ = try? backend.perform(.detach(shell.key)) }
    try procedure.step("unmap pages") { shell.unmap() }
    try procedure.step("destroy domain") {
      if try isOurs(shell.domain, shell.handle) { try hypervisor.destroy(shell.domain) }
    }
    // The kernel takes its time for each of these, and the back-end lets go of the domain meanwhile.
    try procedure.step("delete taps") { try network.delete(shell.taps.map(\.name)) }
    try procedure.step("await end") { try awaitEnd(shell.domain, shell.handle) }
    try procedure.step("remove log") { _ = unlink(logPath(shell.handle)) }
    try procedure.step("remove record") { records.remove(shell.handle) }
  }

  /// Destroys a domain if it is still ours and waits until the hypervisor has let go of it.
  private func destroyDomain(_ domain: DomainID, _ handle: DomainHandle) throws {
    guard try isOurs(domain, handle) else { return }
    try hypervisor.destroy(domain)
    try awaitEnd(domain, handle)
  }

  /// Waits until a destroyed domain is gone, which it is when nobody maps its memory any more.
  private func awaitEnd(_ domain: DomainID, _ handle: DomainHandle) throws {
    // The hypervisor lets go in its own time, a few milliseconds: look often at first.
    var pause: UInt32 = 200
    for _ in 0..<500 {
      if try !isOurs(domain, handle) { return }
      usleep(pause)
      pause = min(pause * 2, 20_000)
    }
    throw XenError(call: "wait for the end of domain", domain: domain, errno: ETIMEDOUT)
  }

  /// Whether a domain still is the one we made: its number may have been reused.
  public func isOurs(_ domain: DomainID, _ handle: DomainHandle) throws(XenError) -> Bool {
    try hypervisor.info(of: domain)?.handle == handle
  }

  /// Removes taps and logs that belong to no domain of ours, and taps of vifs that a domain of ours does not have:
  /// what a kill in the middle of a step left.
  ///
  /// - Parameters:
  ///   - owned: the domains that stay, by handle.
  ///   - slots: the vifs that each of them has; one that is missing here is left alone.
  public func sweep(keeping owned: [DomainHandle: DomainID], slots: [DomainID: Set<Int>]) throws {
    let domains = Set(owned.values)
    let orphans = try network.links().map(\.name).filter { name in
      guard let owner = DomainShell.owner(ofTap: name.description) else { return false }
      guard domains.contains(owner.domain) else { return true }
      return slots[owner.domain].map { !$0.contains(owner.slot) } ?? false
    }
    for name in orphans {
      guard let owner = DomainShell.owner(ofTap: name.description),
        let handle = owned.first(where: { $0.value == owner.domain })?.key
      else { continue }
      let key = ControlProtocol.DomainKey(domain: owner.domain, handle: handle)
      _ = try? backend.perform(.detachVif(key, slot: UInt8(owner.slot)))
    }
    try network.delete(orphans)
    let kept = Set(owned.keys.map { logPath($0) })
    for path in StateFile.names(in: logs).map({ "\(logs)/\($0)" })
    where path.hasSuffix(".log") && !kept.contains(path) { unlink(path) }
  }
}
