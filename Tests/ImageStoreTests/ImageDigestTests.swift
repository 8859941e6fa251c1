import Testing

@testable import ImageStore

@Suite struct ImageDigestTests {
  private func digest(_ pieces: [String]) -> String {
    var builder = DigestBuilder()
    for piece in pieces { Array(piece.utf8).withUnsafeBytes { builder.append($0) } }
    return builder.finish().hexadecimal
  }

  /// FIPS 180-2, appendix B.
  @Test func digestsAreSHA256() {
    #expect(digest(["abc"]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(digest(["a", "", "bc"]) == digest(["abc"]))
    #expect(digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(
      digest(["abcdbcdecdefdefgefghfghighijhi", "jkijkljklmklmnlmnomnopnopq"])
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
  }

  @Test func textIsReadWithAndWithoutItsPrefix() throws {
    let text = "00ff" + String(repeating: "5a", count: 30)
    let digest = try #require(ImageDigest(text))
    #expect(digest.bytes == [0x00, 0xff] + [UInt8](repeating: 0x5a, count: 30))
    #expect(digest.hexadecimal == text)
    #expect(digest.description == "sha256:" + text)
    #expect(ImageDigest(digest.description) == digest)
  }

  @Test(arguments: [
    "", "sha256:", String(repeating: "a", count: 63), String(repeating: "a", count: 65),
    String(repeating: "A", count: 64), "sha1:" + String(repeating: "a", count: 64),
    "sha256:sha256:" + String(repeating: "a", count: 64), String(repeating: "a", count: 63) + "g",
  ])
  func otherTextIsRefused(text: String) {
    #expect(ImageDigest(text) == nil)
  }
}
