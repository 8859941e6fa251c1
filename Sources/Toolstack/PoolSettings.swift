import ChaosAPI
import ImageStore
import ShellPool
import StateFiles
import Synchronization
import Threads

/// What the pool is to hold, kept on disk and replaced atomically; images by the names they were asked for by,
/// so that a name given to another image moves its flavours along.
public final class PoolSettings: Sendable {
  private let path: String
  private let requests: Mutex<[PoolSetRequest]>
  /// Whoever brings the pool to the settings has it to itself: of two changes the pool ends up with both.
  fileprivate let turn = Mutex(())

  /// A host that was never told otherwise keeps a few blank shells of the smallest useful size.
  private static let standard = [PoolSetRequest(memoryMiB: 8, vcpus: 1, vifs: 1, low: 2, high: 4)]

  /// - Parameter path: read now if it exists, written at every change. A damaged file is reported and not used.
  public init(path: String, report: (String) -> Void) {
    self.path = path
    do {
      requests = Mutex(try Self.read(path))
    } catch {
      report("pool settings ignored: \(path): \(error)")
      requests = Mutex(Self.standard)
    }
  }

  private static func read(_ path: String) throws -> [PoolSetRequest] {
    guard let bytes = try StateFile.read(path) else { return standard }
    guard case .array(let elements)? = try JSON(parsing: bytes)["flavours"] else {
      throw APIError(.internal, "no 'flavours'")
    }
    return try elements.enumerated().map { index, element in
      let request = try PoolSetRequest(json: element, at: "flavours[\(index)]")
      try request.validate()
      return request
    }
  }

  public var all: [PoolSetRequest] { requests.withLock { $0 } }

  /// Puts a flavour's setting in, or takes it out when it keeps no shells.
  func set(_ request: PoolSetRequest) throws(APIError) {
    try requests.withLock { requests throws(APIError) in
      var changed = requests.filter { !$0.isSameFlavour(as: request) }
      if request.high > 0 { changed.append(request) }
      try write(changed)
      requests = changed
    }
  }

  private func write(_ requests: [PoolSetRequest]) throws(APIError) {
    let bytes = JSON.object(["flavours": .array(requests.map(\.json))]).pretty
    do throws(StateFile.Failure) {
      try StateFile.replace(path, with: bytes, mode: 0o644, durability: .powerCut)
    } catch {
      throw APIError(error)
    }
  }
}

extension PoolSetRequest {
  fileprivate func isSameFlavour(as other: PoolSetRequest) -> Bool {
    let windows = [self, other].map { $0.windowKiB ?? Flavour.defaultWindowKiB }
    return image == other.image && ramdisk == other.ramdisk && memoryMiB == other.memoryMiB
      && vcpus == other.vcpus && vifs == other.vifs && windows[0] == windows[1]
  }
}

extension Toolstack {
  /// Sets the pool up as the settings say. Flavours whose image is not in the store wait until it is.
  public func applyPoolSettings(_ settings: PoolSettings) {
    settings.turn.withLock { _ in bringPool(to: settings) }
  }

  private func bringPool(to settings: PoolSettings) {
    let wanted = settings.all.compactMap { request -> (Flavour, Watermarks)? in
      guard let flavour = try? flavour(of: request) else { return nil }
      return (flavour, Watermarks(low: request.low, high: request.high))
    }
    for status in pool.status where !wanted.contains(where: { $0.0 == status.flavour }) {
      pool.set(status.flavour, Watermarks(low: 0, high: 0))
    }
    for (flavour, watermarks) in wanted {
      let current = pool.status.first { $0.flavour == flavour }
      if current?.watermarks != watermarks { pool.set(flavour, watermarks) }
    }
    if let budget = settings.all.compactMap(\.budgetMiB).last { pool.setBudget(budget) }
  }

  /// Sets one flavour and remembers it; starts filling again after a drain.
  public func setPool(_ request: PoolSetRequest, _ settings: PoolSettings, _ blocking: borrowing Blocking)
    throws(APIError) -> PoolStatus
  {
    try request.validate()
    let flavour = try flavour(of: request)
    if flavour.memoryPlan == nil {
      throw .refused("memoryMiB", "too small for \(request.vifs) windows", "\(request.memoryMiB)")
    }
    if let hot = flavour.image, let images = try? BootImages(hot, in: images),
      let misfit = images.misfit(flavour)
    {
      throw APIError(.invalidArgument, "memoryMiB: \(misfit)", field: "memoryMiB")
    }
    try settings.set(request)
    applyPoolSettings(settings)
    pool.fill()
    return poolStatus(settings)
  }

  private func flavour(of request: PoolSetRequest) throws(APIError) -> Flavour {
    var hot: Flavour.HotImage?
    if let name = request.image {
      do {
        hot = Flavour.HotImage(kernel: try images.find(name).digest)
      } catch {
        throw APIError(error, field: "image")
      }
      if let name = request.ramdisk {
        do {
          hot?.ramdisk = try images.find(name, isKernel: false).digest
        } catch {
          throw APIError(error, field: "ramdisk")
        }
      }
    }
    return Flavour(
      memoryMiB: request.memoryMiB, vcpus: request.vcpus, vifs: request.vifs,
      windowKiB: request.windowKiB ?? Flavour.defaultWindowKiB, image: hot)
  }

  /// The pool as the API shows it.
  public func poolStatus(_ settings: PoolSettings) -> PoolStatus {
    // Without their names images are shown by their digests.
    let named = (try? images.list()) ?? []
    let names = Dictionary(named.map { ($0.image.digest, $0.name) }, uniquingKeysWith: { a, _ in a })
    let flavours = pool.status.map { status -> FlavourInfo in
      let flavour = status.flavour
      let image = flavour.image.map {
        ImageReference(name: names[$0.kernel], digest: $0.kernel.description)
      }
      let ramdisk = flavour.image?.ramdisk.map { ImageReference(name: names[$0], digest: $0.description) }
      let label = image.map { $0.name ?? String($0.digest.dropFirst(7).prefix(12)) } ?? "blank"
      return FlavourInfo(
        id: "\(label)-\(flavour.memoryMiB)m-\(flavour.vcpus)c-\(flavour.vifs)v-\(flavour.windowKiB)k",
        image: image, ramdisk: ramdisk, memoryMiB: flavour.memoryMiB, vcpus: flavour.vcpus,
        vifs: flavour.vifs, windowKiB: flavour.windowKiB, low: status.watermarks.low,
        high: status.watermarks.high, ready: status.ready, hits: status.hits)
    }
    return PoolStatus(
      flavours: flavours, budgetMiB: pool.budgetMiB, usedMiB: pool.usedMiB, draining: pool.isDraining,
      hits: hits.withLock { $0 })
  }
}
