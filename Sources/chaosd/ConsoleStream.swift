import Backends
import Dispatch
import Glibc
import Synchronization
import Threads

/// What comes from a console's socket, as a sequence: a thread reads a piece, and reads the next only when the
/// consumer is done with it.
final class ConsoleStream: Sendable {
  /// Ends when the socket does or ``close()`` is called.
  let output: AsyncStream<[UInt8]>
  private let socket: OpenSocket
  private let credit = DispatchSemaphore(value: 1)

  /// - Parameter socket: owned from now on, also when this fails.
  init(adopting socket: Int32) throws(BackgroundThread.Failure) {
    let open = OpenSocket(socket)
    self.socket = open
    let (stream, continuation) = AsyncStream.makeStream(of: [UInt8].self)
    output = stream
    do throws(BackgroundThread.Failure) {
      try start(socket, continuation)
    } catch {
      open.close()
      throw error
    }
  }

  /// Starts the thread that reads.
  private func start(
    _ socket: Int32, _ continuation: AsyncStream<[UInt8]>.Continuation
  ) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-console") { [open = self.socket, credit] in
      let capacity = 16 << 10
      while true {
        credit.wait()
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
          count = max(0, read(socket, buffer.baseAddress, capacity))
        }
        if bytes.isEmpty { break }
        continuation.yield(bytes)
      }
      continuation.finish()
      open.close()
    }
  }

  /// A socket that one thread reads and another may cut short; its number is not used after it is closed.
  private final class OpenSocket: Sendable {
    private let descriptor: Mutex<Int32?>

    init(_ descriptor: Int32) { self.descriptor = Mutex(descriptor) }

    func shutDown() {
      descriptor.withLock { descriptor in
        if let descriptor { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }
      }
    }

    func close() {
      descriptor.withLock { descriptor in
        if let descriptor { _ = Glibc.close(descriptor) }
        descriptor = nil
      }
    }
  }

  /// Lets the thread read on.
  func proceed() { credit.signal() }

  /// Ends the stream from this side. Safe to repeat.
  func close() {
    socket.shutDown()
    credit.signal()
  }
}
