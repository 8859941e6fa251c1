import CGuest

/// The memory behind Swift's allocations: RAM above the image, in blocks of a power of two that are used
/// again once freed. The runtime itself never allocates; an image that does not either carries none of this.
private nonisolated(unsafe) var top: UInt = 0
private nonisolated(unsafe) var end: UInt = 0
private nonisolated(unsafe) var freeBlocks = InlineArray<48, UInt>(repeating: 0)

/// Precedes every block handed out: where the block begins, and its size as a power of two.
private struct BlockHeader {
  var block: UInt
  var order: Int
}

@c(posix_memalign)
func allocate(
  _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ alignment: Int, _ size: Int
) -> Int32 {
  let outOfMemory: Int32 = 12
  let headerSize = UInt(MemoryLayout<BlockHeader>.size)
  let align = UInt(max(alignment, 16))
  guard size >= 0, size < 1 << 40, align < 1 << 20 else { return outOfMemory }
  let needed = UInt(size) + headerSize + align
  let order = UInt.bitWidth - (needed - 1).leadingZeroBitCount
  guard order < freeBlocks.count else { return outOfMemory }

  var block = freeBlocks[order]
  if block != 0 {
    freeBlocks[order] = UnsafePointer<UInt>(bitPattern: block).unsafelyUnwrapped.pointee
  } else {
    if top == 0 {
      top = (guest_heap_start() + 15) & ~15
      end = guest_heap_end()
    }
    guard top < end, end - top >= 1 << UInt(order) else { return outOfMemory }
    block = top
    top += 1 << UInt(order)
  }
  let address = (block + headerSize + align - 1) & ~(align - 1)
  UnsafeMutablePointer<BlockHeader>(bitPattern: address - headerSize).unsafelyUnwrapped.pointee =
    BlockHeader(block: block, order: order)
  result.pointee = UnsafeMutableRawPointer(bitPattern: address)
  return 0
}

/// `free`, by way of Memory.S: Swift keeps that name for itself.
@c(guest_heap_release)
func release(_ pointer: UnsafeMutableRawPointer?) {
  guard let pointer else { return }
  let header = (pointer - MemoryLayout<BlockHeader>.size)
    .assumingMemoryBound(to: BlockHeader.self).pointee
  UnsafeMutablePointer<UInt>(bitPattern: header.block).unsafelyUnwrapped.pointee =
    freeBlocks[header.order]
  freeBlocks[header.order] = header.block
}
