import Foundation
import Glibc
import Synchronization

@testable import VirtualLAN

/// A folder with what FRR would have on a host: files, a start script, and daemons that answer at their sockets.
final class FRRDouble: Sendable {
  let folder: String
  let installation: FRRInstallation

  init(configuration: String? = nil, daemons: String = "bgpd=yes\n") throws {
    var path = Array("/tmp/chaos-frr-test.XXXXXX".utf8CString)
    guard mkdtemp(&path) != nil else { throw POSIXError(.EIO) }
    folder = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    installation = FRRInstallation(
      configuration: folder, sockets: folder, programs: folder, systemdMark: "\(folder)/no-systemd",
      systemctl: "\(folder)/systemctl")
    try write("bgpd", "", mode: 0o755)
    try write("frrinit.sh", "#!/bin/sh\n", mode: 0o755)
    try write("daemons", daemons, mode: 0o640)
    if let configuration { try write("frr.conf", configuration, mode: 0o640) }
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  func write(_ name: String, _ text: String, mode: mode_t) throws {
    try text.write(toFile: "\(folder)/\(name)", atomically: false, encoding: .utf8)
    chmod("\(folder)/\(name)", mode)
  }

  func read(_ name: String) throws -> String { try String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8) }
}

/// A daemon at a control socket: it notes every command and answers as it is told to.
final class DaemonDouble: Sendable {
  private let heard = Mutex<[String]>([])
  private let socket: CInt
  private let answer: @Sendable (String) -> [UInt8]?

  /// - Parameter answer: the bytes to send for a command; nil to end the session instead.
  init(_ path: String, answer: @escaping @Sendable (String) -> [UInt8]? = { _ in DaemonDouble.answer("") }) throws {
    self.answer = answer
    socket = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafeBytes(of: &address) {
      bind(socket, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    guard bound == 0, listen(socket, 16) == 0 else { throw POSIXError(.EADDRINUSE) }
    Thread { self.serve() }.start()
  }

  /// Nobody listens any more.
  func stop() { shutdown(socket, CInt(SHUT_RDWR)) }

  var commands: [String] { heard.withLock { $0 } }

  static func answer(_ text: String, status: UInt8 = 0) -> [UInt8] { Array(text.utf8) + [0, 0, 0, status] }

  private func serve() {
    while true {
      let session = accept(socket, nil, nil)
      if session < 0 { break }
      Thread { self.talk(session) }.start()
    }
    close(socket)
  }

  private func talk(_ session: CInt) {
    defer { close(session) }
    var pending: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(session, &buffer, buffer.count, 0)
      if count <= 0 { return }
      pending += buffer.prefix(count)
      while let end = pending.firstIndex(of: 0) {
        let command = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeSubrange(...end)
        heard.withLock { $0.append(command) }
        guard let bytes = answer(command) else { return }
        // In pieces, as a stream may come.
        for piece in stride(from: 0, to: bytes.count, by: 1000) {
          let part = Array(bytes[piece..<min(piece + 1000, bytes.count)])
          if send(session, part, part.count, CInt(MSG_NOSIGNAL)) < 0 { return }
        }
      }
    }
  }
}
