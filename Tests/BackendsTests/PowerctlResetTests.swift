import CDevicePage
import Testing

@testable import Backends

@Suite struct PowerctlResetTests {
  private let page = MemoryPage()

  private func word(_ offset: Int32) -> UInt32 { page.word(Int(offset)) }

  @Test func aResetIsAskedForAndWithdrawnWhenDone() {
    Powerctl.requestReset(ofVif: 3, page, base: 0)
    Powerctl.requestReset(ofVif: 14, page, base: 0)
    #expect(word(CHAOS_POWERCTL_REQUESTS) == 8 && word(CHAOS_POWERCTL_RESET_VIFS) == 1 << 3 | 1 << 14)
    page.setWord(1 << 3, Int(CHAOS_POWERCTL_RESET_VIFS_DONE))
    #expect(!Powerctl.withdrawResetsDone(page, base: 0))
    page.setWord(1 << 3 | 1 << 14, Int(CHAOS_POWERCTL_RESET_VIFS_DONE))
    #expect(Powerctl.withdrawResetsDone(page, base: 0))
    #expect(word(CHAOS_POWERCTL_REQUESTS) == 0 && word(CHAOS_POWERCTL_RESET_VIFS) == 0)
    #expect(!Powerctl.withdrawResetsDone(page, base: 0))
  }

  @Test func otherRequestsStand() {
    Powerctl.request(5, page, base: 0)
    Powerctl.requestReset(ofVif: 0, page, base: 0)
    page.setWord(1, Int(CHAOS_POWERCTL_RESET_VIFS_DONE))
    #expect(Powerctl.withdrawResetsDone(page, base: 0))
    #expect(word(CHAOS_POWERCTL_REQUESTS) == 5)
  }
}
