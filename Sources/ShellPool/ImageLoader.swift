import DevicePages
import DomainBuilder
import Glibc
import Synchronization
import Xen

/// Loads images into shells and points their first vCPU at the entry.
final class ImageLoader: Sendable {
  private let hypervisor: Hypervisor
  private let wiring: DomainWiring
  /// Where a new vCPU's constant records come from; the same for every domain of a host.
  private let startContext = Mutex<StartContext?>(nil)

  init(hypervisor: Hypervisor) {
    self.hypervisor = hypervisor
    wiring = DomainWiring(hypervisor: hypervisor)
  }

  /// Copies kernel and ramdisk into a shell, lays its start info and points its vCPU at the entry.
  func load(_ images: BootImages, into shell: DomainShell, commandLine: String) throws {
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
      shell.replacePages(with: try wiring.mapPages(shell.domain, startInfo: startInfo), startInfo: startInfo)
    }
    let firmware = plan.firmwareRegion(for: kernel)
    let info = StartInfo(plan: plan, commandLine: commandLine, ramdisk: range, frame: startInfo, firmware: firmware)
    shell.write(info)
    if let firmware { try layForeign(loader, shell, info, firmware) }
    let context = try startContext(of: shell.domain)
    try hypervisor.setContext(
      of: shell.domain, try context.bytes(entry: kernel.entry, startInfo: UInt32(startInfo << 12)))
  }

  /// What a kernel that knows nothing of the device page finds its processors and its memory by, and tells the time.
  private func layForeign(
    _ loader: KernelLoader, _ shell: DomainShell, _ info: StartInfo, _ firmware: FirmwareRegion
  ) throws {
    let domain = shell.domain
    try loader.write(firmware, vcpus: shell.flavour.vcpus)
    try hypervisor.set(.identityPageTable, of: domain, to: firmware.identityPageTable.lowerBound)
    try hypervisor.setMemoryMap(
      domain, info.map.entries.map { Hypervisor.MemoryRange(bytes: $0.range, type: $0.kind.rawValue) })
    let policy = try hypervisor.cpuPolicy(of: domain).withoutThreads
    if !policy.leaves.isEmpty { try hypervisor.setCPUPolicy(of: domain, policy) }
    try hypervisor.setDefaultTSC(of: domain)
  }

  private func startContext(of domain: DomainID) throws(XenError) -> StartContext {
    try startContext.withLock { context throws(XenError) in
      if let context { return context }
      let read = StartContext(template: try hypervisor.context(of: domain))
      context = read
      return read
    }
  }
}
