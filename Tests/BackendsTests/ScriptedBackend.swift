import Glibc
import Synchronization
import Threads
import Xen

@testable import Backends

/// The other end of the control protocol, for what a real back-end does not do: answer nonsense, late or never. Listens in
/// a folder of its own and ends with the last reference to it.
final class ScriptedBackend: Sendable {
  let path: String
  private let folder = TemporaryFolder()
  private let listener: ControlSocket
  private let state = Mutex(State())

  private struct State {
    var heard: [[UInt8]] = []
    var connections = 0
    var isStopped = false
  }

  /// - Parameter answer: the reply to a request; nil hangs up.
  init(_ answer: @escaping @Sendable ([UInt8]) -> [UInt8]?) throws {
    path = "\(folder.path)/backend.sock"
    listener = try ControlSocket.listen(at: path)
    _ = fcntl(listener.raw, F_SETFL, 0)
    let raw = listener.raw
    try BackgroundThread.start(name: "scripted") { [weak self] in
      // Shut down with the object, which lets go of the descriptor only then.
      while true {
        let accepted = Glibc.accept(raw, nil, nil)
        guard accepted >= 0, let self, !self.state.withLock({ $0.isStopped }) else { return }
        self.state.withLock { $0.connections += 1 }
        self.serve(accepted, answer)
      }
    }
  }

  deinit { shutdown(listener.raw, Int32(SHUT_RDWR)) }

  private func serve(_ accepted: Int32, _ answer: @escaping @Sendable ([UInt8]) -> [UInt8]?) {
    try? BackgroundThread.start(name: "scripted") { [weak self] in
      let socket = ControlSocket(adopting: Descriptor(adopting: accepted))
      while let (request, descriptors) = try? socket.receive() {
        for descriptor in descriptors { close(descriptor) }
        self?.state.withLock { $0.heard.append(request) }
        guard let reply = answer(request), (try? socket.send(reply)) != nil else { return }
      }
    }
  }

  /// The requests so far.
  var heard: [[UInt8]] { state.withLock { $0.heard } }
  var connections: Int { state.withLock { $0.connections } }
}
