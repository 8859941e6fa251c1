import CXen
import Glibc

/// Frames of a guest as they were when they were copied. Guest-controlled.
public struct CopiedFrames: Sendable {
  /// 4 KiB each; zeros where the guest has nothing.
  public var bytes: [UInt8]
  /// Which of them the guest has, by place.
  public var isThere: [Bool]
}

extension Hypervisor {
  /// Frames that one ``copy(_:frames:)`` may take: 4 MiB.
  public static let mostCopiedFrames = 1024

  /// Copies frames of a guest in one mapping. What the guest does not have, having given it back, say, is no error.
  ///
  /// - Parameter frames: at most ``mostCopiedFrames``.
  public func copy(_ domain: DomainID, frames: [GuestFrame]) throws(XenError) -> CopiedFrames {
    precondition(!frames.isEmpty && frames.count <= Self.mostCopiedFrames)
    counter.add(.foreignMap)
    let mapped = try PartialMapping(foreign, domain, frames)
    let errors = mapped.errors
    let bytes = [UInt8](unsafeUninitializedCapacity: frames.count * GuestFrame.size) { buffer, count in
      let base = UnsafeMutableRawPointer(buffer.baseAddress!)
      for (place, error) in errors.enumerated() {
        let offset = place * GuestFrame.size
        if error == 0 {
          memcpy(base + offset, mapped.base + offset, GuestFrame.size)
        } else {
          memset(base + offset, 0, GuestFrame.size)
        }
      }
      count = frames.count * GuestFrame.size
    }
    return CopiedFrames(bytes: bytes, isThere: errors.map { $0 == 0 })
  }
}

/// A read-only mapping of those of a guest's frames that there are.
/// Invariant: `base` points at as many frames as there are errors until `deinit`; those with an error must not be
/// touched.
private struct PartialMapping: ~Copyable {
  private let handle: ForeignMemoryHandle
  let base: UnsafeRawPointer
  /// By place: 0, or why the frame is not mapped.
  let errors: [Int32]

  init(_ handle: ForeignMemoryHandle, _ domain: DomainID, _ frames: [GuestFrame]) throws(XenError) {
    let numbers = frames.map { xen_pfn_t($0.rawValue) }
    var errors = [Int32](repeating: 0, count: numbers.count)
    guard
      let mapped = xenforeignmemory_map(
        handle.raw, UInt32(domain.rawValue), PROT_READ, numbers.count, numbers, &errors)
    else { throw XenError.last("map guest memory", domain) }
    self.handle = handle
    base = UnsafeRawPointer(mapped)
    self.errors = errors
  }

  deinit { xenforeignmemory_unmap(handle.raw, UnsafeMutableRawPointer(mutating: base), errors.count) }
}
