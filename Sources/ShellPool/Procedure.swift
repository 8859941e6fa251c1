/// The steps of an operation, by the names that traces and crash tests know them by.
public protocol OperationSteps: RawRepresentable<String>, CaseIterable, Sendable {
  /// "create", "destroy": what the steps are of.
  static var operation: String { get }
}

extension OperationSteps {
  /// `operation: step`.
  public var fullName: String { "\(Self.operation): \(rawValue)" }

  /// Every step's full name, in order.
  public static var allNames: [String] { allCases.map(\.fullName) }
}

/// A life-cycle operation as a list of small named steps, some with an undo. When one fails, the undos of those
/// that were done run in reverse.
public struct Procedure<Steps: OperationSteps>: ~Copyable {
  /// Called with `operation: step` before each step. The daemon hooks crash injection in here, and the pool's
  /// refiller gives way to creates.
  public typealias Observer = StepObserver

  private let observe: Observer?
  private var undos: [() -> Void] = []

  public init(observe: Observer?) { self.observe = observe }

  /// Does one step. `undo` is remembered when `body` succeeds and gets what it returned.
  public mutating func step<Result>(
    _ step: Steps, _ body: () throws -> Result, undo: ((Result) -> Void)? = nil
  ) throws -> Result {
    observe?(step.fullName)
    let result = try body()
    if let undo { undos.append { undo(result) } }
    return result
  }

  /// Undoes everything done so far, latest first.
  public mutating func rollBack() {
    while let undo = undos.popLast() { undo() }
  }
}

/// Called with `operation: step` before each step of any operation.
public typealias StepObserver = @Sendable (String) -> Void
