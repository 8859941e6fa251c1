import ChaosAPI
import Glibc
import ImageStore
import Threads
import Toolstack

extension Routes {
  /// Where a request's body goes while it comes in; nil when it is collected instead.
  func bodySink(for request: RequestHead) throws -> (any BodySink)? {
    guard request.path.count >= 2, request.path[0] == "v1", request.path[1] == "images" else { return nil }
    switch (request.method, request.path.count) {
    case (.POST, 2):
      let kind = request.query["kind"] ?? "kernel"
      guard kind == "kernel" || kind == "ramdisk" else {
        throw APIError.refused("kind", "expected 'kernel' or 'ramdisk'", kind)
      }
      return ImageUpload(self, name: nil, isKernel: kind == "kernel")
    case (.PUT, 3):
      try Names.checkImageName(request.path[2])
      return ImageUpload(self, name: request.path[2], isKernel: true)
    default: return nil
    }
  }
}

/// The image store's folders, by what a request says of an image.
struct ImageFolders: Sendable {
  let named: String
  let anonymous: String
}

/// An image on its way into the store. A sink is called by one thread at a time, with a lock taken between
/// (``UploadWriter``), which is what makes its state safe.
private final class ImageUpload: BodySink, @unchecked Sendable {
  private let routes: Routes
  private let name: String?
  private let isKernel: Bool
  private var upload: ImageStore.Upload?

  init(_ routes: Routes, name: String?, isKernel: Bool) {
    self.routes = routes
    self.name = name
    self.isKernel = isKernel
  }

  func append(_ bytes: UnsafeRawBufferPointer, _ blocking: borrowing Blocking) throws {
    try checkSpace(for: bytes.count)
    try begin().append(bytes)
  }

  private func begin() throws -> ImageStore.Upload {
    if let upload { return upload }
    let begun = try routes.toolstack.images.beginUpload(isNamed: name != nil)
    upload = begun
    return begun
  }

  /// Images may not take the space that records and logs need: the folder of anonymous ones is in memory, beside
  /// the records of guests.
  private func checkSpace(for size: Int) throws(APIError) {
    let folder = name == nil ? routes.folders.anonymous : routes.folders.named
    var space = statvfs()
    guard statvfs(folder, &space) == 0 else { return }
    let block = Int(space.f_frsize)
    let reserve = min(64 << 20, Int(space.f_blocks) * block / 4)
    if Int(space.f_bavail) * block - size < reserve {
      throw APIError(.noCapacity, "image: \(folder) is full but for the \(reserve >> 20) MiB kept for other files")
    }
  }

  func finish(_ blocking: borrowing Blocking) throws -> Response {
    let image: StoredImage
    do {
      defer { upload = nil }
      image = try routes.toolstack.images.commit(try begin(), name: name, isKernel: isKernel)
    } catch let error as ImageStoreError {
      throw APIError(error, field: "image")
    }
    // The name may have meant another image until now.
    if name != nil { routes.toolstack.applyPoolSettings(routes.settings) }
    return .whole(Answer(ImageInfo(image, name: name, added: time(nil)), status: .created))
  }

  func abandon() { upload = nil }
}

extension ImageInfo {
  init(_ image: StoredImage, name: String?, added: Int) {
    self.init(
      name: name, digest: image.digest.description, size: image.size,
      entry: (image.kernel?.entry).map { Int($0) },
      runtimeABI: (image.kernel?.runtime?.abiVersion).map { Int($0) }, added: Timestamp.format(seconds: added))
  }
}
