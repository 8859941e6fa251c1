/// A life-cycle operation as a list of small named steps, each with its undo. When one fails, the undos of those
/// that were done run in reverse, so that nothing of the operation is left.
public struct Procedure: ~Copyable {
  /// Called with `operation: step` before each step. The daemon hooks crash injection in here, and the pool's
  /// refiller gives way to creates.
  public typealias Observer = @Sendable (String) -> Void

  private let name: StaticString
  private let observe: Observer?
  private var undos: [() -> Void] = []

  public init(_ name: StaticString, observe: Observer?) {
    self.name = name
    self.observe = observe
  }

  /// Does one step. `undo` is remembered when `body` succeeds and gets what it returned.
  public mutating func step<Result>(
    _ step: StaticString, _ body: () throws -> Result, undo: ((Result) -> Void)? = nil
  ) throws -> Result {
    observe?("\(name): \(step)")
    let result = try body()
    if let undo { undos.append { undo(result) } }
    return result
  }

  /// Undoes everything done so far, latest first.
  public mutating func rollBack() {
    while let undo = undos.popLast() { undo() }
  }
}
