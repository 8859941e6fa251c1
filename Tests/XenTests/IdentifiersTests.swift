import Testing
import Xen

@Suite struct DomainHandleTests {
  private let text = "00112233-4455-6677-8899-aabbccddeeff"
  private let octets: [UInt8] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
  ]

  @Test func textAndOctetsAreOfOneOrder() throws {
    let handle = try #require(DomainHandle(uuid: text))
    #expect(handle.octets == octets)
    #expect(handle.uuid == text)
    #expect(DomainHandle(octets) == handle)
    #expect(DomainHandle(uuid: text.uppercased()) == handle)
  }

  @Test func leadingZeroesAreKept() throws {
    let zero = try #require(DomainHandle([UInt8](repeating: 0, count: 16)))
    #expect(zero.uuid == "00000000-0000-0000-0000-000000000000")
    #expect(DomainHandle(uuid: zero.uuid) == zero)
    let small = "00000001-0002-0003-0004-000000000005"
    #expect(DomainHandle(uuid: small)?.uuid == small)
  }

  @Test(arguments: [
    "", "-", "----", "00112233445566778899aabbccddeeff",
    "00112233-4455-6677-8899-aabbccddeef",  // one digit short
    "00112233-4455-6677-8899-aabbccddeefff",
    "0011223-34455-6677-8899-aabbccddeeff",  // hyphen misplaced
    "00112233-4455-6677-8899-aabbccddeef-",
    "00112233-4455-6677-8899-aabbccddeefg",
    "+0112233-4455-6677-8899-aabbccddeeff",
    "00112233-4455-6677-+899-aabbccddeeff",
    " 0112233-4455-6677-8899-aabbccddeeff",
    "{00112233-4455-6677-8899-aabbccddeeff}",
    "00112233-4455-6677-8899-aabbccddeeé",
  ])
  func otherTextIsRefused(text: String) {
    #expect(DomainHandle(uuid: text) == nil)
  }

  @Test(arguments: [0, 1, 15, 17, 32])
  func otherLengthsAreRefused(length: Int) {
    #expect(DomainHandle([UInt8](repeating: 1, count: length)) == nil)
  }

  @Test func randomHandlesAreVersion4AndDiffer() {
    var seen: Set<DomainHandle> = []
    for _ in 0..<200 {
      let handle = DomainHandle.random()
      #expect(handle.octets[6] >> 4 == 4)
      #expect(handle.octets[8] >> 6 == 0b10)
      #expect(DomainHandle(uuid: handle.uuid) == handle)
      seen.insert(handle)
    }
    #expect(seen.count == 200)
  }
}

@Suite struct NumberTests {
  @Test func framesAreFourKiB() {
    #expect(GuestFrame(rawValue: 0xe0000).address == 0xe000_0000)
    #expect(GuestFrame(rawValue: 0xe1000).advanced(by: 16) == GuestFrame(rawValue: 0xe1010))
    #expect(GuestFrame(rawValue: 1).advanced(by: -1) == GuestFrame(rawValue: 0))
    #expect(GuestFrame(rawValue: 0xe1000).description == "0xe1000")
  }

  @Test func errorsSayCallDomainAndReason() {
    let error = XenError(call: "map guest memory", domain: DomainID(rawValue: 7), errno: 22, detail: "bad\nmore")
    #expect(error.description == "map guest memory: domain 7: Invalid argument (bad)")
    let short = XenError(call: "open privcmd", domain: nil, errno: 2)
    #expect(short.description == "open privcmd: No such file or directory")
  }
}
