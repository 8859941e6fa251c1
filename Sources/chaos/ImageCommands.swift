import ChaosAPI

func imageAdd(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  let name = invocation.operands[0]
  try Names.checkImageName(name)
  let file = try File.opened(invocation.operands[1])
  var client = invocation.client()
  let content = try HTTPClient.Body.content(of: file)
  let image: ImageInfo
  do throws(APIError) {
    image = try client.addImage(name, content)
  } catch {
    throw error.naming(file.path)
  }
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
      let file = try File.opened(path)
      let content = try HTTPClient.Body.content(of: file)
      do throws(APIError) {
        return try client.upload(kind, content).digest
      } catch {
        throw error.naming(path)
      }
    }
  }
}

extension HTTPClient.Body {
  /// The content of a file or a pipe, read as it is sent. What cannot be an image is refused before it is read:
  /// devices have no end.
  static func content(of file: borrowing File) throws(APIError) -> HTTPClient.Body {
    let kind: File.Kind
    do throws(FileError) {
      kind = try file.kind()
    } catch {
      throw APIError(error)
    }
    switch kind {
    case .regular(let size):
      guard size <= ImageInfo.largest else { throw .tooLarge(limit: ImageInfo.largest).naming(file.path) }
      return .file(descriptor: file.descriptor, size: size)
    case .pipe: return .stream(descriptor: file.descriptor, limit: ImageInfo.largest)
    case .other: throw APIError(.invalidArgument, "\(file.path): neither a file nor a pipe")
    }
  }
}

extension File {
  /// An error that says what the system answered.
  static func opened(_ path: String) throws(APIError) -> File {
    do throws(FileError) {
      return try File(reading: path)
    } catch {
      throw APIError(error)
    }
  }
}

extension APIError {
  init(_ error: FileError) {
    self.init(
      error.isMissing ? .notFound : .invalidArgument, "\(error.path): \(errorText(error.code))")
  }
}
