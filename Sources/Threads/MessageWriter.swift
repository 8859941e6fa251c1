import Dispatch
import Glibc
import Synchronization

/// Lines for the operator, written by a thread of its own: whoever has something to say waits neither for a disk that
/// stands still nor for the reader of a pipe.
///
/// What comes while nothing is taken waits. What is more than that is left out, and the next line that is not says how
/// much.
public final class MessageWriter: Sendable {
  private struct State {
    var waiting: [UInt8] = []
    var lost = 0
    var isWriting = false
  }

  /// Bytes that wait.
  static let capacity = 64 << 10

  private let descriptor: Int32
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)

  /// - Parameter descriptor: where the lines go, for as long as the process lives.
  public init(_ descriptor: Int32 = STDERR_FILENO) throws(BackgroundThread.Failure) {
    self.descriptor = descriptor
    try BackgroundThread.start(name: "chaos-messages") { [self] in
      while true {
        wake.wait()
        writeWaiting()
      }
    }
  }

  /// Has a line written, soon.
  public func write(_ line: String) {
    state.withLock { state in
      guard state.waiting.count + line.utf8.count < Self.capacity else {
        state.lost += 1
        return
      }
      if state.lost > 0 { state.waiting += "[\(state.lost) messages left out]\n".utf8 }
      state.lost = 0
      state.waiting += line.utf8
      state.waiting.append(UInt8(ascii: "\n"))
    }
    wake.signal()
  }

  /// Waits until all is written, but not for long: for a process that is about to end.
  public func flush(within limit: Duration = .seconds(1)) {
    let end = ContinuousClock.now + limit
    while state.withLock({ $0.isWriting || !$0.waiting.isEmpty }), ContinuousClock.now < end { usleep(1000) }
  }

  private func writeWaiting() {
    let bytes = state.withLock { state in
      defer { state.waiting = [] }
      state.isWriting = true
      return state.waiting
    }
    let lost = write(bytes)
    state.withLock { state in
      state.lost += lost
      state.isWriting = false
    }
  }

  /// Returns how many lines could not be written.
  private func write(_ bytes: [UInt8]) -> Int {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        return rest.count { $0 == UInt8(ascii: "\n") }
      }
      rest = rest.dropFirst(count)
    }
    return 0
  }
}
