import ShellPool
import Testing

@Suite struct BackoffTests {
  @Test func theFirstTryIsAtOnceAndTheNextIsNot() {
    var backoff = Backoff()
    #expect(backoff.isDue)
    backoff.fail()
    #expect(!backoff.isDue && backoff.failures == 1)
  }

  @Test func whatWasBusyHasNotFailed() {
    var backoff = Backoff()
    backoff.postpone()
    #expect(!backoff.isDue && backoff.failures == 0)
  }

  @Test func manyFailuresAreCounted() {
    var backoff = Backoff()
    for _ in 0..<1000 { backoff.fail() }
    #expect(backoff.failures == 1000 && !backoff.isDue)
  }
}
