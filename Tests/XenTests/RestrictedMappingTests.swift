import Glibc
import Testing

@testable import Xen

@Suite struct RestrictedMappingTests {
  private let frames = (0..<4).map { GuestFrame(rawValue: 0xE0000 + UInt64($0)) }

  /// The kernel reports a frame that the guest gave up in the array alone, and calls the whole a success.
  @Test func aFrameThatIsNotMappedIsARefusal() {
    let domain = DomainID(rawValue: 7)
    let error = RestrictedMapping.refusal(of: frames, [0, 0, 0, -EINVAL], domain)
    #expect(error?.errno == EINVAL)
    #expect(error?.description == "map guest frame 0xe0003: domain 7: Invalid argument")
    #expect(RestrictedMapping.refusal(of: frames, [0, 0, 0, 0], domain) == nil)
  }
}
