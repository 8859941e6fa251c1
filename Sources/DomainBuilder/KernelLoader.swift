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

  /// Loads every segment of `image`, whose bytes are `file`, and zeroes what the file does not fill.
  /// The caller checked that the segments lie in the guest's RAM.
  public func load(_ image: KernelImage, from file: UnsafeRawBufferPointer) throws(XenError) {
    for segment in image.segments {
      let bytes = UnsafeRawBufferPointer(rebasing: file[segment.fileOffset..<segment.fileOffset + segment.fileSize])
      try write(bytes, padTo: segment.memorySize, at: segment.address)
    }
  }

  /// Copies `bytes` to guest-physical `address` and zeroes from there up to `size` bytes.
  public func write(
    _ bytes: UnsafeRawBufferPointer, padTo size: UInt64, at address: UInt64
  ) throws(XenError) {
    let frameSize = UInt64(GuestFrame.size)
    let end = address + size
    var frame = address / frameSize
    while frame * frameSize < end {
      let last = min((end + frameSize - 1) / frameSize, frame + UInt64(Self.chunkFrames))
      let mapping = try hypervisor.map(domain, frames: (frame..<last).map { GuestFrame(rawValue: $0) })
      let start = max(address, frame * frameSize)
      let stop = min(end, last * frameSize)
      // What of the file falls into this chunk, then zeroes to the chunk's end.
      let from = min(UInt64(bytes.count), start - address)
      let to = min(UInt64(bytes.count), stop - address)
      let offset = Int(start - frame * frameSize)
      if to > from {
        mapping.write(UnsafeRawBufferPointer(rebasing: bytes[Int(from)..<Int(to)]), at: offset)
      }
      mapping.zero(offset + Int(to - from)..<offset + Int(stop - start))
      frame = last
    }
  }
}
