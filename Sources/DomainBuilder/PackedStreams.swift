import CDecompress

/// A library's decoder of a stream of bytes.
protocol PackedStream: AnyObject {
  /// Takes of the input and makes of the output what it can. Nothing taken and nothing made means that it waits for
  /// more input.
  func step(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> StreamStep
}

struct StreamStep {
  let taken, made: Int
  /// The stream is complete, and all of it has come out.
  let isLast: Bool
}

final class StreamDecoder: Decoder {
  private let stream: any PackedStream
  private var isAtEnd = false

  init(_ stream: any PackedStream) { self.stream = stream }

  func fill<Content>(
    _ buffer: UnsafeMutableRawBufferPointer, from source: PackedBytes<Content>
  ) throws(KernelImageError) -> Int {
    while !isAtEnd {
      let input = try source.next()
      let step = try stream.step(input, buffer)
      source.skip(step.taken)
      isAtEnd = step.isLast
      if step.made > 0 { return step.made }
      guard isAtEnd || step.taken > 0 else {
        throw .unpacking(source.format, input.isEmpty ? "cut short" : "damaged")
      }
    }
    return 0
  }
}

/// RFC 1952, by zlib.
final class GzipStream: PackedStream {
  /// Does not move: zlib's state points back at it.
  private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)

  init() throws(KernelImageError) {
    stream.initialize(to: z_stream())
    // The largest window, and gzip's header and trailer around the data (zlib.h).
    let result = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard result == Z_OK else { throw .unpacking(.gzip, "zlib answers \(result)") }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func step(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> StreamStep {
    stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: Bytef.self))
    stream.pointee.avail_in = uInt(input.count)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: Bytef.self)
    stream.pointee.avail_out = uInt(clamping: output.count)
    let room = stream.pointee.avail_out
    let result = inflate(stream, Z_NO_FLUSH)
    switch result {
    case Z_OK, Z_STREAM_END, Z_BUF_ERROR: break
    case Z_MEM_ERROR: throw .unpacking(.gzip, "no memory")
    default: throw .unpacking(.gzip, "damaged")
    }
    return StreamStep(
      taken: input.count - Int(stream.pointee.avail_in), made: Int(room - stream.pointee.avail_out),
      isLast: result == Z_STREAM_END)
  }
}

/// By libbz2.
final class Bzip2Stream: PackedStream {
  /// Does not move: the library's state points back at it.
  private let stream = UnsafeMutablePointer<bz_stream>.allocate(capacity: 1)

  init() throws(KernelImageError) {
    stream.initialize(to: bz_stream())
    let result = BZ2_bzDecompressInit(stream, 0, 0)
    guard result == BZ_OK else { throw .unpacking(.bzip2, "libbz2 answers \(result)") }
  }

  deinit {
    BZ2_bzDecompressEnd(stream)
    stream.deallocate()
  }

  func step(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> StreamStep {
    stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: CChar.self))
    stream.pointee.avail_in = UInt32(input.count)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: CChar.self)
    stream.pointee.avail_out = UInt32(clamping: output.count)
    let room = stream.pointee.avail_out
    let result = BZ2_bzDecompress(stream)
    switch result {
    case BZ_OK, BZ_STREAM_END: break
    case BZ_MEM_ERROR: throw .unpacking(.bzip2, "no memory")
    default: throw .unpacking(.bzip2, "damaged")
    }
    return StreamStep(
      taken: input.count - Int(stream.pointee.avail_in), made: Int(room - stream.pointee.avail_out),
      isLast: result == BZ_STREAM_END)
  }
}

/// `.xz` and `.lzma` files, by liblzma.
final class LZMAStream: PackedStream {
  private let format: KernelPacking.Format
  private var stream = lzma_stream()

  init(_ format: KernelPacking.Format) throws(KernelImageError) {
    self.format = format
    let limit = UInt64(mostMemory)
    let result =
      format == .xz ? lzma_stream_decoder(&stream, limit, 0) : lzma_alone_decoder(&stream, limit)
    guard result == LZMA_OK else { throw .unpacking(format, "liblzma answers \(result.rawValue)") }
  }

  deinit { lzma_end(&stream) }

  func step(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> StreamStep {
    stream.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.avail_in = input.count
    stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.avail_out = output.count
    let result = lzma_code(&stream, LZMA_RUN)
    switch result {
    case LZMA_OK, LZMA_STREAM_END, LZMA_BUF_ERROR: break
    case LZMA_MEM_ERROR: throw .unpacking(format, "no memory")
    case LZMA_MEMLIMIT_ERROR: throw .unpacking(format, "takes more than \(mostMemory >> 20) MiB to unpack")
    default: throw .unpacking(format, "damaged")
    }
    return StreamStep(
      taken: input.count - stream.avail_in, made: output.count - stream.avail_out,
      isLast: result == LZMA_STREAM_END)
  }
}

/// One frame of RFC 8878, by libzstd.
final class ZstdStream: PackedStream {
  private let context: OpaquePointer

  init() throws(KernelImageError) {
    guard let context = ZSTD_createDCtx() else { throw .unpacking(.zstd, "no memory") }
    self.context = context
    // A window of 128 MiB, what `zstd -22 --ultra` uses at most.
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27)
  }

  deinit { ZSTD_freeDCtx(context) }

  func step(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> StreamStep {
    var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
    var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
    let result = ZSTD_decompressStream(context, &target, &source)
    guard ZSTD_isError(result) == 0 else {
      throw .unpacking(.zstd, String(cString: ZSTD_getErrorName(result)))
    }
    return StreamStep(taken: source.pos, made: target.pos, isLast: result == 0)
  }
}
