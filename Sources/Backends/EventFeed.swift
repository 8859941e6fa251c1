import Glibc
import Xen

/// Tells subscribers what changed of domains. A change that was not told yet is replaced by the next one of the same
/// domain, so that neither a guest that changes without end nor a subscriber that does not read makes anything grow.
final class EventFeed {
  /// Changes of a guest that are told at once, and how many a second after that. A guest has a handful in its life.
  static let burst = 8
  static let perSecond = 2

  private let loop: EventLoop
  private let status: (DomainID) -> ControlProtocol.Status?
  private var changes: [DomainID: Change] = [:]
  private var subscribers: [Int32: Subscriber] = [:]

  private struct Change {
    var allowance = Allowance(burst: burst, perSecond: perSecond)
    /// Whether a timer runs that will tell.
    var isPut = false
    /// Requests that the guest acknowledged since it was last told of, if only for a moment.
    var acknowledged: UInt32 = 0
  }

  private final class Subscriber {
    let connection: ControlConnection
    var untold: [DomainID: ControlProtocol.Event] = [:]
    var isFull = false

    init(_ connection: ControlConnection) { self.connection = connection }
  }

  /// - Parameter status: what there is to tell of a domain; nil when it is not served any more.
  init(_ loop: EventLoop, status: @escaping (DomainID) -> ControlProtocol.Status?) {
    self.loop = loop
    self.status = status
  }

  /// Tells the other end of a socket from now on. It must be unsubscribed before it is closed.
  func subscribe(_ connection: ControlConnection) {
    subscribers[connection.socket.raw] = Subscriber(connection)
  }

  func unsubscribe(_ descriptor: Int32) { subscribers[descriptor] = nil }

  /// Something that ``status`` gives changed.
  func changed(_ status: ControlProtocol.Status) {
    let domain = status.key.domain
    changes[domain, default: Change()].acknowledged |= status.acknowledged
    guard changes[domain]?.isPut == false else { return }
    if changes[domain]?.allowance.take(at: loop.now) == true { return tell(domain) }
    changes[domain]?.isPut = true
    loop.after(.milliseconds(1000 / Self.perSecond)) { [unowned self] in tell(domain) }
  }

  /// The domain is not served any more; its number may come again.
  func forget(_ domain: DomainID) {
    changes[domain] = nil
    for subscriber in subscribers.values { subscriber.untold[domain] = nil }
  }

  private func tell(_ domain: DomainID) {
    guard var event = status(domain), let change = changes[domain] else { return }
    event.acknowledged |= change.acknowledged
    changes[domain]?.acknowledged = 0
    changes[domain]?.isPut = false
    for subscriber in subscribers.values {
      // The newest state, and every request that was acknowledged on the way to it.
      let before = subscriber.untold.updateValue(event, forKey: domain)
      subscriber.untold[domain]?.acknowledged |= before?.acknowledged ?? 0
      flush(subscriber)
    }
  }

  /// Sends what the subscriber takes. The loop calls this again when it takes more.
  func flush(_ descriptor: Int32) {
    if let subscriber = subscribers[descriptor] { flush(subscriber) }
  }

  private func flush(_ subscriber: Subscriber) {
    while let (domain, event) = subscriber.untold.first {
      do {
        try subscriber.connection.socket.send(event.encodedEvent())
        subscriber.untold[domain] = nil
      } catch {
        // One that is gone is dropped when its end of the connection is seen.
        return setFull(subscriber, error.errno == EAGAIN)
      }
    }
    setFull(subscriber, false)
  }

  private func setFull(_ subscriber: Subscriber, _ isFull: Bool) {
    guard subscriber.isFull != isFull else { return }
    subscriber.isFull = isFull
    loop.setWantsToWrite(subscriber.connection.socket.raw, isFull)
  }
}

/// A connection of chaosd's.
final class ControlConnection {
  let socket: ControlSocket

  init(_ socket: consuming ControlSocket) { self.socket = socket }
}
