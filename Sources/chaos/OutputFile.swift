import ChaosAPI

#if canImport(Glibc)
  import Glibc
#else
  import CPosix
#endif

/// A file that is there whole, or not at all: it is written beside its place, readable for its owner alone, and takes its
/// place at the end. What is no regular file, and standard output, is written as it comes.
struct OutputFile: ~Copyable {
  private let descriptor: Int32
  /// As the user named it.
  private let path: String
  /// Where it is written; nil: in its place.
  private let draft: String?
  private var written = 0

  init(_ path: String) throws(APIError) {
    self.path = path
    if path == "-" {
      (descriptor, draft) = (STDOUT_FILENO, nil)
      return
    }
    if Self.isSpecial(path) {
      (descriptor, draft) = (openFile(path, O_WRONLY | O_CLOEXEC), nil)
    } else {
      let draft = "\(path).partial-\(getpid())"
      self.draft = draft
      descriptor = openFile(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode: 0o600)
    }
    guard descriptor >= 0 else { throw APIError(FileError(path: path, code: errno)) }
    if let draft { removeOnSignal(draft) }
  }

  deinit {
    if descriptor > STDERR_FILENO { close(descriptor) }
    // Not finished: finishing leaves nothing there.
    if let draft { unlink(draft) }
  }

  /// There already, and no regular file: a device, a pipe. A folder is refused when it is opened.
  private static func isSpecial(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & mode_t(S_IFMT) != mode_t(S_IFREG)
  }

  /// Bytes that are all zero become holes, a page each.
  mutating func write(_ bytes: [UInt8]) throws(APIError) {
    guard draft != nil else { return try put(bytes[...]) }
    var start = 0
    while start < bytes.count {
      // Up to the end of the file's page, so that a hole is one.
      let end = min(bytes.count, start + 4096 - written % 4096)
      if isZero(bytes, start..<end) {
        guard lseek(descriptor, off_t(end - start), SEEK_CUR) >= 0 else { throw failure(errno) }
        written += end - start
      } else {
        try put(bytes[start..<end])
      }
      start = end
    }
  }

  private mutating func put(_ bytes: ArraySlice<UInt8>) throws(APIError) {
    let code = writeAll(descriptor, bytes)
    guard code == 0 else { throw failure(code) }
    written += bytes.count
  }

  /// Has it on the disk, and in its place.
  consuming func finish() throws(APIError) {
    guard let draft else { return }
    // A hole at its end is none yet.
    guard ftruncate(descriptor, off_t(written)) == 0, fsync(descriptor) == 0, rename(draft, path) == 0 else {
      throw failure(errno)
    }
  }

  private func failure(_ code: Int32) -> APIError {
    APIError(
      code == ENOSPC || code == EDQUOT ? .noCapacity : .internal, "cannot write \(path): \(errorText(code))")
  }
}

private func isZero(_ bytes: [UInt8], _ range: Range<Int>) -> Bool {
  bytes.withUnsafeBytes { buffer in
    // Equal to itself, moved by one, all bytes are the first.
    buffer[range.lowerBound] == 0
      && memcmp(buffer.baseAddress! + range.lowerBound, buffer.baseAddress! + range.lowerBound + 1, range.count - 1)
        == 0
  }
}

/// What a signal that ends the process removes. Written once, before its handler is set.
nonisolated(unsafe) private var unfinished: UnsafeMutablePointer<CChar>?

private func removeOnSignal(_ path: String) {
  unfinished = strdup(path)
  handleOnce([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE]) { number in
    if let unfinished { unlink(unfinished) }
    raise(number)
  }
}
