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
      return ImageUpload(self, name: nil, isKernel: kind == "kernel", size: request.contentLength)
    case (.PUT, 3):
      try Names.checkImageName(request.path[2])
      return ImageUpload(self, name: request.path[2], isKernel: true, size: request.contentLength)
    default: return nil
    }
  }
}

/// An image on its way into the store. A sink is called by one thread at a time, with a lock taken between
/// (``UploadWriter``), which is what makes its state safe.
private final class ImageUpload: BodySink, @unchecked Sendable {
  private let routes: Routes
  private let name: String?
  private let isKernel: Bool
  /// As the client announced it, in bytes.
  private let size: Int?
  private var upload: ImageStore.Upload?

  init(_ routes: Routes, name: String?, isKernel: Bool, size: Int?) {
    self.size = size
    self.routes = routes
    self.name = name
    self.isKernel = isKernel
  }

  func append(_ bytes: UnsafeRawBufferPointer, _ blocking: borrowing Blocking) throws {
    try begin().append(bytes)
  }

  private func begin() throws -> ImageStore.Upload {
    if let upload { return upload }
    let begun = try routes.toolstack.images.beginUpload(isNamed: name != nil, size: size)
    upload = begun
    return begun
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
