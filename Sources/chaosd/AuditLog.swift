import ChaosAPI
import Dispatch
import Glibc
import Synchronization
import Threads

/// One call that changed something, or tried to.
struct AuditRecord: Sendable {
  var time = AuditRecord.now()
  var peer: PeerCredentials
  var method: String
  /// As it was asked, with its query.
  var path: String
  var status: Int
  /// "ok", or the error's code.
  var code: String
  var microseconds: Int

  /// One line, whatever the path contains: JSON escapes control characters.
  var line: [UInt8] {
    let object: JSONObject = [
      "time": .string(time), "uid": .number(Int(peer.uid)), "pid": .number(Int(peer.pid)),
      "method": .string(method),
      "path": .string(path), "status": .number(status), "result": .string(code),
      "microseconds": .number(microseconds),
    ]
    return JSON.object(object).compact + [UInt8(ascii: "\n")]
  }

  private static func now() -> String {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp.format(seconds: time.tv_sec)
  }
}

/// Who asked for what, in a file: one line of JSON for each call that changes something.
///
/// Lines are written by a thread of their own, some at once: a call waits for no disk. A SIGKILL can take the lines
/// of the last 50 ms; lines that nobody comes to write are counted in the next that is.
final class AuditLog: Sendable {
  private struct State {
    var waiting: [AuditRecord] = []
    var lost = 0
    var isIdle = false
  }

  /// Lines that may wait for the disk.
  private static let capacity = 4096
  /// At this size the file becomes `.1`, and the one before it goes.
  private static let rotationBytes = 8 << 20

  private let path: String
  private let report: @Sendable (String) -> Void
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)

  init(path: String, report: @escaping @Sendable (String) -> Void) throws(BackgroundThread.Failure) {
    self.path = path
    self.report = report
    try BackgroundThread.start(name: "chaos-audit") { [self] in
      var file = AuditFile(path: path)
      while true {
        waitForLines()
        // Further lines come with the same write.
        usleep(50_000)
        write(to: &file)
      }
    }
  }

  func write(_ record: AuditRecord) {
    let wakes = state.withLock { state in
      if state.waiting.count == Self.capacity { state.lost += 1 } else { state.waiting.append(record) }
      defer { state.isIdle = false }
      return state.isIdle
    }
    if wakes { wake.signal() }
  }

  private func waitForLines() {
    let isEmpty = state.withLock { state in
      state.isIdle = state.waiting.isEmpty
      return state.isIdle
    }
    if isEmpty { wake.wait() }
  }

  private func write(to file: inout AuditFile) {
    let (records, lost) = state.withLock { state in
      defer {
        state.waiting = []
        state.lost = 0
      }
      return (state.waiting, state.lost)
    }
    var bytes = records.flatMap(\.line)
    if lost > 0 { bytes += JSON.object(["lost": .number(lost)]).compact + [UInt8(ascii: "\n")] }
    let (isWritten, failure) = file.append(bytes, rotatingAt: Self.rotationBytes)
    if !isWritten { state.withLock { $0.lost += records.count + lost } }
    if let failure { report("audit log: \(failure)") }
  }
}

/// The file, opened anew for each write so that whoever moves it away is followed.
struct AuditFile {
  let path: String
  /// What was reported last, so that a full disk is said once.
  private var lastFailure: Int32 = 0

  init(path: String) { self.path = path }

  /// Returns whether all of it is written, and what to report, if anything.
  mutating func append(_ bytes: [UInt8], rotatingAt limit: Int) -> (isWritten: Bool, report: String?) {
    let failure = write(bytes, rotatingAt: limit)
    defer { lastFailure = failure }
    if failure == 0 || failure == lastFailure { return (failure == 0, nil) }
    return (false, "write \(path): \(String(cString: strerror(failure)))")
  }

  private func write(_ bytes: [UInt8], rotatingAt limit: Int) -> Int32 {
    var status = stat()
    if stat(path, &status) == 0, status.st_size + bytes.count > limit { rename(path, "\(path).1") }
    let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o640)
    if file < 0 { return errno }
    defer { close(file) }
    guard fstat(file, &status) == 0 else { return errno }
    let written = Glibc.write(file, bytes, bytes.count)
    if written == bytes.count { return 0 }
    let failure = written < 0 ? errno : ENOSPC
    // No line without its end: the next would be taken for the rest of it.
    if written > 0 { _ = ftruncate(file, status.st_size) }
    return failure
  }
}
