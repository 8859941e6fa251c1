import CDevicePage

@testable import Backends

/// Console and powerctl are a page the guest writes to as it likes: the input is that guest. Its first 48 bytes
/// are the ring's indices and powerctl's words, the rest what guest and dom0 do, one after another.
extension Target {
  static let console = Target(name: "console", seeds: consoleSeeds) { bytes in
    let page = GuestPages()
    var input = Input(bytes)
    for offset in [3072, 3076, 3080, 3084] { page.setWord(input.word(), offset) }
    for offset in stride(from: 4096, to: 4128, by: 4) { page.setWord(input.word(), offset) }
    while let operation = input.byte() {
      switch operation % 6 {
      case 0: takeOutput(page)
      case 1: putInput((0..<(Int(input.byte() ?? 0) * 8)).map { UInt8(truncatingIfNeeded: $0) }, page)
      case 2: page.setWord(input.word(), 3072 + 4 * Int((input.byte() ?? 0) % 4))
      case 3: page.write(count: input.word() % 4096)
      case 4: page.read()
      default: exchangePowerctl(input.word(), page)
      }
    }
  }
}

private func takeOutput(_ page: GuestPages) {
  let (consumed, produced) = (page.word(3080), page.word(3084))
  let output = ConsoleRing.takeOutput(page)
  let available = produced &- consumed
  let expected = available <= 2048 ? (0..<available).map { page.byte(1024 + Int((consumed &+ $0) % 2048)) } : []
  expect(output == expected, "\(output.count) bytes of output, not \(expected.count)")
  expect(page.word(3080) == produced, "output is not consumed")
  expect(ConsoleRing.takeOutput(page).isEmpty, "output comes twice")
}

private func putInput(_ bytes: [UInt8], _ page: GuestPages) {
  let (consumed, produced) = (page.word(3072), page.word(3076))
  let count = ConsoleRing.putInput(bytes[...], page)
  if produced &- consumed > 1024 {
    expect(count == 0 && page.word(3076) == consumed, "input goes on in a ring that makes no sense")
  } else {
    expect(count == min(bytes.count, 1024 - Int(produced &- consumed)), "\(count) of \(bytes.count) bytes put")
    expect(page.word(3076) == produced &+ UInt32(count), "input is not produced")
    let found = (0..<UInt32(count)).map { page.byte(Int((produced &+ $0) % 1024)) }
    expect(found == Array(bytes.prefix(count)), "other input than was put")
  }
  expect(page.word(3072) == consumed, "the guest's index was written")
}

private func exchangePowerctl(_ bits: UInt32, _ page: GuestPages) {
  let before = page.bytes
  let state = Powerctl.read(page, base: 4096)
  expect(state.status == page.word(4096 + Int(CHAOS_POWERCTL_STATUS)), "\(state)")
  Powerctl.request(bits, page, base: 4096)
  expect(before[..<4096] == page.bytes[..<4096] && before[4100...] == page.bytes[4100...], "stray write")
}

/// The guest's pages, and the guest's own end of the rings.
private final class GuestPages: ConsolePage {
  private(set) var bytes = [UInt8](repeating: 0, count: 8192)

  func word(_ offset: Int) -> UInt32 {
    precondition(offset % 4 == 0)
    return bytes[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  func setWord(_ value: UInt32, _ offset: Int) {
    precondition(offset % 4 == 0)
    for (index, byte) in little(value).enumerated() { bytes[offset + index] = byte }
  }

  func byte(_ offset: Int) -> UInt8 { bytes[offset] }
  func setByte(_ value: UInt8, _ offset: Int) { bytes[offset] = value }

  func write(count: UInt32) {
    let produced = word(3084)
    for step in 0..<count { bytes[1024 + Int((produced &+ step) % 2048)] = UInt8(truncatingIfNeeded: step) }
    setWord(produced &+ count, 3084)
  }

  func read() { setWord(word(3076), 3072) }
}

/// Takes an input apart; zeroes follow its end.
private struct Input {
  private var rest: UnsafeRawBufferPointer.SubSequence

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes[...] }

  mutating func byte() -> UInt8? { rest.popFirst() }
  mutating func word() -> UInt32 { (0..<4).reduce(0) { word, _ in word << 8 | UInt32(byte() ?? 0) } }
}

/// Ordinary traffic, from indices of zero and from ones that are about to wrap.
private let consoleSeeds: [[UInt8]] = [0, 0xff].map { high in
  [UInt8](repeating: high, count: 16) + [UInt8](repeating: 0, count: 32)
    + [3, 0, 0, 0, 200, 0, 1, 20, 4, 1, 255, 4, 3, 0, 0, 8, 0, 0, 5, 0, 0, 0, 1, 2, 0, 0, 16, 0, 3, 0]
}
