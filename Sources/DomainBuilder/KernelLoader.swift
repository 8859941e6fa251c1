import Xen

/// Copies a kernel and its ramdisk into a guest that has memory but has not run yet.
public struct KernelLoader {
  let hypervisor: Hypervisor
  let domain: DomainID

  public init(hypervisor: Hypervisor, domain: DomainID) {
    self.hypervisor = hypervisor
    self.domain = domain
  }

  /// Frames mapped at a time: 8 MiB, so that a large image needs little address space.
  private static let chunkFrames = 2048
  /// Bytes read at a time, on their way from the image into the guest.
  private static let pieceSize = 1 << 18

  /// Loads every segment of `image`, whose bytes are `content`, and zeroes what the file does not fill.
  /// The caller checked that the segments lie in the guest's RAM.
  ///
  /// - Throws: ``XenError``, or ``ImageReadError`` when the image cannot be read as far as it said.
  public func load(_ image: KernelImage, from content: some ImageContent) throws {
    for segment in image.segments {
      let bytes = segment.fileOffset..<segment.fileOffset + segment.fileSize
      try write(content, bytes, padTo: segment.memorySize, at: segment.address)
    }
  }

  /// Copies all of `content` to guest-physical `address` and zeroes from there up to `size` bytes.
  public func write(_ content: some ImageContent, padTo size: UInt64, at address: UInt64) throws {
    try write(content, 0..<content.byteCount, padTo: size, at: address)
  }

  /// Lays the page table and ACPI tables, with zeroes behind them to the region's end.
  /// The caller checked that the region lies in the guest's RAM (``MemoryPlan/firmwareRegion(for:)``).
  public func write(_ region: FirmwareRegion, vcpus: Int) throws {
    let tables = ACPITables(vcpus: vcpus, at: region.acpi.lowerBound)
    try (FirmwareRegion.identityPageTableBytes + tables.bytes).withUnsafeBytes {
      try write($0, padTo: FirmwareRegion.size, at: region.range.lowerBound)
    }
  }

  private func write(_ content: some ImageContent, _ bytes: Range<Int>, padTo size: UInt64, at address: UInt64)
    throws
  {
    let frameSize = UInt64(GuestFrame.size)
    let end = address + size
    var frame = address / frameSize
    while frame * frameSize < end {
      let last = min((end + frameSize - 1) / frameSize, frame + UInt64(Self.chunkFrames))
      let mapping = try hypervisor.map(domain, frames: (frame..<last).map { GuestFrame(rawValue: $0) })
      let start = max(address, frame * frameSize)
      let stop = min(end, last * frameSize)
      // What of the file falls into this chunk, then zeroes to the chunk's end.
      let from = Int(min(UInt64(bytes.count), start - address))
      let to = Int(min(UInt64(bytes.count), stop - address))
      let offset = Int(start - frame * frameSize)
      try copy(content, bytes.lowerBound + from..<bytes.lowerBound + to, to: mapping, at: offset)
      mapping.zero(offset + (to - from)..<offset + Int(stop - start))
      frame = last
    }
  }

  /// By way of a buffer, so that a read that fails fails here and not in the middle of a mapping of the guest.
  private func copy(
    _ content: some ImageContent, _ bytes: Range<Int>, to mapping: borrowing ForeignMapping, at offset: Int
  ) throws {
    var piece = [UInt8](repeating: 0, count: min(Self.pieceSize, bytes.count))
    for start in stride(from: bytes.lowerBound, to: bytes.upperBound, by: Self.pieceSize) {
      let count = min(piece.count, bytes.upperBound - start)
      try piece.withUnsafeMutableBytes { buffer in
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        try content.read(at: start, into: part)
      }
      piece.withUnsafeBytes { buffer in
        mapping.write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: offset + start - bytes.lowerBound)
      }
    }
  }
}
