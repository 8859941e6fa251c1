/// Starts, says so, and waits to be told to stop.
@main
struct Noop: Unikernel {
  static var name: StaticString { "noop" }
  static var usesNetwork: Bool { false }
}
