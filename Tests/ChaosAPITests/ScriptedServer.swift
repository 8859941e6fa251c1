import Glibc
import Synchronization

/// Held while a descriptor is made and marked close-on-exec, and while a program is started: tests run in
/// parallel, and a connection that another's program kept open would never be seen to end.
let descriptors = Mutex(())

func closeOnExec(_ descriptor: Int32) {
  _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
}

/// A server on a unix socket that reads requests and answers each with the next bytes of its script, whatever
/// was asked. One connection after another; an empty answer closes the connection.
final class ScriptedServer: @unchecked Sendable {
  let path: String
  private let listener: Int32
  private let answers: [String]
  private let bytewise: Bool
  private let readsBodies: Bool
  private var thread = pthread_t()
  private var received: [String] = []

  /// With `bytewise`, every answer goes out byte by byte; without `readsBodies`, a request is answered when its
  /// head is there, and the connection closed.
  init(answers: [String], bytewise: Bool = false, readsBodies: Bool = true) {
    self.answers = answers
    self.bytewise = bytewise
    self.readsBodies = readsBodies
    var template = Array("/tmp/chaos-api-test-XXXXXX".utf8CString)
    mkdtemp(&template)
    let directory = String(
      decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    path = directory + "/socket"
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    precondition(result == 0 && listen(listener, 4) == 0, "cannot listen on \(path)")
    let unmanaged = Unmanaged.passRetained(self)
    pthread_create(
      &thread, nil,
      { context in
        Unmanaged<ScriptedServer>.fromOpaque(context!).takeRetainedValue().run()
        return nil
      }, unmanaged.toOpaque())
  }

  /// Waits until the script is played out; the requests as they came.
  func requests() -> [String] {
    pthread_join(thread, nil)
    unlink(path)
    return received
  }

  private func run() {
    var remaining = answers[...]
    while !remaining.isEmpty {
      let connection = accept()
      while let answer = remaining.first, let request = read(connection) {
        received.append(request)
        remaining.removeFirst()
        if answer.isEmpty { break }
        write(connection, answer)
        if !readsBodies || answer.contains("Connection: close") { break }
      }
      close(connection)
    }
    close(listener)
  }

  private func accept() -> Int32 {
    var wanted = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
    while poll(&wanted, 1, -1) < 0 {}
    return descriptors.withLock { _ in
      let connection = Glibc.accept(listener, nil, nil)
      closeOnExec(connection)
      return connection
    }
  }

  /// One request, its body by its Content-Length, or to the end of its chunks.
  private func read(_ connection: Int32) -> String? {
    var text: [UInt8] = []
    var byte: UInt8 = 0
    while !text.suffix(4).elementsEqual("\r\n\r\n".utf8) {
      guard Glibc.read(connection, &byte, 1) == 1 else { return nil }
      text.append(byte)
    }
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\r\n")
    let length = lines.first { $0.hasPrefix("Content-Length: ") }.flatMap { Int($0.dropFirst(16)) }
    for _ in 0..<(readsBodies ? length ?? 0 : 0) {
      guard Glibc.read(connection, &byte, 1) == 1 else { return nil }
      text.append(byte)
    }
    while lines.contains("Transfer-Encoding: chunked"), !text.suffix(7).elementsEqual("\r\n0\r\n\r\n".utf8) {
      guard Glibc.read(connection, &byte, 1) == 1 else { return nil }
      text.append(byte)
    }
    return String(decoding: text, as: UTF8.self)
  }

  private func write(_ connection: Int32, _ answer: String) {
    let bytes = Array(answer.utf8)
    let size = bytewise ? 1 : bytes.count
    for start in stride(from: 0, to: bytes.count, by: size) {
      _ = bytes[start..<min(start + size, bytes.count)].withUnsafeBytes {
        send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
    }
  }
}

/// An answer with a JSON body.
func answer(_ status: String, _ body: String) -> String {
  "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
}
