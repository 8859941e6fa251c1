import ChaosAPI
import Dispatch
import Glibc
import StateFiles
import Synchronization
import Threads

/// What happened to guests, in order: kept in memory for whoever asks, and written to a file by a thread of its own, so
/// that neither a full nor a frozen disk holds anything up; what was not written is when the disk takes it again.
public final class EventJournal: Sendable {
  private struct State {
    var next = 1
    /// The newest events, oldest first.
    var kept: [Event] = []
    var unwritten: [Event] = []
    var lost = 0
  }

  private let path: String
  private let state: Mutex<State>
  private let wake = DispatchSemaphore(value: 0)
  private let happened = ChangeSignal()

  /// Events kept in memory.
  public static let capacity = 4096
  /// Events that wait for the disk; beyond it they are lost to the file.
  private static let mostUnwritten = 4096
  /// Between two tries to write what could not be, in seconds.
  private static let longestPause: UInt32 = 15
  /// The file's size in bytes from which another is begun; one older one is kept.
  private static let longestFile = 4 << 20

  /// Reads what an earlier daemon wrote, so that numbers go on where they stood.
  public init(path: String) throws(BackgroundThread.Failure) {
    self.path = path
    var state = State()
    state.kept = Array((Self.read(path + ".1") + Self.read(path)).suffix(Self.capacity))
    state.next = (state.kept.last?.number ?? 0) + 1
    self.state = Mutex(state)
    try BackgroundThread.start(name: "chaos-journal") { [self] in
      var pause: UInt32 = 0
      while true {
        // What a full disk refused is tried again, less and less often.
        if pause == 0 { wake.wait() } else { sleep(pause) }
        pause = writeWaiting() ? 0 : min(2 * pause + 1, Self.longestPause)
      }
    }
  }

  /// The events of a file. A line cut short by a kill or a full disk is left out.
  private static func read(_ path: String) -> [Event] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes: [UInt8] = []
    while bytes.count <= longestFile + 65536 {
      let piece = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
        count = max(0, Glibc.read(file, buffer.baseAddress, buffer.count))
      }
      if piece.isEmpty { break }
      bytes += piece
    }
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      (try? JSON(parsing: Array(line))).flatMap { try? Event(json: $0, at: "event") }
    }
  }

  // MARK: Writing

  /// Notes that something happened, now.
  func note(_ kind: Event.Kind, _ guest: Guest, reason: GuestEnd? = nil, message: String? = nil) {
    note(kind, name: guest.name, uuid: guest.handle.uuid, reason: reason, message: message)
  }

  func note(_ kind: Event.Kind, name: String, uuid: String, reason: GuestEnd? = nil, message: String? = nil) {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let time = Timestamp.format(seconds: now.tv_sec, milliseconds: now.tv_nsec / 1_000_000)
    state.withLock { state in
      let event = Event(
        number: state.next, time: time, kind: kind, guest: name, uuid: uuid, reason: reason, message: message)
      state.next += 1
      state.kept.append(event)
      // In halves, so that an event costs the same however many there were.
      if state.kept.count > 2 * Self.capacity { state.kept.removeFirst(Self.capacity) }
      if state.unwritten.count < Self.mostUnwritten { state.unwritten.append(event) } else { state.lost += 1 }
    }
    wake.signal()
    happened.fire()
  }

  /// Whether all is written; what is not waits on.
  private func writeWaiting() -> Bool {
    let (events, lost) = state.withLock { state in
      defer { (state.unwritten, state.lost) = ([], 0) }
      return (state.unwritten, state.lost)
    }
    if events.isEmpty || write(events, lost) { return true }
    state.withLock { state in
      let room = Self.mostUnwritten - state.unwritten.count
      state.unwritten = events.suffix(room) + state.unwritten
      state.lost += lost + max(0, events.count - room)
    }
    return false
  }

  private func write(_ events: [Event], _ lost: Int) -> Bool {
    let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
    guard file >= 0 else { return false }
    defer { close(file) }
    // Each line brings its own beginning: the one before may have been cut by a kill.
    var text = events.flatMap { [UInt8(ascii: "\n")] + $0.json.compact }
    if lost > 0 { text += Array("\n{\"lost\":\(lost)}".utf8) }
    text.append(UInt8(ascii: "\n"))
    var status = stat()
    guard fstat(file, &status) == 0 else { return false }
    guard Glibc.write(file, text, text.count) == text.count else {
      // All of it is written again.
      _ = ftruncate(file, status.st_size)
      return false
    }
    if Int(status.st_size) + text.count > Self.longestFile { rename(path, path + ".1") }
    return true
  }

  // MARK: Reading

  /// The events there are from a point on, oldest first; of one guest, by its UUID or any name that it had, or of all.
  public func events(since start: EventStart? = nil, of reference: String? = nil) -> [Event] {
    let kept = state.withLock { $0.kept }
    var from = kept.startIndex
    switch start {
    case nil: break
    case .after(let number): from = kept.firstIndex { $0.number > number } ?? kept.endIndex
    case .at(let seconds):
      from = kept.firstIndex { (Timestamp.seconds($0.time) ?? 0) >= seconds } ?? kept.endIndex
    }
    let tail = kept[from...]
    guard let reference else { return Array(tail) }
    // A guest is meant by each name it had: its UUID finds what it was called before and after.
    let uuids = Set(kept.filter { $0.guest == reference || $0.uuid == reference }.map(\.uuid))
    return tail.filter { uuids.contains($0.uuid) }
  }

  /// The ends of guests, newest first, one a guest.
  func ends() -> [Event] {
    var seen: Set<String> = []
    return state.withLock { $0.kept }.reversed().filter { $0.kind == .ended && seen.insert($0.uuid).inserted }
  }

  /// A stream that yields at once and then whenever something happens, until it is stopped.
  public func changes() -> (stream: AsyncStream<Void>, stop: @Sendable () -> Void) { happened.changes() }
}
