import DevicePages
import ImageStore

/// What a shell gets loaded: a kernel and perhaps its ramdisk.
public struct BootImages: Sendable {
  public let kernel: StoredImage
  public let ramdisk: StoredImage?

  public init(kernel: StoredImage, ramdisk: StoredImage?) {
    self.kernel = kernel
    self.ramdisk = ramdisk
  }

  /// The images a hot flavour names.
  ///
  /// - Throws: ``ImageStoreError`` when the store no longer has one of them.
  public init(_ hot: Flavour.HotImage, in store: ImageStore) throws(ImageStoreError) {
    let kernel = try store.find(hot.kernel.description)
    guard let digest = hot.ramdisk else {
      self.init(kernel: kernel, ramdisk: nil)
      return
    }
    self.init(kernel: kernel, ramdisk: try store.find(digest.description, isKernel: false))
  }

  /// What is in force on the vifs of a guest that runs the kernel.
  public var vifFeatures: VifFeatures {
    VifFeatures.inForce(declared: kernel.kernel?.runtime?.vifFeatures ?? 0)
  }

  /// Why the images do not fit a flavour; nil when they do. Asked before anything is made.
  public func misfit(_ flavour: Flavour) -> String? {
    guard let kernel = kernel.kernel, let plan = flavour.memoryPlan else {
      return "\(flavour.memoryMiB) MiB leave no room for RAM beside \(flavour.vifs) windows"
    }
    guard kernel.segments.allSatisfy({ plan.contains($0.range) }) else {
      return "the image needs RAM up to \(kernel.end >> 10) KiB, \(flavour.memoryMiB) MiB of memory give "
        + "\((plan.ram.first?.upperBound ?? 0) >> 10) KiB"
    }
    guard plan.startInfoFrame(for: kernel) != nil else {
      return "\(flavour.memoryMiB) MiB leave no room for the start info beside the image"
    }
    if let ramdisk, plan.ramdiskAddress(size: UInt64(ramdisk.size), kernel: kernel) == nil {
      return "kernel and ramdisk (\(ramdisk.size >> 10) KiB) do not fit \(flavour.memoryMiB) MiB of memory"
    }
    return nil
  }
}
