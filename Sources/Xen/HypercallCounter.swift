import Synchronization

/// The kinds of request the toolstack makes of the hypervisor, for counting.
public enum Hypercall: Int, CaseIterable, Sendable {
  case domainCreate, domainDestroy, domainPause, domainUnpause, domainInfo, domainList, setHandle
  case setMaxMemory, setPagingPool, setMaxVCPUs, populatePhysmap, addToPhysmap, setMemoryMap
  case eventChannelAllocate, setParameter, getContext, setContext, setMemoryType, getMemoryType
  case foreignMap, hostInfo, setSchedulerWeight, setAffinity, getCPUPolicy, setCPUPolicy, setTSCMode
}

/// Counts hypercalls by kind since the process started. One relaxed increment a call, so it stays on in
/// production; tests and `chaos-bench` read it.
public final class HypercallCounter: Sendable {
  private let counts: [Counter] = Hypercall.allCases.map { _ in Counter() }

  private final class Counter: Sendable {
    let value = Atomic<Int>(0)
  }

  func add(_ call: Hypercall) {
    counts[call.rawValue].value.wrappingAdd(1, ordering: .relaxed)
  }

  /// The counts now, by kind; kinds that were never called are left out.
  public var snapshot: [Hypercall: Int] {
    var result: [Hypercall: Int] = [:]
    for call in Hypercall.allCases {
      let count = counts[call.rawValue].value.load(ordering: .relaxed)
      if count > 0 { result[call] = count }
    }
    return result
  }
}
