import Xen

/// Dom0's end of a console ring (xen/io/console.h, struct xencons_interface): 1,024 bytes towards the guest,
/// 2,048 from it, four free-running 32-bit indices.
///
/// All of it is the guest's to scribble on. Each index is loaded once and bounded before use; indices that make
/// no sense lose the guest its output, nothing more.
enum ConsoleRing {
  static let inputSize: UInt32 = 1024
  static let outputSize: UInt32 = 2048

  enum Offset {
    static let input = 0
    static let output = 1024
    static let inputConsumed = 3072
    static let inputProduced = 3076
    static let outputConsumed = 3080
    static let outputProduced = 3084
  }

  /// Takes what the guest has written, at most 2,048 bytes.
  static func takeOutput(_ page: borrowing some ConsolePage & ~Copyable) -> [UInt8] {
    let consumed = page.word(Offset.outputConsumed)
    let produced = page.word(Offset.outputProduced)
    let available = produced &- consumed
    var bytes: [UInt8] = []
    // More than the ring holds is nonsense: start afresh where the guest says it is.
    if available <= outputSize {
      bytes.reserveCapacity(Int(available))
      for step in 0..<available {
        bytes.append(page.byte(Offset.output + Int((consumed &+ step) & (outputSize - 1))))
      }
    }
    if produced != consumed { page.setWord(produced, Offset.outputConsumed) }
    return bytes
  }

  /// Writes as much of `bytes` as fits and returns how many that were.
  static func putInput(_ bytes: ArraySlice<UInt8>, _ page: borrowing some ConsolePage & ~Copyable) -> Int {
    let consumed = page.word(Offset.inputConsumed)
    let produced = page.word(Offset.inputProduced)
    let used = produced &- consumed
    guard used <= inputSize else {
      page.setWord(consumed, Offset.inputProduced)
      return 0
    }
    let count = min(Int(inputSize - used), bytes.count)
    for (step, byte) in bytes.prefix(count).enumerated() {
      page.setByte(byte, Offset.input + Int((produced &+ UInt32(step)) & (inputSize - 1)))
    }
    if count > 0 { page.setWord(produced &+ UInt32(count), Offset.inputProduced) }
    return count
  }
}

/// The page a ring lies in; a mapping of the guest's frame, or bytes in a fuzz target.
protocol ConsolePage: ~Copyable {
  func word(_ offset: Int) -> UInt32
  func setWord(_ value: UInt32, _ offset: Int)
  func byte(_ offset: Int) -> UInt8
  func setByte(_ value: UInt8, _ offset: Int)
}

/// The console and powerctl pages of a guest, mapped together: their frames are neighbours in the ABI.
struct ControlPages: ~Copyable, ConsolePage {
  private let mapping: RestrictedMapping

  init(_ mapping: consuming RestrictedMapping) { self.mapping = mapping }

  func word(_ offset: Int) -> UInt32 { mapping.loadWord(at: offset) }
  func setWord(_ value: UInt32, _ offset: Int) { mapping.storeWord(value, at: offset) }
  func byte(_ offset: Int) -> UInt8 { mapping.loadByte(at: offset) }
  func setByte(_ value: UInt8, _ offset: Int) { mapping.storeByte(value, at: offset) }
}
