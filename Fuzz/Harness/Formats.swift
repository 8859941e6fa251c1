import DevicePages
import DomainBuilder
import NetworkAddresses
import Xen

@testable import Backends

extension Target {
  /// An image that is taken lies in its file and below 4 GiB, and no two segments overlap.
  static let elf = Target(name: "elf", seeds: [kernel(is64: true), kernel(is64: false)], longest: 2048) { bytes in
    guard let image = try? KernelImage(parsing: bytes.bytes) else { return }
    for segment in image.segments {
      let end = segment.fileOffset + segment.fileSize
      expect(segment.fileOffset >= 0 && segment.fileSize >= 0 && end <= bytes.count, "\(segment)")
      expect(segment.memorySize >= UInt64(segment.fileSize), "\(segment)")
      expect(segment.range.upperBound <= 1 << 32, "\(segment)")
    }
    let ranges = image.segments.map(\.range).sorted { $0.lowerBound < $1.lowerBound }
    expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound }, "\(ranges) overlap")
    expect(image.segments.contains { $0.range.contains(UInt64(image.entry)) }, "entry \(image.entry)")
  }

  /// What is packed lies in its file, and no more comes out than may.
  static let unpack = Target(name: "unpack") { bytes in
    guard let packing = try? KernelPacking(of: bytes) else { return }
    expect(packing.range.lowerBound >= 0 && packing.range.upperBound <= bytes.count, "\(packing)")
    let limit = 1 << 20
    guard let unpacker = try? KernelUnpacker(bytes, packing, limit: limit) else { return }
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { piece.deallocate() }
    var total = 0
    while let count = try? unpacker.read(into: piece), count > 0 {
      expect(count <= piece.count, "\(count) bytes at once")
      total += count
    }
    expect(total <= limit, "\(total) bytes")
  }

  /// A page that can be read can be laid again. Zeroes follow what is shorter than a page.
  static let devicePage = Target(name: "devicepage", seeds: [page(vifs: 0), page(vifs: 2)]) { bytes in
    let padding = [UInt8](repeating: 0, count: max(0, DevicePage.size - bytes.count))
    guard let page = try? DevicePage(decoding: Array(bytes) + padding) else { return }
    expect((try? DevicePage(decoding: page.encoded())) == page, "\(page) does not come back")
  }

  /// A message that is taken is the one its encoding makes.
  static let control = Target(name: "control", seeds: messages) { bytes in
    let bytes = Array(bytes)
    if let request = try? ControlProtocol.Request(decoding: bytes) {
      expect(request.encoded() == bytes, "\(request) was \(bytes)")
    }
    guard let version = ControlProtocol.statedVersion(of: bytes).flatMap(ControlProtocol.Version.init) else {
      return
    }
    if let event = try? ControlProtocol.Event(decodingEvent: bytes) {
      expect(event.encodedEvent(for: version) == bytes, "\(event) was \(bytes)")
    }
    switch try? ControlProtocol.Reply(decoding: bytes) {
    case nil: break
    // Words are mended and cut where they are not as they should be.
    case .failed(let errno, let message):
      let again = ControlProtocol.Reply.failed(errno: errno, message: message).encoded()
      expect((try? ControlProtocol.Reply(decoding: again)) != nil, "\(message)")
    case .some(let reply): expect(reply.encoded(for: version) == bytes, "\(reply) was \(bytes)")
    }
  }
}

// MARK: - Seeds

/// A kernel with one segment, the PVH entry and the runtime's note.
private func kernel(is64: Bool) -> [UInt8] {
  func word(_ value: UInt64) -> [UInt8] { is64 ? little(value) : little(UInt32(value)) }
  func program(_ type: UInt32, _ offset: UInt64, _ address: UInt64, _ size: UInt64) -> [UInt8] {
    little(type) + (is64 ? little(UInt32(7)) : []) + word(offset) + word(0) + word(address) + word(size)
      + word(size) + (is64 ? [] : little(UInt32(7))) + word(4)
  }
  let headerSize: UInt16 = is64 ? 64 : 52
  let programSize: UInt16 = is64 ? 56 : 32
  let data = UInt64(headerSize + 2 * programSize)
  var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  file += [2, 0, is64 ? 62 : 3, 0, 1, 0, 0, 0] + word(0) + word(UInt64(headerSize)) + word(0)
  file += [0, 0, 0, 0] + little(headerSize) + little(programSize) + [2, 0, is64 ? 64 : 40, 0, 0, 0, 0, 0]
  file += program(1, data, 0x10_0000, 8) + program(4, data + 8, 0, 60) + [UInt8](repeating: 0x90, count: 8)
  file += little(UInt32(4)) + little(UInt32(8)) + little(UInt32(18)) + Array("Xen\0".utf8)
  file += little(UInt64(0x10_0000))
  file += little(UInt32(6)) + little(UInt32(16)) + little(UInt32(1)) + Array("chaos\0\0\0".utf8)
  return file + little(UInt64(1)) + little(UInt64(3))
}

private func page(vifs: Int) -> [UInt8] {
  let identity = DevicePage.Identity(
    uuid: Array(0xa0...0xaf), created: 1, imageDigest: Array(0x10...0x2f), name: "fw-1", commandLine: "a=b",
    vcpus: 1, memoryKiB: 8192)
  let console = DevicePage.Device(
    kind: .console, index: 0, state: .connected, port: 1, firstFrame: Slots.consoleFrame, frameCount: 1)
  let devices = (0..<vifs).map { slot in
    DevicePage.Device(
      kind: .vif, index: UInt16(slot), state: .connected, port: Slots.port(vif: slot),
      firstFrame: Slots.windowFrame(vif: slot), frameCount: 64,
      vif: DevicePage.Vif(
        mac: MACAddress("02:ca:fe:00:00:05")!, mtu: 1500, features: VifFeatures.always.rawValue,
        rings: VifRings(windowFrames: 64), ipv4: IPv4Interface("10.7.0.2/24"),
        ipv4Gateway: IPv4Address("10.7.0.1"), ipv6: IPv6Interface("fd00::2/64"),
        ipv6Gateway: IPv6Address("fd00::1")))
  }
  return DevicePage(identity: identity, devices: [console] + devices).encoded()
}

private let messages: [[UInt8]] = {
  let domain = DomainID(rawValue: 7)
  let key = ControlProtocol.DomainKey(domain: domain, handle: DomainHandle(Array(0xa0...0xaf))!)
  let status = ControlProtocol.Status(
    key: key, status: 1, acknowledged: 2, vifs: [0, 3],
    brokenVifs: [ControlProtocol.BrokenVif(slot: 3, reason: .rings)])
  let vif = ControlProtocol.Vif(slot: 0, windowFrames: 64, features: 3)
  let requests: [ControlProtocol.Request] = [
    .attach(key, vifs: [vif], partial: true), .detach(key), .resetVif(key, slot: 2), .rename(key, to: key.handle),
    .attachVif(key, vif), .own,
    .detachVif(key, slot: 1),
    .setFeatures(key, slot: 0, features: 3),
    .console(key, follow: true, input: false), .powerctl(key, bits: 1), .list(from: domain), .subscribe,
  ]
  let replies: [ControlProtocol.Reply] = [
    .done, .failed(errno: 19, message: "domain 7 is not served"), .domains([status]),
  ]
  return requests.compactMap { $0.encoded() }
    + ControlProtocol.Version.allCases.flatMap { version in
      replies.map { $0.encoded(for: version) } + [status.encodedEvent(for: version)]
    }
}()
