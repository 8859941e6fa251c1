import CXen
import Glibc

/// Frames of a guest mapped into this process; unmapped when dropped.
///
/// The guest may change what it reads at any time, so that a reader copies first and checks the copy.
/// Invariant: `base` points at `count` mapped frames until `deinit`; every access is bounds-checked against
/// that. The mapping may move between threads, but its owner serialises access.
public struct ForeignMapping: ~Copyable, @unchecked Sendable {
  private let handle: ForeignMemoryHandle
  private let base: UnsafeMutableRawPointer
  /// Mapped frames.
  public let count: Int

  init(handle: ForeignMemoryHandle, domain: DomainID, frames: [GuestFrame]) throws(XenError) {
    precondition(!frames.isEmpty)
    let numbers = frames.map { xen_pfn_t($0.rawValue) }
    // Without an error array the library fails as a whole when any frame cannot be mapped.
    guard
      let mapped = xenforeignmemory_map(
        handle.raw, UInt32(domain.rawValue), PROT_READ | PROT_WRITE, numbers.count, numbers, nil)
    else { throw XenError.last("map guest memory", domain) }
    self.handle = handle
    base = mapped
    count = frames.count
  }

  deinit { xenforeignmemory_unmap(handle.raw, base, count) }

  /// Mapped bytes.
  public var byteCount: Int { count * GuestFrame.size }

  /// Copies `bytes` to `offset`. Traps when they do not fit: offsets are the toolstack's own.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    precondition(offset >= 0 && bytes.count <= byteCount - offset)
    guard let source = bytes.baseAddress else { return }
    memcpy(base + offset, source, bytes.count)
  }

  public func write(_ bytes: [UInt8], at offset: Int) {
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  public func zero(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount)
    memset(base + range.lowerBound, 0, range.count)
  }

  /// A copy of the bytes as they are now.
  public func read(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount)
    return Array(UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
  }

  /// Loads a naturally aligned 32-bit little-endian word.
  public func loadWord(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset % 4 == 0 && offset <= byteCount - 4)
    return UInt32(littleEndian: atomicLoad(base + offset))
  }

  /// Stores a naturally aligned 32-bit little-endian word, visible after everything stored before.
  public func storeWord(_ value: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset % 4 == 0 && offset <= byteCount - 4)
    atomicStore(value.littleEndian, base + offset)
  }
}
