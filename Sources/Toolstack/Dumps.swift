import ChaosAPI
import CoreDump
import DevicePages
import ShellPool
import Synchronization
import Threads
import Xen

/// A guest's memory and vCPUs on their way into a file. The guest stands still until ``end(on:)``.
public final class GuestDump: Sendable {
  /// Bytes of the whole file.
  public let length: Int
  public let guest: String
  private let toolstack: Toolstack
  private let held: Guest
  private let hold: GuestHold
  private let identity: DomainIdentity
  private let stream: Mutex<CoreStream>

  fileprivate init(_ toolstack: Toolstack, _ guest: Guest, _ hold: GuestHold, _ file: CoreFile) {
    self.toolstack = toolstack
    held = guest
    self.hold = hold
    identity = guest.identity
    self.guest = guest.name
    length = file.length
    stream = Mutex(CoreStream(file))
  }

  /// The next bytes of the file; nil at its end.
  public func next(_ blocking: borrowing Blocking) throws(APIError) -> [UInt8]? {
    do {
      return try stream.withLock { stream in
        try stream.next { frames in
          guard held.hold === hold, let info = try toolstack.hypervisor.info(of: identity), !info.isDying else {
            throw APIError(.wrongState, "guest '\(guest)' ended while it was dumped")
          }
          let copied = try toolstack.hypervisor.copy(
            identity.domain, frames: frames.map { GuestFrame(rawValue: $0) })
          return (copied.bytes, copied.isThere)
        }
      }
    } catch {
      toolstack.report("the dump of guest '\(guest)' is cut off: \(error)")
      throw APIError(error)
    }
  }

  /// Lets the guest go on. Safe to repeat.
  public func end(on pool: BlockingPool) async {
    do {
      try await pool.run { [self] blocking in toolstack.release(hold, of: held, blocking) }
    } catch {
      // The pool is full.
      toolstack.abandon(hold, of: held)
    }
  }
}

extension Toolstack {
  /// Begins to dump a guest's memory and vCPUs. A guest that runs is paused meanwhile; one that crashed and was kept
  /// is dumped as it is.
  public func dump(
    _ reference: String, as format: DumpFormat, _ blocking: borrowing Blocking
  ) throws(APIError) -> GuestDump {
    let guest = try registry.find(reference)
    do {
      let (hold, file) = try hold(guest, for: "being dumped", blocking) { info in
        let memory = Self.frames(of: guest)
        return switch format {
        case .elf: try debuggerCore(guest.identity, memory)
        case .xen: try xenCore(info, memory, vcpus: guest.shell.flavour.vcpus)
        }
      }
      return GuestDump(self, guest, hold, file)
    } catch {
      throw APIError(error)
    }
  }

  /// What a guest was given, ascending.
  private static func frames(of guest: Guest) -> [Range<UInt64>] {
    let flavour = guest.shell.flavour
    let ram = flavour.memoryPlan?.ram.map { $0.lowerBound >> 12..<$0.upperBound >> 12 } ?? []
    let slots = Set(0..<flavour.vifs).union(guest.record.vifs.map(\.slot))
    let windows = slots.map { slot in
      Slots.windowFrame(vif: slot)..<Slots.windowFrame(vif: slot) + UInt64(flavour.windowFrames)
    }
    let special = Slots.startInfoFrame..<Slots.grantTableFrame + 1
    return (ram + [special] + windows).sorted { $0.lowerBound < $1.lowerBound }
  }

  private func debuggerCore(_ identity: DomainIdentity, _ memory: [Range<UInt64>]) throws -> CoreFile {
    let vcpus = try VCPUState.all(inContext: try hypervisor.context(of: identity.domain))
    guard let first = vcpus.first else { throw APIError(.internal, "domain \(identity.domain) has no vCPU") }
    let mappings = try PageTables(first)?.mappings { frame in
      guard memory.contains(where: { $0.contains(frame) }) else { return nil }
      let copied = try hypervisor.copy(identity.domain, frames: [GuestFrame(rawValue: frame)])
      return copied.isThere[0] ? copied.bytes : nil
    }
    return .elf(memory: memory, vcpus: vcpus, mappings: mappings ?? [])
  }

  private func xenCore(_ info: DomainInfo, _ memory: [Range<UInt64>], vcpus: Int) throws -> CoreFile {
    let contexts = try (0..<vcpus).compactMap { try hypervisor.dumpContext(of: info.id, vcpu: $0) }
    guard !contexts.isEmpty else { throw APIError(.internal, "domain \(info.id) has no vCPU") }
    let sharedInfo = try info.sharedInfoFrame.map { try hypervisor.copy(info.id, frames: [$0]) }
    return .xen(
      memory: memory, contexts: contexts,
      sharedInfo: sharedInfo.flatMap { $0.isThere[0] ? $0.bytes : nil },
      version: try hypervisor.versionDescription())
  }
}
