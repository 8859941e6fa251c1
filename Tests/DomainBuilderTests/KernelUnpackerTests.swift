import CDecompress
import Glibc
import Testing

@testable import DomainBuilder

/// A kernel as the programs that people use pack it, each file named by its format: Fuzz/corpus/unpack.
private func packed(_ name: String) throws -> [UInt8] {
  let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  let path = "/\(folder)/Fuzz/corpus/unpack/\(name)"
  let file = try #require(fopen(path, "r"), "\(path)")
  defer { fclose(file) }
  var bytes = [UInt8](repeating: 0, count: 1 << 16)
  let count = fread(&bytes, 1, bytes.count, file)
  return Array(bytes[..<count])
}

/// What a file unpacks to, some bytes at a time; the file itself when it is not packed.
private func unpack(_ file: [UInt8], limit: Int = 1 << 26, piece: Int = 1 << 16) throws -> [UInt8] {
  try file.withUnsafeBytes { bytes in
    guard let packing = try KernelPacking(of: bytes) else { return file }
    let unpacker = try KernelUnpacker(bytes, packing, limit: limit)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: piece, alignment: 1)
    defer { buffer.deallocate() }
    var whole: [UInt8] = []
    while true {
      let count = try unpacker.read(into: buffer)
      if count == 0 { return whole }
      whole += buffer[..<count]
    }
  }
}

/// A bzImage with this payload, its setup two sectors long and some bytes between it and the payload.
private func bzImage(
  _ payload: [UInt8], size: Int?, version: UInt16 = 0x0208, sectors: UInt8 = 2, offset: UInt32 = 0x31
) -> [UInt8] {
  let payload = payload + (size.map { little(UInt32($0)) } ?? [])
  var file = [UInt8](repeating: 0, count: Int(sectors == 0 ? 5 : sectors + 1) * 512 + Int(offset))
  func put(_ bytes: [UInt8], _ at: Int) { file.replaceSubrange(at..<at + bytes.count, with: bytes) }
  put([sectors], 0x1f1)
  put([0x55, 0xaa], 0x1fe)
  put(Array("HdrS".utf8) + little(version), 0x202)
  put(little(offset) + little(UInt32(payload.count)), 0x248)
  // The bytes behind it: what follows the kernel proper in the file's last segment.
  return file + payload + [UInt8](repeating: 0xcc, count: 77)
}

private func unpacking(_ format: KernelPacking.Format, _ problem: String) -> KernelImageError {
  .unpacking(format, problem)
}

private let compressed = KernelPacking.Format.allCases.filter { $0 != .uncompressed }

@Suite struct KernelUnpackerTests {
  @Test(arguments: compressed, [1, 13, 1 << 16])
  func whatProgramsPackIsUnpacked(format: KernelPacking.Format, piece: Int) throws {
    let kernel = try packed("uncompressed")
    let unpacked = try unpack(try packed(format.rawValue), piece: piece)
    #expect(unpacked == kernel)
    #expect(try KernelImage(parsing: unpacked.span.bytes).entry == 0x10_0010)
  }

  @Test func anELFFileIsNotPacked() throws {
    for bytes in [try packed("uncompressed"), [], [0x1f], Array("#!/bin/sh\n".utf8)] {
      #expect(try bytes.withUnsafeBytes { try KernelPacking(of: $0) } == nil)
    }
  }

  @Test(arguments: KernelPacking.Format.allCases)
  func theKernelOfABzImageIsUnpacked(format: KernelPacking.Format) throws {
    let kernel = try packed("uncompressed")
    // gzip ends with the size, the kernel's build puts it behind the others.
    let size = format == .gzip || format == .uncompressed ? nil : kernel.count
    let payload = try packed(format.rawValue)
    #expect(try unpack(bzImage(payload, size: size)) == kernel)
    #expect(try unpack(bzImage(payload, size: size, sectors: 0, offset: 0)) == kernel)
  }

  @Test(arguments: ["bzimage-gzip", "bzimage-lz4"])
  func theCorpussBzImagesAreUnpacked(name: String) throws {
    #expect(try unpack(try packed(name)) == packed("uncompressed"))
  }

  /// More than a buffer of the reader, more than a block of LZ4, and not of whole blocks.
  @Test(arguments: compressed)
  func largeKernelsAreUnpacked(format: KernelPacking.Format) throws {
    let bytes = largeBytes()
    let unpacked = try unpack(try Packer.pack(bytes, format))
    #expect(unpacked == bytes, "\(unpacked.count) of \(bytes.count) bytes")
  }
}

@Suite struct UnpackingRefusalTests {
  @Test(arguments: compressed)
  func whatIsCutShortIsRefused(format: KernelPacking.Format) throws {
    let file = try packed(format.rawValue)
    // A magic number's length is needed to know what it is.
    for length in 9..<file.count {
      let error = #expect(throws: KernelImageError.self, "\(length) bytes") { try unpack(Array(file[..<length])) }
      #expect(error?.description.contains(format.rawValue) == true, "\(length) bytes")
    }
    #expect(throws: unpacking(format, "cut short")) { try unpack(Array(file[..<(file.count / 2)])) }
  }

  @Test(arguments: compressed)
  func whatFollowsTheEndIsRefused(format: KernelPacking.Format) throws {
    let file = try packed(format.rawValue) + [1]
    let problem = format == .lz4 ? "cut short" : "there is more behind its end"
    #expect(throws: unpacking(format, problem)) { try unpack(file) }
  }

  @Test(arguments: compressed)
  func noBytesTrap(format: KernelPacking.Format) throws {
    var noise = Noise(seed: 7)
    let kernel = try packed("uncompressed")
    let file = try packed(format.rawValue)
    // Whether there are checksums is said in lzop's header of 38 bytes.
    let start = format == .lzo ? 38 : 9
    var refused = 0
    for _ in 0..<2000 {
      var file = file
      for _ in 0..<Int.random(in: 1...3, using: &noise) {
        file[Int.random(in: start..<file.count, using: &noise)] = UInt8.random(in: 0...255, using: &noise)
      }
      do {
        let unpacked = try unpack(file, limit: 1 << 20)
        // Formats without a checksum may give anything; the others what was packed.
        if format != .lzma, format != .lz4, unpacked != kernel { Issue.record("\(format): other bytes") }
      } catch {
        refused += 1
      }
    }
    #expect(refused > 500)
  }

  /// A bomb costs no more than what comes out up to the limit.
  @Test(arguments: compressed)
  func whatBecomesTooLargeIsRefused(format: KernelPacking.Format) throws {
    let bytes = largeBytes()
    let file = try Packer.pack(bytes, format)
    #expect(try unpack(file, limit: bytes.count).count == bytes.count)
    let limit = 1 << 22
    let error = #expect(throws: KernelImageError.tooLarge(limit: limit)) { try unpack(file, limit: limit) }
    #expect(error?.description == "unpacks to more than 4 MiB")
    #expect(throws: KernelImageError.tooLarge(limit: bytes.count - 1)) {
      try unpack(file, limit: bytes.count - 1)
    }
  }

  @Test func aBzImagesStatedSizeIsHeldAgainstWhatComesOut() throws {
    let kernel = try packed("uncompressed")
    let payload = try packed("zstd")
    #expect(throws: unpacking(.zstd, "\(kernel.count) bytes instead of 12")) {
      try unpack(bzImage(payload, size: 12))
    }
    #expect(throws: KernelImageError.tooLarge(limit: 1 << 20)) {
      try unpack(bzImage(payload, size: 1 << 21), limit: 1 << 20)
    }
  }

  @Test func aBzImageMustSayWhereItsKernelIs() throws {
    let payload = try packed("gzip")
    func refusal(_ file: [UInt8]) -> String? {
      #expect(throws: KernelImageError.self) { try unpack(file) }?.description
    }
    #expect(
      refusal(bzImage(payload, size: nil, version: 0x0207))
        == "malformed bzImage: its boot protocol is older than 2.08 and does not say where the kernel is")
    let outside = "malformed bzImage: the payload lies outside the file"
    let file = bzImage(payload, size: nil)
    #expect(refusal(Array(file[..<(file.count - 78)])) == outside)
    #expect(refusal(bzImage([], size: nil)) == outside)
    for field in [0x248, 0x24c] {
      var file = file
      file.replaceSubrange(field..<field + 4, with: little(UInt32.max))
      #expect(refusal(file) == outside)
    }
    #expect(
      refusal(bzImage(Array("no known packing".utf8), size: nil))
        == "malformed bzImage: the payload is packed in an unknown way")
    #expect(refusal(Array(file[..<0x24e])) == "malformed bzImage: the header is cut short")
  }

  /// A dictionary that only a large machine could hold, asked for by a few bytes.
  @Test func dictionariesAreBounded() throws {
    var file = try packed("lzma")
    file.replaceSubrange(1..<5, with: little(UInt32(1) << 30))
    let error = #expect(throws: KernelImageError.self) { try unpack(file) }
    #expect(error?.description == "cannot unpack lzma data: takes more than 160 MiB to unpack")
    // Magic number, a descriptor without a size, a window of 2^31 bytes, an empty last block.
    let zstd: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0]
    let refusal = #expect(throws: KernelImageError.self) { try unpack(zstd) }
    #expect(refusal?.description.hasPrefix("cannot unpack zstd data: ") == true)
    #expect(refusal != unpacking(.zstd, "there is nothing in it"))
  }
}

/// 9 MiB and some bytes, which pack to about a quarter of that.
private func largeBytes() -> [UInt8] {
  var noise = Noise(seed: 3)
  let words = (0..<2048).map { _ in noise.next() }
  let block = words.flatMap { little($0) + [UInt8](repeating: 0x90, count: 24) }
  var bytes: [UInt8] = []
  for number in 0..<144 { bytes += block + [UInt8(number)] }
  return bytes + [1, 2, 3]
}

/// Packs by the same libraries.
private enum Packer {
  static func pack(_ bytes: [UInt8], _ format: KernelPacking.Format) throws -> [UInt8] {
    var packed = [UInt8](repeating: 0, count: bytes.count + bytes.count / 8 + 4096)
    var count = packed.count
    switch format {
    case .gzip: count = gzip(bytes, &packed)
    case .bzip2:
      var room = UInt32(packed.count)
      var source = bytes
      let result = packed.withUnsafeMutableBytes { packed in
        source.withUnsafeMutableBytes { source in
          BZ2_bzBuffToBuffCompress(
            packed.baseAddress!.assumingMemoryBound(to: CChar.self), &room,
            source.baseAddress!.assumingMemoryBound(to: CChar.self), UInt32(source.count), 1, 0, 0)
        }
      }
      try #require(result == BZ_OK)
      count = Int(room)
    case .xz:
      count = 0
      let room = packed.count
      try #require(
        lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, nil, bytes, bytes.count, &packed, &count, room) == LZMA_OK)
    case .lzma: count = lzma(bytes, &packed)
    case .zstd:
      let room = packed.count
      count = ZSTD_compress(&packed, room, bytes, bytes.count, 1)
      try #require(ZSTD_isError(count) == 0)
    case .lz4: return lz4(bytes)
    case .lzo: return lzo(bytes)
    case .uncompressed: return bytes
    }
    return Array(packed[..<count])
  }

  private static func gzip(_ bytes: [UInt8], _ packed: inout [UInt8]) -> Int {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    stream.initialize(to: z_stream())
    defer { stream.deallocate() }
    deflateInit2_(
      stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    var bytes = bytes
    return bytes.withUnsafeMutableBufferPointer { bytes in
      packed.withUnsafeMutableBufferPointer { packed in
        stream.pointee.next_in = bytes.baseAddress
        stream.pointee.avail_in = uInt(bytes.count)
        stream.pointee.next_out = packed.baseAddress
        stream.pointee.avail_out = uInt(packed.count)
        #expect(deflate(stream, Z_FINISH) == Z_STREAM_END)
        deflateEnd(stream)
        return packed.count - Int(stream.pointee.avail_out)
      }
    }
  }

  private static func lzma(_ bytes: [UInt8], _ packed: inout [UInt8]) -> Int {
    var options = lzma_options_lzma()
    lzma_lzma_preset(&options, 1)
    var stream = lzma_stream()
    #expect(lzma_alone_encoder(&stream, &options) == LZMA_OK)
    defer { lzma_end(&stream) }
    return bytes.withUnsafeBufferPointer { bytes in
      packed.withUnsafeMutableBufferPointer { packed in
        stream.next_in = bytes.baseAddress
        stream.avail_in = bytes.count
        stream.next_out = packed.baseAddress
        stream.avail_out = packed.count
        #expect(lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END)
        return packed.count - stream.avail_out
      }
    }
  }

  private static func lz4(_ bytes: [UInt8]) -> [UInt8] {
    var file = little(UInt32(0x184c_2102))
    for start in stride(from: 0, to: bytes.count, by: 8 << 20) {
      let part = Array(bytes[start..<min(start + 8 << 20, bytes.count)])
      var packed = [UInt8](repeating: 0, count: Int(LZ4_compressBound(Int32(part.count))))
      let count = part.withUnsafeBytes { part in
        packed.withUnsafeMutableBytes { packed in
          LZ4_compress_default(
            part.baseAddress!.assumingMemoryBound(to: CChar.self),
            packed.baseAddress!.assumingMemoryBound(to: CChar.self), Int32(part.count), Int32(packed.count))
        }
      }
      file += little(UInt32(count)) + packed[..<Int(count)]
    }
    return file
  }

  /// With the checksums of both sides that lzop can be told to write, and none of the header.
  private static func lzo(_ bytes: [UInt8]) -> [UInt8] {
    func big(_ value: UInt32) -> [UInt8] { little(value.byteSwapped) }
    func adler(_ bytes: [UInt8]) -> [UInt8] { big(UInt32(adler32(1, bytes, UInt32(bytes.count)))) }
    func crc(_ bytes: [UInt8]) -> [UInt8] { big(UInt32(crc32(0, bytes, UInt32(bytes.count)))) }
    var file: [UInt8] = [0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d, 0x0a, 0x1a, 0x0a]
    file += [0x10, 0x40, 0x20, 0x80, 0x09, 0x40, 1, 5] + big(0x303) + [UInt8](repeating: 0, count: 12)
    file += [3] + Array("abc".utf8) + [0, 0, 0, 0]
    var memory = [UInt8](repeating: 0, count: 1 << 18)
    for start in stride(from: 0, to: bytes.count, by: 256 << 10) {
      let part = Array(bytes[start..<min(start + 256 << 10, bytes.count)])
      var packed = [UInt8](repeating: 0, count: part.count * 2 + 64)
      var count = lzo_uint(packed.count)
      lzo1x_1_compress(part, lzo_uint(part.count), &packed, &count, &memory)
      packed.removeLast(packed.count - Int(count))
      file += big(UInt32(part.count))
      if packed.count < part.count {
        file += big(UInt32(packed.count)) + adler(part) + crc(part) + adler(packed) + crc(packed) + packed
      } else {
        file += big(UInt32(part.count)) + adler(part) + crc(part) + part
      }
    }
    return file + big(0)
  }
}
