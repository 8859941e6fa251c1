import ShellPool
import Synchronization
import Testing

@Suite struct ProcedureTests {
  private struct Refused: Error {}

  private enum MakeStep: String, OperationSteps {
    static let operation = "make"

    case one, two, three
    case four = "step four"
  }

  /// What happened, in order.
  private final class Diary: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func note(_ line: String) { lines.withLock { $0.append(line) } }
  }

  /// An operation of four steps whose `failing`th fails; the third has no undo.
  private func operate(_ diary: Diary, failing: Int) -> Bool {
    var procedure = Procedure<MakeStep>(observe: { diary.note($0) })
    func body(_ number: Int) throws -> Int {
      if number == failing { throw Refused() }
      return number * 10
    }
    do {
      _ = try procedure.step(.one, { try body(1) }, undo: { diary.note("undo one, \($0)") })
      _ = try procedure.step(.two, { try body(2) }, undo: { diary.note("undo two, \($0)") })
      _ = try procedure.step(.three) { try body(3) }
      _ = try procedure.step(.four, { try body(4) }, undo: { diary.note("undo four, \($0)") })
      return true
    } catch {
      procedure.rollBack()
      procedure.rollBack()  // nothing is left to undo
      return false
    }
  }

  private static let undone: [[String]] = [
    ["make: one"],
    ["make: one", "make: two", "undo one, 10"],
    ["make: one", "make: two", "make: three", "undo two, 20", "undo one, 10"],
    ["make: one", "make: two", "make: three", "make: step four", "undo two, 20", "undo one, 10"],
  ]

  @Test(arguments: 1...4)
  func whatWasDoneIsUndoneLatestFirst(failing: Int) {
    let diary = Diary()
    #expect(!operate(diary, failing: failing))
    #expect(diary.all == Self.undone[failing - 1])
  }

  @Test func nothingIsUndoneUnasked() {
    let diary = Diary()
    #expect(operate(diary, failing: 0))
    #expect(diary.all == ["make: one", "make: two", "make: three", "make: step four"])
  }

  /// What crash tests go through.
  @Test func everyStepIsListed() {
    #expect(MakeStep.allNames == ["make: one", "make: two", "make: three", "make: step four"])
  }

  @Test func aStepGivesWhatItsBodyReturned() throws {
    var procedure = Procedure<MakeStep>(observe: nil)
    #expect(try procedure.step(.one) { 7 } == 7)
    procedure.rollBack()
  }
}
