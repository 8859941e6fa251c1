import CDevicePage
import Testing

@testable import Backends

/// Offsets of xen/io/console.h (struct xencons_interface): in 0, out 1024, in_cons 3072, in_prod 3076,
/// out_cons 3080, out_prod 3084.
@Suite struct ConsoleRingTests {
  private let page = MemoryPage()

  /// The guest's end: writes what fits.
  private func guestWrites(_ text: [UInt8]) {
    let produced = page.word(3084)
    for (step, byte) in text.enumerated() { page.bytes[1024 + Int((produced &+ UInt32(step)) % 2048)] = byte }
    page.setWord(produced &+ UInt32(text.count), 3084)
  }

  /// The guest's end: takes everything there is.
  private func guestReads() -> [UInt8] {
    let consumed = page.word(3072)
    let produced = page.word(3076)
    page.setWord(produced, 3072)
    guard produced &- consumed <= 1024 else {
      Issue.record("the ring's indices make no sense: \(consumed), \(produced)")
      return []
    }
    return (0..<produced &- consumed).map { page.bytes[Int((consumed &+ $0) % 1024)] }
  }

  private func setOutput(consumed: UInt32, produced: UInt32) {
    page.setWord(consumed, 3080)
    page.setWord(produced, 3084)
  }

  private func setInput(consumed: UInt32, produced: UInt32) {
    page.setWord(consumed, 3072)
    page.setWord(produced, 3076)
  }

  @Test func outputIsTakenOnce() {
    #expect(ConsoleRing.takeOutput(page) == [])
    guestWrites(Array("hello\n".utf8))
    #expect(ConsoleRing.takeOutput(page) == Array("hello\n".utf8))
    #expect(page.word(3080) == 6)
    #expect(ConsoleRing.takeOutput(page) == [])
  }

  @Test func inputReachesTheGuest() {
    #expect(ConsoleRing.putInput(Array("ls\n".utf8)[...], page) == 3)
    #expect(page.word(3076) == 3)
    #expect(guestReads() == Array("ls\n".utf8))
    #expect(ConsoleRing.putInput([][...], page) == 0)
    #expect(guestReads() == [])
  }

  /// 2^32 is a multiple of the rings' sizes, so that free-running indices may wrap.
  @Test(arguments: [UInt32(0), 2000, 1 << 31, .max - 5, .max])
  func bothRingsWrap(start: UInt32) {
    setOutput(consumed: start, produced: start)
    setInput(consumed: start, produced: start)
    for round in 0..<20 {
      let text = (0..<700).map { UInt8(truncatingIfNeeded: $0 + round) }
      guestWrites(text)
      #expect(ConsoleRing.takeOutput(page) == text)
      #expect(ConsoleRing.putInput(text[...], page) == 700)
      #expect(guestReads() == text)
    }
  }

  @Test(arguments: [0, UInt32.max - 100])
  func aFullRingIsTakenWhole(start: UInt32) {
    setOutput(consumed: start, produced: start)
    let text = (0..<2048).map { UInt8(truncatingIfNeeded: $0 / 8) }
    guestWrites(text)
    #expect(ConsoleRing.takeOutput(page) == text)
  }

  @Test(arguments: [0, UInt32.max - 100])
  func inputThatDoesNotFitIsNotPut(start: UInt32) {
    setInput(consumed: start, produced: start)
    let text = (0..<1500).map { UInt8(truncatingIfNeeded: $0 / 6) }
    #expect(ConsoleRing.putInput(text[...], page) == 1024)
    #expect(ConsoleRing.putInput(text[...], page) == 0)
    #expect(guestReads() == Array(text[..<1024]))
    #expect(ConsoleRing.putInput(text[1024...], page) == 476)
    #expect(guestReads() == Array(text[1024...]))
  }

  @Test(arguments: [(UInt32(0), UInt32(2049)), (1, 0), (5, 3), (0, .max), (.max, 2048)])
  func outputIndicesThatMakeNoSenseLoseTheOutputOnly(consumed: UInt32, produced: UInt32) {
    setOutput(consumed: consumed, produced: produced)
    #expect(ConsoleRing.takeOutput(page) == [])
    #expect(page.word(3080) == produced)
    guestWrites(Array("again".utf8))
    #expect(ConsoleRing.takeOutput(page) == Array("again".utf8))
  }

  @Test(arguments: [(UInt32(0), UInt32(1025)), (1, 0), (7, 3), (0, .max)])
  func inputIndicesThatMakeNoSenseAreStartedAfresh(consumed: UInt32, produced: UInt32) {
    setInput(consumed: consumed, produced: produced)
    #expect(ConsoleRing.putInput([65][...], page) == 0)
    #expect(ConsoleRing.putInput([66][...], page) == 1)
    #expect(guestReads() == [66])
  }

  @Test func eachRingIsLeftAloneByTheOther() {
    for offset in 0..<4096 { page.bytes[offset] = 0xa5 }
    setInput(consumed: 1000, produced: 1000)
    setOutput(consumed: 2000, produced: 2100)
    let before = page.bytes
    #expect(ConsoleRing.putInput([UInt8](repeating: 1, count: 100)[...], page) == 100)
    #expect(ConsoleRing.takeOutput(page).count == 100)
    let changed = Set((0..<4096).filter { page.bytes[$0] != before[$0] })
    #expect(changed.isSubset(of: Set(0..<76).union(1000..<1024).union(3076..<3084)))
  }
}

@Suite struct PowerctlTests {
  private let pages = MemoryPage(pages: 2)

  @Test func theGuestsHalfIsRead() {
    pages.setWord(CHAOS_STATUS_READY.magnitude, 4096 + Int(CHAOS_POWERCTL_STATUS))
    pages.setWord(6, 4096 + Int(CHAOS_POWERCTL_ACKNOWLEDGED))
    #expect(Powerctl.read(pages, base: 4096) == Powerctl.GuestState(status: 1, acknowledged: 6))
  }

  @Test func requestsAddUp() {
    Powerctl.request(CHAOS_REQUEST_POWEROFF.magnitude, pages, base: 4096)
    Powerctl.request(CHAOS_REQUEST_GENERATION.magnitude, pages, base: 4096)
    #expect(pages.word(4096) == 5)
    // Nothing else is written: not the guest's half, not the console's page.
    #expect(pages.bytes.filter { $0 != 0 }.count == 1)
  }
}
