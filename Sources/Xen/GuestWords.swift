import Synchronization

// Words shared with a guest are loaded and stored whole, once, and in order: the guest may look between any
// two of them. `Atomic` has the layout of its value, so that a raw pointer into a mapping may be viewed as one.

/// Stores with release order. `pointer` is aligned for a UInt32 and stays mapped during the call.
@inline(__always)
func atomicStore(_ value: UInt32, _ pointer: UnsafeMutableRawPointer) {
  pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(value, ordering: .releasing)
}

/// Loads with acquire order. `pointer` is aligned for a UInt32 and stays mapped during the call.
@inline(__always)
func atomicLoad(_ pointer: UnsafeMutableRawPointer) -> UInt32 {
  pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(ordering: .acquiring)
}
