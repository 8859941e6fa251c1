// `chaos create` is called thousands of times, and a good part of its time is the start of the Swift runtime.
// Two of the runtime's static initialisers do work that this program has no use for: one looks for a crash
// tracer in ten places beside the executable, the other reads /proc/self/maps to find argv. In a static
// executable a definition of our own takes the place of the library's, and the work is not done. A runtime
// that no longer has these functions does not call ours.
//
// Only in release builds: a debug build may be traced, and is not timed.

#if !DEBUG
  import Glibc

  /// No crash tracer.
  @c(swift_copyAuxiliaryExecutablePath)
  public func noAuxiliaryExecutable(
    _ name: UnsafePointer<CChar>?
  ) -> UnsafeMutablePointer<CChar>? {
    nil
  }

  /// The ABI lays argc, argv and the environment one after another on the initial stack. Called before
  /// anything can have moved `environ`.
  @c(_swift_stdlib_getUnsafeArgvArgc)
  public func argumentsBeforeEnvironment(
    _ count: UnsafeMutablePointer<Int32>
  ) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> {
    // environ[-1] is the null that ends argv. The first word before the pointers is argc, which is smaller
    // than any pointer.
    var first = environ - 1
    count.pointee = 0
    while UInt(bitPattern: (first - 1).pointee) > UInt(bitPattern: environ) {
      first -= 1
      count.pointee += 1
    }
    return first
  }

  /// Beside the above in its object file, so that the whole file is left out.
  @c(_swift_stdlib_overrideUnsafeArgvArgc)
  public func ignoreOverriddenArguments(_ arguments: UnsafeMutableRawPointer?, _ count: Int32) {}
#endif
