import CDevicePage
import CGuest

/// Reads the device page while dom0 may be writing it.
enum DevicePageReader {
  enum Failure: Error {
    case unusable(DevicePageError)
    /// dom0 has been writing it for too long.
    case unsettled
  }

  private static var attempts: Int { 1000 }

  static var page: Bytes {
    Bytes(
      start: UnsafeMutableRawPointer(bitPattern: UInt(CHAOS_DEVICE_PAGE_GFN) << 12)
        .unsafelyUnwrapped,
      count: 4096)
  }

  private static var generationAddress: UInt {
    UInt(CHAOS_DEVICE_PAGE_GFN) << 12 + UInt(CHAOS_HEADER_GENERATION)
  }

  static var generation: UInt32 { guest_load32(generationAddress) }

  /// Repeats a reading until the page did not change meanwhile.
  private static func settled<Value>(
    _ read: () throws(DevicePageError) -> Value
  ) throws(Failure) -> Value {
    for _ in 0..<attempts {
      let before = generation
      guest_compiler_barrier()
      if before & 1 == 0 {
        let result: Result<Value, DevicePageError>
        do throws(DevicePageError) {
          result = .success(try read())
        } catch {
          result = .failure(error)
        }
        guest_compiler_barrier()
        if generation == before {
          switch result {
          case .success(let value): return value
          case .failure(let error): throw .unusable(error)
          }
        }
      }
      guest_yield()
    }
    throw .unsettled
  }

  static func read() throws(Failure) -> DevicePage {
    // Where there is no page there is no generation to wait for: all its bits read as ones.
    let magic = page.little32(Int(CHAOS_HEADER_MAGIC))
    guard magic == CHAOS_PAGE_MAGIC else { throw .unusable(.magic(magic)) }
    return try settled { () throws(DevicePageError) in try DevicePage(page) }
  }

  static func vif(_ devices: DevicePage, entry number: Int) throws(Failure) -> Vif? {
    try settled { () throws(DevicePageError) in try devices.vif(entry: number) }
  }

  /// Nanoseconds to add to Xen's clocks. Read each time: it changes under a guest that was restored.
  static var clockOffset: UInt64 {
    let offset = try? settled { () throws(DevicePageError) in
      page.little64(Int(CHAOS_HEADER_CLOCK_OFFSET))
    }
    return offset ?? 0
  }
}

extension DevicePageReader.Failure {
  func describe(to output: inout Console) {
    switch self {
    case .unsettled:
      output.write("the device page never settled")
    case .unusable(let error):
      switch error {
      case .magic(let magic):
        output.write("no device page at ")
        output.writeHexadecimal(UInt64(CHAOS_DEVICE_PAGE_GFN) << 12)
        output.write(", found ")
        output.writeHexadecimal(UInt64(magic), digits: 8)
      case .version(let version):
        output.write("the device page has version ")
        output.writeDecimal(UInt64(version))
        output.write(", this image speaks ")
        output.writeDecimal(UInt64(CHAOS_PAGE_VERSION))
      case .length(let length):
        output.write("the device page's length is wrong: ")
        output.writeDecimal(UInt64(length))
      case .deviceTable:
        output.write("the device page's table lies outside it")
      case .commandLine:
        output.write("the device page's command line lies outside it")
      case .name:
        output.write("the device page's name is too long")
      case .vif(let index, let defect):
        output.write("the device page's vif ")
        output.writeDecimal(UInt64(index))
        output.write(" is wrong: ")
        output.write(defect.name)
      }
    }
  }
}

extension VifDefect {
  fileprivate var name: StaticString {
    switch self {
    case .index: "its index"
    case .duplicate: "it stands there twice"
    case .port: "its port"
    case .window: "its window"
    case .features: "its features"
    case .queueSize: "a queue's size"
    case .rings: "its rings lie outside its window"
    }
  }
}
