import CXen
import Glibc

/// What the hypervisor says of one domain (XEN_DOMCTL_getdomaininfo).
public struct DomainInfo: Sendable {
  public let id: DomainID
  public let handle: DomainHandle
  public let isDying, isShutdown, isPaused, isBlocked, isRunning: Bool
  /// Meaningful only when ``isShutdown``.
  public let shutdownReason: ShutdownReason
  /// 4 KiB pages the domain has now.
  public let pages: Int
  /// The most pages it may have; beyond any host's memory when it has no limit.
  public let maxPages: Int
  /// Nanoseconds of CPU time used by all vCPUs.
  public let cpuNanoseconds: UInt64
  /// Where the guest sees its shared_info; nil where it does not.
  public let sharedInfoFrame: GuestFrame?

  public init(
    id: DomainID, handle: DomainHandle, isDying: Bool, isShutdown: Bool, isPaused: Bool, isBlocked: Bool,
    isRunning: Bool, shutdownReason: ShutdownReason, pages: Int, maxPages: Int, cpuNanoseconds: UInt64,
    sharedInfoFrame: GuestFrame? = nil
  ) {
    self.id = id
    self.handle = handle
    self.isDying = isDying
    self.isShutdown = isShutdown
    self.isPaused = isPaused
    self.isBlocked = isBlocked
    self.isRunning = isRunning
    self.shutdownReason = shutdownReason
    self.pages = pages
    self.maxPages = maxPages
    self.cpuNanoseconds = cpuNanoseconds
    self.sharedInfoFrame = sharedInfoFrame
  }
}

/// Why a domain shut down (xen/sched.h, SHUTDOWN_*). Guest-controlled.
public struct ShutdownReason: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let poweroff = ShutdownReason(rawValue: 0)
  public static let reboot = ShutdownReason(rawValue: 1)
  public static let suspend = ShutdownReason(rawValue: 2)
  public static let crash = ShutdownReason(rawValue: 3)
  public static let watchdog = ShutdownReason(rawValue: 4)
  public static let softReset = ShutdownReason(rawValue: 5)
}

/// What the physical host has (XEN_SYSCTL_physinfo, XENVER_*).
public struct HostMemory: Sendable {
  public let totalPages, freePages: Int
  public let cpus: Int
}

/// The hypervisor's control interface. The library handle serialises what needs it, so one instance is
/// shared by all threads.
public final class Hypervisor: Sendable {
  private let control: ControlHandle
  private let deviceModel: DeviceModelHandle
  let foreign: ForeignMemoryHandle
  private let call: CallHandle
  /// What is spoken with it.
  public let interface: HypervisorInterface
  public let counter = HypercallCounter()

  /// Opens /dev/xen/privcmd through Xen's stable libraries and finds the interface that the hypervisor speaks.
  ///
  /// - Parameter wanted: a domctl interface version to speak although it is not known.
  /// - Throws: ``XenError`` when this is not a Xen dom0 or the caller is not root; ``HypervisorInterface/Unknown``.
  public init(interface wanted: UInt32? = nil) throws {
    call = try CallHandle()
    control = try ControlHandle(call)
    deviceModel = try DeviceModelHandle()
    foreign = try ForeignMemoryHandle()
    interface = try Self.agree(control, wanted, xen: try Self.version(call))
  }

  private static func agree(
    _ control: borrowing ControlHandle, _ wanted: UInt32?, xen: String
  ) throws -> HypervisorInterface {
    let raw = control.raw
    let (interface, layout) = try HypervisorInterface.find(wanted: wanted, xen: xen) {
      kind, version throws(XenError) in
      let result = kind == .domctl ? cxen_probe_domctl(raw, version) : cxen_probe_sysctl(raw, version)
      if result >= 0 { return true }
      if errno == EACCES { return false }
      throw XenError.last("ask for Xen's \(kind) interface")
    }
    cxen_control_speak(raw, layout, interface.sysctl)
    return interface
  }

  @inline(__always)
  private func check(
    _ kind: Hypercall, _ name: StaticString, _ domain: DomainID?, _ body: () -> Int32
  ) throws(XenError) -> Int32 {
    counter.add(kind)
    let result = body()
    if result < 0 { throw XenError.last("\(name)", domain) }
    return result
  }

  // MARK: Life cycle

  /// Creates an empty PVH domain: hardware-assisted paging, an emulated local APIC and nothing else.
  ///
  /// - Parameters:
  ///   - handle: what the hypervisor will report for the domain; recorded before the call.
  ///   - maxVCPUs: 1...128.
  public func createDomain(handle: DomainHandle, maxVCPUs: Int) throws(XenError) -> DomainID {
    var limits = cxen_domain_limits()
    withUnsafeMutableBytes(of: &limits.handle) { $0.copyBytes(from: handle.octets) }
    limits.max_vcpus = UInt32(maxVCPUs)
    limits.max_event_channel_port = Limits.maxEventChannelPort
    limits.max_grant_frames = Limits.maxGrantFrames
    let id = try check(.domainCreate, "create domain", nil) { cxen_domain_create(control.raw, &limits) }
    return DomainID(rawValue: UInt16(id))
  }

  /// Ceilings given to every guest: 2-level event channels' first 1,024 ports, and 32 grant frames.
  enum Limits {
    static let maxEventChannelPort: UInt32 = 1023
    static let maxGrantFrames: Int32 = 32
  }

  /// Asks for the domain's destruction. It is gone only when nobody maps its memory: see ``info(of:)``.
  public func destroy(_ domain: DomainID) throws(XenError) {
    _ = try check(.domainDestroy, "destroy domain", domain) {
      cxen_domain_destroy(control.raw, domain.rawValue)
    }
  }

  public func pause(_ domain: DomainID) throws(XenError) {
    _ = try check(.domainPause, "pause domain", domain) {
      cxen_domain_pause(control.raw, domain.rawValue)
    }
  }

  public func unpause(_ domain: DomainID) throws(XenError) {
    _ = try check(.domainUnpause, "unpause domain", domain) {
      cxen_domain_unpause(control.raw, domain.rawValue)
    }
  }

  public func setHandle(_ domain: DomainID, _ handle: DomainHandle) throws(XenError) {
    let octets = handle.octets
    _ = try check(.setHandle, "set domain handle", domain) {
      cxen_domain_set_handle(control.raw, domain.rawValue, octets)
    }
  }

  /// Sets a domain's weight under the credit2 scheduler (1...65535; domains start with 256). Fails where another
  /// scheduler runs.
  public func setSchedulerWeight(_ domain: DomainID, _ weight: UInt16) throws(XenError) {
    _ = try check(.setSchedulerWeight, "set scheduler weight", domain) {
      cxen_set_credit2_weight(control.raw, domain.rawValue, weight)
    }
  }

  /// What the credit2 scheduler gives a domain that nobody set anything for (CSCHED2_DEFAULT_WEIGHT).
  public static let defaultWeight = 256

  /// Sets a domain's weight and its cap, in percent of one processor (0: none), under the credit2 scheduler. Fails
  /// where another scheduler runs.
  public func setCredit2(_ domain: DomainID, weight: UInt16, cap: UInt16) throws(XenError) {
    _ = try check(.setSchedulerWeight, "set scheduler weight and cap", domain) {
      cxen_set_credit2(control.raw, domain.rawValue, weight, cap)
    }
  }

  /// Lets a vCPU run on these physical processors only.
  public func setAffinity(_ domain: DomainID, vcpu: Int, cpus: [Int]) throws(XenError) {
    let numbers = cpus.map { UInt32(clamping: $0) }
    _ = try check(.setAffinity, "pin vCPU", domain) {
      cxen_set_affinity(control.raw, domain.rawValue, UInt32(vcpu), numbers, numbers.count)
    }
  }

  // MARK: Reading

  /// Nil when there is no such domain.
  public func info(of domain: DomainID) throws(XenError) -> DomainInfo? {
    let found = try domains(from: domain, limit: 1)
    guard let first = found.first, first.id == domain else { return nil }
    return first
  }

  /// All domains, dom0 included, 1,024 a call.
  public func domains() throws(XenError) -> [DomainInfo] {
    var result: [DomainInfo] = []
    var next = DomainID.dom0
    while true {
      let part = try domains(from: next, limit: 1024)
      result += part
      guard part.count == 1024, let last = part.last else { return result }
      next = DomainID(rawValue: last.id.rawValue + 1)
    }
  }

  private func domains(from first: DomainID, limit: Int) throws(XenError) -> [DomainInfo] {
    counter.add(limit == 1 ? .domainInfo : .domainList)
    var failure: XenError?
    let found = withUnsafeTemporaryAllocation(of: cxen_domain_info.self, capacity: limit) { buffer in
      let count = cxen_domain_list(control.raw, first.rawValue, UInt32(limit), buffer.baseAddress!)
      if count < 0 { failure = XenError.last("list domains") }
      return (0..<max(0, Int(count))).map { DomainInfo(buffer[$0]) }
    }
    if let failure { throw failure }
    return found
  }

  public func hostMemory() throws(XenError) -> HostMemory {
    var info = cxen_host_info()
    _ = try check(.hostInfo, "read host information", nil) { cxen_host_info(control.raw, &info) }
    return HostMemory(
      totalPages: Int(info.total_pages), freePages: Int(info.free_pages), cpus: Int(info.cpus))
  }

  /// What dom0 has, and whether that is a fixed share of the memory. Without one all memory is dom0's, and another
  /// toolstack balloons it at will.
  public func dom0Memory() throws(XenError) -> (isFixed: Bool, pages: Int) {
    let total = try hostMemory().totalPages
    guard let dom0 = try info(of: .dom0) else { return (false, 0) }
    return (dom0.maxPages < total, dom0.pages)
  }

  /// The hypervisor's version as `MAJOR.MINOR.EXTRA`.
  public func version() throws(XenError) -> String {
    counter.add(.hostInfo)
    return try Self.version(call)
  }

  private static func version(_ call: borrowing CallHandle) throws(XenError) -> String {
    let raw = call.raw
    let packed = cxen_version(raw)
    guard packed >= 0 else { throw XenError.last("read Xen version") }
    let extra = try text("read Xen version") { cxen_version_extra(raw, $0, $1) }
    return "\(packed >> 16).\(packed & 0xffff)\(extra)"
  }

  /// What kinds of guest the hypervisor runs, as `xl info` shows it (`xen_caps`).
  public func capabilities() throws(XenError) -> String {
    counter.add(.hostInfo)
    return try Self.text("read Xen capabilities") { cxen_version_capabilities(call.raw, $0, $1) }
  }

  /// What Xen says of itself in a dump of a domain (struct xen_dumpcore_elfnote_xen_version_desc,
  /// docs/misc/dump-core-format.txt).
  public func versionDescription() throws(XenError) -> [UInt8] {
    counter.add(.hostInfo)
    var description = cxen_version_description()
    if cxen_describe_version(call.raw, &description) < 0 { throw XenError.last("read Xen version") }
    return withUnsafeBytes(of: description) { Array($0) }
  }

  private static func text(
    _ name: String, _ body: (UnsafeMutablePointer<CChar>, Int) -> Int32
  ) throws(XenError) -> String {
    var buffer = [CChar](repeating: 0, count: 1025)
    let capacity = buffer.count
    let result = buffer.withUnsafeMutableBufferPointer { body($0.baseAddress!, capacity) }
    if result < 0 { throw XenError.last(name) }
    return buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  // MARK: Memory

  /// - Parameter kibibytes: the most the domain may own.
  public func setMaxMemory(_ domain: DomainID, kibibytes: UInt64) throws(XenError) {
    _ = try check(.setMaxMemory, "set maximum memory", domain) {
      cxen_domain_set_max_memory(control.raw, domain.rawValue, kibibytes)
    }
  }

  /// Memory the hypervisor keeps for the domain's page tables. It may be shrunk later.
  public func setPagingPool(_ domain: DomainID, bytes: UInt64) throws(XenError) {
    _ = try check(.setPagingPool, "set paging pool", domain) {
      cxen_domain_set_paging_pool(control.raw, domain.rawValue, bytes)
    }
  }

  /// Gives the domain memory at `extents`, each 2^`order` frames long and as much aligned.
  public func populate(_ domain: DomainID, extents: [GuestFrame], order: Int) throws(XenError) {
    let frames = extents.map(\.rawValue)
    _ = try check(.populatePhysmap, "populate memory", domain) {
      cxen_populate(call.raw, domain.rawValue, frames, frames.count, UInt32(order))
    }
  }

  /// Which of the hypervisor's own pages ``place(_:space:at:)`` shows to a guest (xen/memory.h).
  public enum SharedSpace: Sendable {
    case sharedInfo
    /// The index-th frame of the grant table.
    case grantTable(index: UInt)
  }

  /// Places shared_info or a grant-table frame in the guest's physical memory, on the guest's behalf.
  public func place(_ domain: DomainID, _ space: SharedSpace, at frame: GuestFrame) throws(XenError) {
    let (kind, index): (UInt32, UInt64) =
      switch space {
      case .sharedInfo: (UInt32(XENMAPSPACE_shared_info), 0)
      case .grantTable(let index): (UInt32(XENMAPSPACE_grant_table), UInt64(index))
      }
    _ = try check(.addToPhysmap, "add to physical map", domain) {
      cxen_add_to_physmap(call.raw, domain.rawValue, kind, index, frame.rawValue)
    }
  }

  /// A range of guest-physical bytes and what it is: an e820 type (xen/include/public/hvm/e820.h).
  public struct MemoryRange: Equatable, Sendable {
    public let bytes: Range<UInt64>
    public let type: UInt32

    public init(bytes: Range<UInt64>, type: UInt32) {
      self.bytes = bytes
      self.type = type
    }
  }

  /// Sets what the guest is told when it asks for its memory map (XENMEM_memory_map); at most 64 ranges.
  public func setMemoryMap(_ domain: DomainID, _ map: [MemoryRange]) throws(XenError) {
    let ranges = map.map {
      cxen_memory_range(address: $0.bytes.lowerBound, length: UInt64($0.bytes.count), type: $0.type)
    }
    _ = try check(.setMemoryMap, "set memory map", domain) {
      cxen_set_memory_map(call.raw, domain.rawValue, ranges, ranges.count)
    }
  }

  /// Makes a frame read-only to the guest: its writes are discarded. Protection against accidents only, a
  /// hostile guest can remap the frame; ``isReadOnly(_:frame:)`` shows whether it did.
  public func setReadOnly(_ domain: DomainID, frame: GuestFrame) throws(XenError) {
    _ = try check(.setMemoryType, "make page read-only", domain) {
      xendevicemodel_set_mem_type(
        deviceModel.raw, domain.rawValue, HVMMEM_ram_ro, frame.rawValue, 1)
    }
  }

  public func isReadOnly(_ domain: DomainID, frame: GuestFrame) throws(XenError) -> Bool {
    let type = try check(.getMemoryType, "read memory type", domain) {
      cxen_mem_type(call.raw, domain.rawValue, frame.rawValue)
    }
    return type == cxen_mem_type_ram_ro
  }

  /// Maps frames of a guest into this process, in order, readable and writable.
  public func map(_ domain: DomainID, frames: [GuestFrame]) throws(XenError) -> ForeignMapping {
    counter.add(.foreignMap)
    return try ForeignMapping(handle: foreign, domain: domain, frames: frames)
  }

  // MARK: vCPUs, ports, parameters

  public func setMaxVCPUs(_ domain: DomainID, _ count: Int) throws(XenError) {
    _ = try check(.setMaxVCPUs, "set number of vCPUs", domain) {
      cxen_domain_set_max_vcpus(control.raw, domain.rawValue, UInt32(count))
    }
  }

  /// Allocates the guest's lowest free port, for dom0 to bind.
  public func allocatePort(_ domain: DomainID) throws(XenError) -> EventChannel.Port {
    let port = try check(.eventChannelAllocate, "allocate event channel", domain) {
      cxen_allocate_port(call.raw, domain.rawValue)
    }
    return EventChannel.Port(rawValue: UInt32(port))
  }

  /// The HVM parameters chaos sets (xen/hvm/params.h).
  public enum Parameter: Sendable {
    case consoleFrame, consolePort
    /// Guest-physical address of a page directory that maps the first 4 GiB onto themselves, for processors that
    /// cannot run a guest without paging (Intel's before 2010).
    case identityPageTable

    var index: UInt32 {
      switch self {
      case .identityPageTable: UInt32(HVM_PARAM_IDENT_PT)
      case .consoleFrame: UInt32(HVM_PARAM_CONSOLE_PFN)
      case .consolePort: UInt32(HVM_PARAM_CONSOLE_EVTCHN)
      }
    }
  }

  public func set(_ parameter: Parameter, of domain: DomainID, to value: UInt64) throws(XenError) {
    _ = try check(.setParameter, "set HVM parameter", domain) {
      cxen_set_parameter(call.raw, domain.rawValue, parameter.index, value)
    }
  }

  /// What CPUID tells the domain.
  public func cpuPolicy(of domain: DomainID) throws(XenError) -> CPUPolicy {
    // Xen 4.22 has some 100 leaves.
    var leaves = [cxen_cpuid_leaf](repeating: cxen_cpuid_leaf(), count: 1024)
    let count = try check(.getCPUPolicy, "read CPU policy", domain) {
      cxen_get_cpu_policy(control.raw, domain.rawValue, &leaves, UInt32(leaves.count))
    }
    return CPUPolicy(leaves: leaves.prefix(Int(count)).map(CPUPolicy.Leaf.init))
  }

  /// Replaces leaves of what CPUID tells the domain. EEXIST once it has run; EINVAL for what Xen does not allow.
  public func setCPUPolicy(of domain: DomainID, _ policy: CPUPolicy) throws(XenError) {
    let leaves = policy.leaves.map(\.raw)
    _ = try check(.setCPUPolicy, "set CPU policy", domain) {
      cxen_set_cpu_policy(control.raw, domain.rawValue, leaves, UInt32(leaves.count))
    }
  }

  /// Has the domain read the TSC as Xen thinks best, with the same zero on all its vCPUs.
  public func setDefaultTSC(of domain: DomainID) throws(XenError) {
    _ = try check(.setTSCMode, "set TSC mode", domain) { cxen_set_tsc_default(control.raw, domain.rawValue) }
  }

  /// Reads the domain's whole HVM context (xen/arch-x86/hvm/save.h).
  public func context(of domain: DomainID) throws(XenError) -> [UInt8] {
    let size = try check(.getContext, "read vCPU context size", domain) {
      cxen_get_context(control.raw, domain.rawValue, nil, 0)
    }
    var bytes = [UInt8](repeating: 0, count: Int(size))
    let length = try check(.getContext, "read vCPU context", domain) {
      cxen_get_context(control.raw, domain.rawValue, &bytes, UInt32(size))
    }
    bytes.removeLast(max(0, bytes.count - Int(length)))
    return bytes
  }

  /// What a vCPU does, as dumps have it (vcpu_guest_context_t, xen/include/public/arch-x86/xen.h); nil where there is no
  /// such vCPU, or it never ran.
  public func dumpContext(of domain: DomainID, vcpu: Int) throws(XenError) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: Int(CXEN_VCPU_CONTEXT_BYTES))
    counter.add(.getContext)
    if cxen_get_vcpu_context(control.raw, domain.rawValue, UInt32(vcpu), &bytes) >= 0 { return bytes }
    let error = XenError.last("read vCPU context", domain)
    // ESRCH may also be said of the domain; whoever asks then gets no vCPU at all.
    if error.errno == ESRCH || error.errno == ENODATA || error.errno == EINVAL { return nil }
    throw error
  }

  /// Loads an HVM context; `bytes` are whole records, ended by an END record.
  public func setContext(of domain: DomainID, _ bytes: [UInt8]) throws(XenError) {
    _ = try check(.setContext, "set vCPU context", domain) {
      cxen_set_context(control.raw, domain.rawValue, bytes, UInt32(bytes.count))
    }
  }
}

extension DomainInfo {
  fileprivate init(_ raw: cxen_domain_info) {
    id = DomainID(rawValue: raw.domain)
    handle = withUnsafeBytes(of: raw.handle) { DomainHandle($0)! }
    isDying = raw.flags & cxen_domain_dying != 0
    isShutdown = raw.flags & cxen_domain_shutdown != 0
    isPaused = raw.flags & cxen_domain_paused != 0
    isBlocked = raw.flags & cxen_domain_blocked != 0
    isRunning = raw.flags & cxen_domain_running != 0
    shutdownReason = ShutdownReason(rawValue: UInt8(truncatingIfNeeded: raw.flags >> 16))
    pages = Int(raw.pages)
    maxPages = Int(clamping: raw.max_pages)
    cpuNanoseconds = raw.cpu_time
    // Xen's INVALID_GFN, and whatever no guest can have.
    sharedInfoFrame = raw.shared_info_frame < 1 << 40 ? GuestFrame(rawValue: raw.shared_info_frame) : nil
  }
}
