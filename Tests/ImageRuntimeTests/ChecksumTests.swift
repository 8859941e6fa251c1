import Testing

@testable import ImageProtocols

@Suite struct ChecksumTests {
  @Test func exampleOfRFC1071() {
    let memory = Memory(dump("0001 f203 f4f5 f6f7"))
    #expect(Checksum.finish(memory.bytes.internetSum(from: 0, length: 8)) == ~0xddf2)
  }

  @Test func everyLengthAgreesWithTheDefinition() {
    var noise = Noise(seed: 2)
    for length in 0...70 {
      let contents = (0..<length).map { _ in UInt8.random(in: 0...255, using: &noise) }
      var sum = 0
      for (offset, byte) in contents.enumerated() {
        sum += offset % 2 == 0 ? Int(byte) << 8 : Int(byte)
      }
      while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
      let memory = Memory(contents)
      let computed = Checksum.finish(memory.bytes.internetSum(from: 0, length: length))
      #expect(computed == ~UInt16(sum))
    }
  }

  @Test func adjustingAgreesWithComputing() {
    let memory = Memory(dump("0800 0000 1234 ffff 8001"))
    let before = Checksum.finish(memory.bytes.internetSum(from: 0, length: 10))
    memory.bytes.setBig16(0, 0)
    let after = Checksum.finish(memory.bytes.internetSum(from: 0, length: 10))
    #expect(Checksum.adjusted(before, from: 0x0800, to: 0) == after)
  }

  @Test func accessOutsideIsHarmless() {
    let memory = Memory([1, 2, 3, 4])
    let bytes = memory.bytes
    #expect(bytes.big32(0) == 0x0102_0304)
    #expect(bytes.little32(0) == 0x0403_0201)
    #expect(bytes.big32(1) == 0)
    #expect(bytes.byte(-1) == 0)
    #expect(bytes.byte(.max) == 0)
    #expect(bytes.internetSum(from: 2, length: 3) == 0)
    bytes.setBig64(0, 0)
    bytes.move(from: 0, to: 2, length: 3)
    bytes.move(from: 0, to: 0, length: -1)
    #expect(memory.prefix(4) == [1, 2, 3, 4])
    #expect(memory.isGuardIntact)
    #expect(bytes.part(from: 3, length: 9).count == 1)
    #expect(bytes.part(from: 9).count == 0)
    #expect(bytes.part(from: -1, length: -1).count == 0)
  }
}
