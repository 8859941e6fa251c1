import Glibc
import Testing
import Xen

@testable import Backends

@Suite struct BackendClientTests {
  private func status(_ domain: Int) -> ControlProtocol.Status {
    let key = ControlProtocol.DomainKey(domain: DomainID(rawValue: UInt16(domain)), handle: .random())
    return ControlProtocol.Status(key: key, status: 1, acknowledged: 0)
  }

  /// What a client makes of a back-end that answers its requests with these replies, one after another.
  /// The back-end hangs up when it has no more.
  private func listing(_ replies: [ControlProtocol.Reply]) throws -> [ControlProtocol.Status] {
    let folder = TemporaryFolder()
    let path = "\(folder.path)/backend.sock"
    let listener = try ControlSocket.listen(at: path)
    let client = try BackendClient(path: path)
    guard let accepted = listener.accept() else { return [] }
    let server = ControlSocket(adopting: accepted)
    _ = fcntl(server.raw, F_SETFL, 0)
    // All replies are sent ahead: a socket holds that much.
    for reply in replies { try server.send(reply.encoded()) }
    _ = shutdown(server.raw, Int32(SHUT_WR))
    return try client.domains()
  }

  @Test func longListingsComeInParts() throws {
    let all = (1...2500).map(status)
    let parts = [all[..<1000], all[1000..<2000], all[2000...]].map { ControlProtocol.Reply.domains(Array($0)) }
    #expect(try listing(parts) == all)
    #expect(try listing([.domains([])]) == [])
  }

  @Test func aListingThatDoesNotAdvanceEnds() throws {
    let last = [ControlProtocol.Status](repeating: status(65535), count: 1000)
    #expect(try listing([.domains(last)]).count == 1000)
    let same = [ControlProtocol.Status](repeating: status(3), count: 1000)
    #expect(try listing([.domains(same), .domains(same), .domains(same)]).count == 2000)
  }

  @Test func refusalsAndHangUpsAreSaid() throws {
    let refusal = #expect(throws: BackendError.self) {
      try listing([.failed(errno: ENODEV, message: "domain 7 is not served")])
    }
    #expect(refusal?.errno == ENODEV && refusal?.operation == "domain 7 is not served")
    let hangUp = #expect(throws: BackendError.self) { try listing([]) }
    #expect(hangUp?.errno == EPIPE)
  }
}
