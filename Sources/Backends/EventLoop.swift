import CBackends
import Glibc
import Synchronization

/// What the back-end's one thread waits for: descriptors, and moments. Used by that thread only.
final class EventLoop {
  typealias Handler = (_ events: UInt32) -> Void

  private let epoll: Descriptor
  private var handlers: [Int32: Handler] = [:]
  /// Earliest last.
  private var timers: [(due: ContinuousClock.Instant, action: () -> Void)] = []
  private var ready = [epoll_event](repeating: epoll_event(), count: 64)
  /// When this turn began.
  private(set) var now = ContinuousClock.now

  init() throws(BackendError) {
    let raw = epoll_create1(Int32(EPOLL_CLOEXEC))
    if raw < 0 { throw BackendError.last("create an epoll set") }
    epoll = Descriptor(adopting: raw)
  }

  /// Calls `handler` once a turn while the descriptor is readable. It must be unwatched before it is closed.
  func watch(_ descriptor: Int32, _ handler: @escaping Handler) throws(BackendError) {
    if control(EPOLL_CTL_ADD, descriptor, writable: false) < 0 { throw BackendError.last("wait for a descriptor") }
    handlers[descriptor] = handler
  }

  /// Whether to call the handler while the descriptor is writable, too.
  func setWantsToWrite(_ descriptor: Int32, _ wants: Bool) {
    _ = control(EPOLL_CTL_MOD, descriptor, writable: wants)
  }

  func unwatch(_ descriptor: Int32) {
    guard handlers.removeValue(forKey: descriptor) != nil else { return }
    _ = control(EPOLL_CTL_DEL, descriptor, writable: false)
  }

  private func control(_ operation: Int32, _ descriptor: Int32, writable: Bool) -> Int32 {
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | (writable ? EPOLLOUT.rawValue : 0)
    event.data.fd = descriptor
    return epoll_ctl(epoll.raw, operation, descriptor, &event)
  }

  /// Calls `action` once, in a turn that begins `delay` from now or later.
  func after(_ delay: Duration, _ action: @escaping () -> Void) {
    let due = ContinuousClock.now + delay
    var low = 0
    var high = timers.count
    while low < high {
      let middle = (low + high) / 2
      if timers[middle].due > due { low = middle + 1 } else { high = middle }
    }
    timers.insert((due, action), at: low)
  }

  /// Waits, at most `limit`, and handles what came: each ready descriptor once, so that nobody is served twice before
  /// everybody else was.
  func turn(atMost limit: Duration? = nil) {
    let count = epoll_wait(epoll.raw, &ready, Int32(ready.count), timeout(limit))
    now = .now
    for event in ready.prefix(max(0, Int(count))) {
      // An earlier event of the same turn may have closed this one.
      handlers[event.data.fd]?(event.events)
    }
    while let last = timers.last, last.due <= now {
      timers.removeLast()
      last.action()
    }
  }

  /// In milliseconds, rounded up: to wake early would be to wake twice.
  private func timeout(_ limit: Duration?) -> Int32 {
    let next = timers.last.map { max(.zero, $0.due - .now) }
    guard let wait = [limit, next].compactMap({ $0 }).min() else { return -1 }
    return Int32(clamping: Int(min(wait, .seconds(86400)) / .milliseconds(1) + 0.999))
  }
}

/// What other threads tell the loop's.
final class Inbox<Message: Sendable>: Sendable {
  private let event: Descriptor
  private let messages = Mutex<[Message]>([])

  init() throws(BackendError) {
    let raw = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    if raw < 0 { throw BackendError.last("create an eventfd") }
    event = Descriptor(adopting: raw)
  }

  /// Readable when there is a message.
  var descriptor: Int32 { event.raw }

  func post(_ message: Message) {
    messages.withLock { $0.append(message) }
    var one: UInt64 = 1
    _ = write(event.raw, &one, 8)
  }

  func take() -> [Message] {
    var count: UInt64 = 0
    _ = read(event.raw, &count, 8)
    return messages.withLock { messages in
      defer { messages = [] }
      return messages
    }
  }
}
