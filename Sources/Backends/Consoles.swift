import CBackends
import Glibc
import Xen

/// Everybody who looks at a console.
final class Consoles {
  /// How long a log may take to say what was in it.
  static let replayLimit = Duration.seconds(2)
  /// How long a reader may take for what is pending when its guest's console ends.
  static let lingerLimit = Duration.seconds(30)

  private let loop: EventLoop
  private let type: (DomainID, [UInt8]) -> Void
  private let replays: Inbox<Replay>
  /// By a number that is never used again: descriptors are.
  private var consoles: [Int: Console] = [:]
  private var ofDomain: [DomainID: Set<Int>] = [:]
  private var lastNumber = 0

  private struct Replay: Sendable {
    let console: Int
    let output: [UInt8]
  }

  private final class Console {
    /// Nil once the guest's console ended.
    var domain: DomainID?
    var client: ConsoleClient
    var waitsToWrite = false

    init(domain: DomainID, client: consuming ConsoleClient) {
      self.domain = domain
      self.client = client
    }
  }

  /// - Parameter type: passes typed bytes to a guest.
  init(_ loop: EventLoop, type: @escaping (DomainID, [UInt8]) -> Void) throws(BackendError) {
    self.loop = loop
    self.type = type
    replays = try Inbox()
    try loop.watch(replays.descriptor) { [unowned self] _ in
      for replay in replays.take() { begin(replay.console, replay.output) }
    }
  }

  /// Shows a domain's console on a socket, which is owned from now on.
  func open(
    _ domain: DomainID, _ log: ConsoleLog, socket: consuming Descriptor, follow: Bool, input: Bool
  ) throws(BackendError) {
    lastNumber += 1
    let number = lastNumber
    let raw = socket.raw
    let console = Console(domain: domain, client: ConsoleClient(socket: socket, follow: follow, input: input))
    try loop.watch(raw) { [unowned self] events in serve(number, events) }
    consoles[number] = console
    ofDomain[domain, default: []].insert(number)
    let replays = replays
    log.read { replays.post(Replay(console: number, output: $0)) }
    loop.after(Self.replayLimit) { [unowned self] in begin(number, nil) }
  }

  private func begin(_ number: Int, _ replay: [UInt8]?) {
    guard let console = consoles[number], !console.client.hasBegun else { return }
    console.client.begin(replay: replay)
    flush(number, console)
  }

  /// Shows new output to everybody who looks at a domain's console.
  func show(_ output: [UInt8], of domain: DomainID) {
    for number in ofDomain[domain] ?? [] {
      guard let console = consoles[number] else { continue }
      console.client.append(output)
      flush(number, console)
    }
  }

  /// A domain's console ended. Readers get what is pending, if they take it in time.
  func finish(_ domain: DomainID) {
    for number in ofDomain.removeValue(forKey: domain) ?? [] {
      guard let console = consoles[number] else { continue }
      console.domain = nil
      console.client.finish()
      flush(number, console)
      if consoles[number] != nil { loop.after(Self.lingerLimit) { [unowned self] in cut(number) } }
    }
  }

  private func cut(_ number: Int) {
    guard let console = consoles[number] else { return }
    console.client.cut()
    drop(number, console)
  }

  private func flush(_ number: Int, _ console: Console) {
    switch console.client.flush() {
    case .finished: drop(number, console)
    case .open:
      let wants = console.client.wantsToWrite
      guard wants != console.waitsToWrite else { return }
      console.waitsToWrite = wants
      loop.setWantsToWrite(console.client.raw, wants)
    }
  }

  private func drop(_ number: Int, _ console: Console) {
    loop.unwatch(console.client.raw)
    consoles[number] = nil
    if let domain = console.domain { ofDomain[domain]?.remove(number) }
  }

  private func serve(_ number: Int, _ events: UInt32) {
    guard let console = consoles[number] else { return }
    if events & EPOLLOUT.rawValue != 0 {
      flush(number, console)
      if consoles[number] == nil { return }
    }
    guard events & ~EPOLLOUT.rawValue != 0 else { return }
    switch console.client.read(limit: Int(ConsoleRing.inputSize)) {
    case .bytes(let bytes):
      if console.client.acceptsInput, let domain = console.domain { type(domain, bytes) }
    case .nothing: break
    case .closed: drop(number, console)
    }
  }
}
