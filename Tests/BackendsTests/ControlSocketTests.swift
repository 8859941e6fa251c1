import CBackends
import Glibc
import Testing

@testable import Backends

@Suite struct ControlSocketTests {
  private struct Pair: ~Copyable {
    let sender: ControlSocket
    let receiver: ControlSocket

    init() {
      let ends = Ends.sockets(SOCK_SEQPACKET)
      sender = ControlSocket(adopting: ends.one)
      receiver = ControlSocket(adopting: ends.other)
    }
  }

  @Test func descriptorsComeAlong() throws {
    let pair = Pair()
    let line = Ends.sockets(SOCK_STREAM)
    try pair.sender.send([1, 2, 3], descriptors: [line.other.raw])
    close(line.other.release())
    let (bytes, descriptors) = try #require(try pair.receiver.receive())
    #expect(bytes == [1, 2, 3])
    let copy = Descriptor(adopting: try #require(descriptors.first))
    #expect(descriptors.count == 1)
    #expect(fcntl(copy.raw, F_GETFD) & FD_CLOEXEC != 0)
    #expect(Glibc.write(copy.raw, "x", 1) == 1)
    var byte: UInt8 = 0
    #expect(Glibc.read(line.one.raw, &byte, 1) == 1 && byte == 0x78)
  }

  @Test func aMessageCarries33Descriptors() throws {
    let pair = Pair()
    let line = Ends.sockets(SOCK_STREAM)
    let most = [Int32](repeating: line.other.raw, count: Int(CBACKENDS_MAX_DESCRIPTORS))
    try pair.sender.send([1], descriptors: most)
    let (_, descriptors) = try #require(try pair.receiver.receive())
    #expect(descriptors.count == 33)
    #expect(Set(descriptors).count == 33)
    for descriptor in descriptors { close(descriptor) }
    let error = #expect(throws: BackendError.self) {
      try pair.sender.send([1], descriptors: most + [line.other.raw])
    }
    #expect(error?.errno == E2BIG)
  }

  @Test func messagesKeepTheirBounds() throws {
    let pair = Pair()
    try pair.sender.send([1])
    try pair.sender.send([2, 2])
    #expect(try pair.receiver.receive()?.bytes == [1])
    #expect(try pair.receiver.receive()?.bytes == [2, 2])
    let longest = [UInt8](repeating: 7, count: ControlProtocol.maxMessage)
    try pair.sender.send(longest)
    #expect(try pair.receiver.receive()?.bytes == longest)
  }

  @Test func theEndOfTheConnectionIsSeen() throws {
    let ends = Ends.sockets(SOCK_SEQPACKET)
    close(ends.one.release())
    #expect(try ControlSocket(adopting: ends.other).receive() == nil)
  }

  /// An end hangs up once no copy of the other is open anywhere.
  @Test func aCutMessageIsRefusedAndItsDescriptorsClosed() throws {
    let pair = Pair()
    let line = Ends.sockets(SOCK_STREAM)
    let tooLong = [UInt8](repeating: 7, count: ControlProtocol.maxMessage + 1)
    try pair.sender.send(tooLong, descriptors: [line.other.raw, line.other.raw])
    close(line.other.release())
    let error = #expect(throws: BackendError.self) { _ = try pair.receiver.receive() }
    #expect(error?.errno == EMSGSIZE)
    #expect(hangsUp(line.one.raw))
    try pair.sender.send([1])
    #expect(try pair.receiver.receive()?.bytes == [1])
  }

  @Test func descriptorsThatDoNotFitAreClosedTogetherWithTheRest() {
    let sockets = Ends.sockets(SOCK_SEQPACKET)
    let line = Ends.sockets(SOCK_STREAM)
    let passed: [Int32] = [line.other.raw, line.other.raw, line.other.raw]
    #expect(cbackends_send(sockets.one.raw, [1], 1, passed, 3) == 1)
    close(line.other.release())
    var bytes = [UInt8](repeating: 0, count: 8)
    var descriptors: [Int32] = [-1, -1]
    var count = 2
    #expect(cbackends_receive(sockets.other.raw, &bytes, 8, &descriptors, &count) == -1)
    #expect(errno == EMSGSIZE && count == 0)
    #expect(hangsUp(line.one.raw))
  }

  /// An empty message reads as the end of the connection; what came with it must not stay open.
  @Test func descriptorsOfAnEmptyMessageAreClosed() throws {
    let pair = Pair()
    let line = Ends.sockets(SOCK_STREAM)
    try pair.sender.send([], descriptors: [line.other.raw])
    close(line.other.release())
    #expect(try pair.receiver.receive() == nil)
    #expect(hangsUp(line.one.raw))
  }

  @Test func aListenerTakesConnections() throws {
    let folder = TemporaryFolder()
    let path = "\(folder.path)/backend.sock"
    // A socket file that a dead process left is replaced.
    close(open(path, O_CREAT | O_WRONLY, 0o644))
    let listener = try ControlSocket.listen(at: path)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    let early = try listener.accept()?.raw
    #expect(early == nil)
    let client = try ControlSocket.connect(to: path, within: .seconds(20))
    guard let accepted = try listener.accept() else {
      Issue.record("no connection")
      return
    }
    let server = ControlSocket(adopting: accepted)
    try client.send([1])
    #expect(try server.receive()?.bytes == [1])
    // The accepted end does not block: the back-end has one thread.
    let error = #expect(throws: BackendError.self) { _ = try server.receive() }
    #expect(error?.errno == EAGAIN)
    try server.send([2])
    #expect(try client.receive()?.bytes == [2])
  }

  @Test func aMissingListenerIsSaid() {
    let folder = TemporaryFolder()
    let error = #expect(throws: BackendError.self) {
      _ = try ControlSocket.connect(to: "\(folder.path)/none", within: .seconds(20))
    }
    #expect(error?.errno == ENOENT)
    let long = "\(folder.path)/" + String(repeating: "x", count: 200)
    #expect(throws: BackendError.self) { _ = try ControlSocket.connect(to: long, within: .seconds(20)) }
  }
}
