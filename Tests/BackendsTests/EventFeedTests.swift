import CBackends
import Glibc
import Testing
import Xen

@testable import Backends

@Suite struct AllowanceTests {
  @Test func aBurstIsFollowedByTheRate() {
    var allowance = Allowance(burst: 10, perSecond: 4)
    let start = ContinuousClock.now
    func granted(after milliseconds: Int) -> Int {
      var count = 0
      while allowance.take(at: start + .milliseconds(milliseconds)) { count += 1 }
      return count
    }
    #expect(granted(after: 0) == 10)
    #expect(granted(after: 249) == 0)
    #expect(granted(after: 250) == 1)
    #expect(granted(after: 1000) == 3)
    // It never saves up more than a burst, however long it was idle, and time that stands still gives nothing.
    #expect(granted(after: 1 << 50) == 10)
    #expect(granted(after: 0) == 0)
  }
}

@Suite struct EventFeedTests {
  private typealias Event = ControlProtocol.Event

  /// What domains say of themselves, as a server has it.
  private final class Guests {
    var statuses: [DomainID: ControlProtocol.Status] = [:]
  }

  private let loop: EventLoop
  private let feed: EventFeed
  private let guests = Guests()

  init() throws {
    loop = try EventLoop()
    let guests = guests
    feed = EventFeed(loop) { guests.statuses[$0] }
  }

  private func change(_ number: UInt16, status: UInt32, acknowledged: UInt32 = 0) {
    let domain = DomainID(rawValue: number)
    let handle = guests.statuses[domain]?.key.handle ?? .random()
    let key = ControlProtocol.DomainKey(domain: domain, handle: handle)
    let new = ControlProtocol.Status(key: key, status: status, acknowledged: acknowledged)
    guests.statuses[domain] = new
    feed.changed(new)
  }

  /// The other end of a subscriber's connection.
  private func subscriber() throws -> Descriptor {
    let ends = Ends.sockets(SOCK_SEQPACKET)
    let raw = dup(ends.one.raw)
    _ = fcntl(raw, F_SETFL, O_NONBLOCK)
    let connection = ControlConnection(ControlSocket(adopting: Descriptor(adopting: raw)))
    let feed = feed
    try loop.watch(raw) { events in if events & EPOLLOUT.rawValue != 0 { feed.flush(raw) } }
    feed.subscribe(connection)
    return Descriptor(adopting: dup(ends.other.raw))
  }

  private func events(_ descriptor: Int32) -> [Event] {
    var events: [Event] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count > 0 else { return events }
      if let event = try? Event(decodingEvent: Array(buffer.prefix(count))) { events.append(event) }
    }
  }

  @Test func aFirstChangeIsToldAtOnce() throws {
    let reader = try subscriber()
    change(7, status: 1)
    #expect(events(reader.raw).map(\.status) == [1])
  }

  @Test func aGuestThatChangesWithoutEndIsToldOfAtItsRate() throws {
    let reader = try subscriber()
    for round in 0..<100_000 {
      // It acknowledges a request for a moment only.
      change(7, status: UInt32(round), acknowledged: round == 50_000 ? 2 : 0)
    }
    var seen = events(reader.raw)
    #expect(seen.count == EventFeed.burst)
    change(8, status: 5)
    #expect(events(reader.raw).map(\.status) == [5])
    let end = ContinuousClock.now + .seconds(20)
    while seen.count == EventFeed.burst && ContinuousClock.now < end {
      loop.turn(atMost: .milliseconds(100))
      seen += events(reader.raw)
    }
    #expect(seen.count == EventFeed.burst + 1)
    #expect(seen.last?.status == 99_999)
    #expect(seen.last?.acknowledged == 2)
    change(7, status: 1)
    change(7, status: 2)
    let still = ContinuousClock.now + .seconds(20)
    while seen.last?.status != 2 && ContinuousClock.now < still {
      loop.turn(atMost: .milliseconds(100))
      seen += events(reader.raw)
    }
    // Told once, it is not told again.
    #expect(seen.last?.status == 2 && seen.last?.acknowledged == 0)
  }

  @Test func aSubscriberThatDoesNotReadGetsTheNewestOfEachDomain() throws {
    let reader = try subscriber()
    let domains: Range<UInt16> = 1..<2000
    for round in 0..<EventFeed.burst { for domain in domains { change(domain, status: UInt32(round)) } }
    var newest: [DomainID: UInt32] = [:]
    var count = 0
    for _ in 0..<100 {
      for event in events(reader.raw) {
        newest[event.key.domain] = event.status
        count += 1
      }
      loop.turn(atMost: .milliseconds(1))
    }
    #expect(newest.count == domains.count)
    #expect(newest.values.allSatisfy { $0 == UInt32(EventFeed.burst - 1) })
    #expect(count < EventFeed.burst * domains.count)
  }

  @Test func aDomainThatIsGoneIsNotToldOf() throws {
    let reader = try subscriber()
    for round in 0...EventFeed.burst { change(7, status: UInt32(round)) }
    guests.statuses[DomainID(rawValue: 7)] = nil
    feed.forget(DomainID(rawValue: 7))
    _ = events(reader.raw)
    let end = ContinuousClock.now + .milliseconds(700)
    while ContinuousClock.now < end { loop.turn(atMost: .milliseconds(100)) }
    #expect(events(reader.raw) == [])
  }
}

@Suite struct EventLoopTests {
  @Test func timersComeInTheirOrder() throws {
    let loop = try EventLoop()
    final class Order { var seen: [Int] = [] }
    let order = Order()
    for delay in [30, 10, 20, 10, 0] { loop.after(.milliseconds(delay)) { order.seen.append(delay) } }
    let end = ContinuousClock.now + .seconds(20)
    while order.seen.count < 5 && ContinuousClock.now < end { loop.turn() }
    #expect(order.seen == [0, 10, 10, 20, 30])
  }

  /// A hundred descriptors of which one is always ready: all the others are served within few turns all the same.
  @Test func oneThatIsAlwaysReadyKeepsNobodyWaiting() throws {
    let loop = try EventLoop()
    let flood = Ends.sockets(SOCK_STREAM)
    #expect(send(flood.other.raw, "x", 1, 0) == 1)
    final class Count { var flood = 0, others = 0 }
    let count = Count()
    try loop.watch(flood.one.raw) { _ in count.flood += 1 }
    var others: [(Int32, Int32)] = []
    for _ in 0..<100 {
      let ends = Ends.sockets(SOCK_STREAM)
      let pair = (dup(ends.one.raw), dup(ends.other.raw))
      others.append(pair)
      try loop.watch(pair.0) { _ in
        count.others += 1
        var byte: UInt8 = 0
        _ = recv(pair.0, &byte, 1, 0)
      }
    }
    for (_, other) in others { #expect(send(other, "x", 1, 0) == 1) }
    for _ in 0..<3 { loop.turn(atMost: .zero) }
    #expect(count.others == 100)
    #expect(count.flood <= 3)
    for (one, other) in others {
      loop.unwatch(one)
      close(one)
      close(other)
    }
  }
}
