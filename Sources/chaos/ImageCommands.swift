import ChaosAPI

func imageAdd(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let name = invocation.operands[0]
  try Names.checkImageName(name)
  let file = try ImageFile(invocation.operands[1])
  var client = invocation.client()
  let image = try client.addImage(name, file.content)
  if invocation.wantsJSON {
    printJSON(image.json)
  } else {
    printOut(image.digest + "\n")
  }
  return .success
}

func imageList(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let images = try client.images()
  if invocation.wantsJSON {
    printJSON(ImageList(images: images).json)
  } else if invocation.has("quiet") {
    printOut(images.map { ($0.name ?? $0.digest) + "\n" }.joined())
  } else {
    printOut(imageTable(images))
  }
  return .success
}

func imageTable(_ images: [ImageInfo]) -> String {
  var table = Table([
    ("NAME", .left), ("DIGEST", .left), ("SIZE", .right), ("ABI", .right), ("ADDED", .left),
  ])
  for image in images {
    table.add([
      image.name ?? "", shortDigest(image.digest), shortSize(bytes: image.size),
      image.runtimeABI.map { "\($0)" } ?? "", image.added,
    ])
  }
  return table.text
}

func imageRemove(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  return invocation.forEachOperand { name throws(APIError) in
    try client.removeImage(name)
  }
}

/// What the user named as an image: one that the daemon has, or a file of the user's own.
enum ImageSource {
  case stored(String)
  case file(String)

  init(_ text: String) {
    self = Self.isFile(text) ? .file(text) : .stored(text)
  }

  private static func isFile(_ text: String) -> Bool {
    text.utf8.contains(UInt8(ascii: "/")) || text.hasSuffix(".elf")
  }

  /// What stands for the image when a request is checked before anything is sent: a file will be named by its
  /// digest, whatever that is.
  static func checkable(_ text: String?) -> String? {
    guard let text, isFile(text) else { return text }
    return "sha256:" + String(repeating: "0", count: 64)
  }

  /// How the daemon knows it. A file is opened here, with the rights of the user, and sent.
  func sent(
    _ kind: ChaosClient.UploadKind, by client: inout ChaosClient
  ) throws(APIError) -> String {
    switch self {
    case .stored(let name): return name
    case .file(let path):
      let file = try ImageFile(path)
      do throws(APIError) {
        return try client.upload(kind, file.content).digest
      } catch {
        throw error.naming(path)
      }
    }
  }
}

/// A file opened to be sent.
struct ImageFile: ~Copyable {
  private let descriptor: Int32
  let content: HTTPClient.Body

  init(_ path: String) throws(APIError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable(path, errno) }
    var status = stat()
    let isKnown = fstat(descriptor, &status) == 0
    switch isKnown ? status.st_mode & S_IFMT : 0 {
    case S_IFREG:
      content = .file(descriptor: descriptor, size: status.st_size)
    case S_IFDIR:
      close(descriptor)
      throw unreadable(path, EISDIR)
    default:
      // A pipe says its size only at its end.
      do throws(APIError) {
        content = .bytes(try readAll(descriptor, path, limit: 1 << 30))
      } catch {
        close(descriptor)
        throw error
      }
    }
    self.descriptor = descriptor
  }

  deinit {
    close(descriptor)
  }
}

/// The whole content of a file or pipe.
func readAll(_ descriptor: Int32, _ path: String, limit: Int) throws(APIError) -> [UInt8] {
  var content: [UInt8] = []
  var code: Int32 = 0
  while content.count <= limit {
    let capacity = max(16_384, content.count)
    let piece = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      var result: Int
      repeat {
        result = read(descriptor, buffer.baseAddress, capacity)
      } while result < 0 && errno == EINTR
      code = result < 0 ? errno : 0
      count = max(0, result)
    }
    guard code == 0 else { throw unreadable(path, code) }
    if piece.isEmpty { return content }
    if content.isEmpty { content = piece } else { content += piece }
  }
  throw APIError(.invalidArgument, "\(path): larger than \(limit >> 20) MiB")
}

func unreadable(_ path: String, _ code: Int32) -> APIError {
  APIError(.invalidArgument, "\(path): \(errorText(code))")
}
