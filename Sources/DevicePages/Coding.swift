import CDevicePage
import NetworkAddresses

extension DevicePage {
  /// Bytes of a page.
  public static let size = 4096
  /// The ABI version laid out here.
  public static let version = Int(CHAOS_PAGE_VERSION)

  /// Where the generation counter is, a 32-bit word.
  public static let generationOffset = Int(CHAOS_HEADER_GENERATION)

  /// The counter alone, of a page that need not be whole.
  public static func generation(in bytes: [UInt8]) -> UInt32 {
    bytes[generationOffset..<generationOffset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  // MARK: Encoding

  /// The page's 4,096 bytes. Traps when a field exceeds what its docstring allows: callers validated it.
  public func encoded() -> [UInt8] {
    precondition(devices.count <= Int(CHAOS_DEVICE_MAX))
    var page = PageWriter()
    encodeHeader(&page)
    encodeIdentity(&page)
    for (number, device) in devices.enumerated() {
      device.encode(&page, at: Int(CHAOS_DEVICE_TABLE) + number * Int(CHAOS_DEVICE_ENTRY_SIZE))
    }
    return page.bytes
  }

  private func encodeHeader(_ page: inout PageWriter) {
    page.put(UInt32(CHAOS_PAGE_MAGIC), at: CHAOS_HEADER_MAGIC)
    page.put(UInt16(CHAOS_PAGE_VERSION), at: CHAOS_HEADER_VERSION)
    page.put(UInt16(devices.count), at: CHAOS_HEADER_DEVICE_COUNT)
    page.put(UInt32(CHAOS_PAGE_LENGTH), at: CHAOS_HEADER_LENGTH)
    page.put(generation, at: CHAOS_HEADER_GENERATION)
    page.put(UInt32(CHAOS_DEVICE_TABLE), at: CHAOS_HEADER_DEVICE_TABLE)
    page.put(UInt32(CHAOS_DEVICE_ENTRY_SIZE), at: CHAOS_HEADER_DEVICE_ENTRY_SIZE)
    page.put(UInt32(CHAOS_COMMAND_LINE), at: CHAOS_HEADER_COMMAND_LINE)
    page.put(identity.memoryKiB, at: CHAOS_HEADER_MEMORY_KIB)
    page.put(UInt64(bitPattern: clockOffset), at: CHAOS_HEADER_CLOCK_OFFSET)
    page.put(Slots.sharedInfoFrame, at: CHAOS_HEADER_SHARED_INFO)
    page.put(Slots.startInfoFrame, at: CHAOS_HEADER_START_INFO)
    page.put(Slots.grantTableFrame, at: CHAOS_HEADER_GRANT_TABLE)
  }

  private func encodeIdentity(_ page: inout PageWriter) {
    let name = Array(identity.name.utf8)
    let commandLine = Array(identity.commandLine.utf8)
    precondition(identity.uuid.count == 16 && identity.imageDigest.count == 32)
    precondition(name.count <= Slots.nameBytes && commandLine.count <= Slots.commandLineBytes)
    page.put(identity.uuid, at: CHAOS_IDENTITY_UUID)
    page.put(identity.created, at: CHAOS_IDENTITY_CREATED)
    page.put(identity.imageDigest, at: CHAOS_IDENTITY_IMAGE_DIGEST)
    page.put(UInt16(name.count), at: CHAOS_IDENTITY_NAME_LENGTH)
    page.put(UInt16(commandLine.count), at: CHAOS_IDENTITY_COMMAND_LENGTH)
    page.put(identity.vcpus, at: CHAOS_IDENTITY_VCPUS)
    page.put(name, at: CHAOS_IDENTITY_NAME)
    page.put(commandLine, at: CHAOS_COMMAND_LINE)
  }

  // MARK: Decoding

  /// Reads a page of version 1. Total: any bytes give a page or an error.
  public init(decoding bytes: [UInt8]) throws(DevicePageError) {
    guard bytes.count == Self.size else { throw DevicePageError("length: \(bytes.count) bytes, not 4096") }
    let page = PageReader(bytes: bytes)
    try Self.checkHeader(page)
    generation = page.word(CHAOS_HEADER_GENERATION)
    clockOffset = Int64(bitPattern: page.long(CHAOS_HEADER_CLOCK_OFFSET))
    identity = try Identity(page)
    let count = Int(page.half(CHAOS_HEADER_DEVICE_COUNT))
    guard count <= Int(CHAOS_DEVICE_MAX) else { throw DevicePageError("device count: \(count)") }
    var decoded: [Device] = []
    for number in 0..<count {
      decoded.append(
        try Device(page, at: Int(CHAOS_DEVICE_TABLE) + number * Int(CHAOS_DEVICE_ENTRY_SIZE)))
    }
    devices = decoded
  }

  private static func checkHeader(_ page: PageReader) throws(DevicePageError) {
    let magic = page.word(CHAOS_HEADER_MAGIC)
    guard magic == UInt32(CHAOS_PAGE_MAGIC) else {
      throw DevicePageError("magic: 0x\(String(magic, radix: 16))")
    }
    let version = page.half(CHAOS_HEADER_VERSION)
    guard version == UInt16(CHAOS_PAGE_VERSION) else { throw DevicePageError("version: \(version)") }
    guard page.word(CHAOS_HEADER_DEVICE_TABLE) == UInt32(CHAOS_DEVICE_TABLE),
      page.word(CHAOS_HEADER_DEVICE_ENTRY_SIZE) == UInt32(CHAOS_DEVICE_ENTRY_SIZE),
      page.word(CHAOS_HEADER_COMMAND_LINE) == UInt32(CHAOS_COMMAND_LINE),
      page.word(CHAOS_HEADER_LENGTH) == UInt32(CHAOS_PAGE_LENGTH)
    else { throw DevicePageError("layout: offsets are not those of version 1") }
  }
}

extension DevicePage.Identity {
  fileprivate init(_ page: PageReader) throws(DevicePageError) {
    let nameLength = Int(page.half(CHAOS_IDENTITY_NAME_LENGTH))
    let commandLength = Int(page.half(CHAOS_IDENTITY_COMMAND_LENGTH))
    guard nameLength <= Slots.nameBytes else { throw DevicePageError("name length: \(nameLength)") }
    guard commandLength <= Slots.commandLineBytes else {
      throw DevicePageError("command line length: \(commandLength)")
    }
    guard let name = String(validating: page.bytes(CHAOS_IDENTITY_NAME, nameLength), as: UTF8.self) else {
      throw DevicePageError("name: not UTF-8")
    }
    guard let command = String(validating: page.bytes(CHAOS_COMMAND_LINE, commandLength), as: UTF8.self)
    else { throw DevicePageError("command line: not UTF-8") }
    self.init(
      uuid: page.bytes(CHAOS_IDENTITY_UUID, 16), created: page.long(CHAOS_IDENTITY_CREATED),
      imageDigest: page.bytes(CHAOS_IDENTITY_IMAGE_DIGEST, 32), name: name, commandLine: command,
      vcpus: page.word(CHAOS_IDENTITY_VCPUS), memoryKiB: page.word(CHAOS_HEADER_MEMORY_KIB))
  }
}

extension DevicePage.Device {
  fileprivate func encode(_ page: inout PageWriter, at entry: Int) {
    precondition((kind == .vif) == (vif != nil))
    page.put(kind.rawValue, at: CHAOS_DEVICE_TYPE, from: entry)
    page.put(index, at: CHAOS_DEVICE_INDEX, from: entry)
    page.put(state.rawValue, at: CHAOS_DEVICE_STATE, from: entry)
    page.put(port, at: CHAOS_DEVICE_PORT, from: entry)
    page.put(grant, at: CHAOS_DEVICE_GRANT, from: entry)
    page.put(firstFrame, at: CHAOS_DEVICE_FIRST_FRAME, from: entry)
    page.put(frameCount, at: CHAOS_DEVICE_FRAME_COUNT, from: entry)
    vif?.encode(&page, at: entry)
  }

  fileprivate init(_ page: PageReader, at entry: Int) throws(DevicePageError) {
    let rawKind = page.half(CHAOS_DEVICE_TYPE, from: entry)
    guard let kind = Kind(rawValue: rawKind) else { throw DevicePageError("device type: \(rawKind)") }
    let rawState = page.half(CHAOS_DEVICE_STATE, from: entry)
    guard let state = State(rawValue: rawState) else { throw DevicePageError("device state: \(rawState)") }
    self.init(
      kind: kind, index: page.half(CHAOS_DEVICE_INDEX, from: entry), state: state,
      port: page.word(CHAOS_DEVICE_PORT, from: entry), grant: page.word(CHAOS_DEVICE_GRANT, from: entry),
      firstFrame: page.long(CHAOS_DEVICE_FIRST_FRAME, from: entry),
      frameCount: page.word(CHAOS_DEVICE_FRAME_COUNT, from: entry),
      vif: kind == .vif ? try DevicePage.Vif(page, at: entry) : nil)
  }
}

extension DevicePage.Vif {
  fileprivate func encode(_ page: inout PageWriter, at entry: Int) {
    page.put(mac.octets, at: CHAOS_VIF_MAC, from: entry)
    page.put(mtu, at: CHAOS_VIF_MTU, from: entry)
    page.put(features, at: CHAOS_VIF_FEATURES, from: entry)
    page.put(rings.receiveSize, at: CHAOS_VIF_RX_SIZE, from: entry)
    page.put(rings.transmitSize, at: CHAOS_VIF_TX_SIZE, from: entry)
    page.put(rings.receiveDescriptors, at: CHAOS_VIF_RX_DESCRIPTORS, from: entry)
    page.put(rings.receiveAvailable, at: CHAOS_VIF_RX_AVAILABLE, from: entry)
    page.put(rings.receiveUsed, at: CHAOS_VIF_RX_USED, from: entry)
    page.put(rings.transmitDescriptors, at: CHAOS_VIF_TX_DESCRIPTORS, from: entry)
    page.put(rings.transmitAvailable, at: CHAOS_VIF_TX_AVAILABLE, from: entry)
    page.put(rings.transmitUsed, at: CHAOS_VIF_TX_USED, from: entry)
    page.put(rings.buffers, at: CHAOS_VIF_BUFFERS, from: entry)
    encodeAddresses(&page, at: entry)
  }

  private func encodeAddresses(_ page: inout PageWriter, at entry: Int) {
    var given: Int32 = 0
    if let ipv4 {
      given |= CHAOS_ADDRESS_IPV4
      page.put([UInt8(ipv4.prefixLength)], at: CHAOS_VIF_IPV4_PREFIX, from: entry)
      page.put(ipv4.address.octets, at: CHAOS_VIF_IPV4, from: entry)
    }
    if let ipv4Gateway {
      given |= CHAOS_ADDRESS_IPV4_GATEWAY
      page.put(ipv4Gateway.octets, at: CHAOS_VIF_IPV4_GATEWAY, from: entry)
    }
    if let ipv6 {
      given |= CHAOS_ADDRESS_IPV6
      page.put([UInt8(ipv6.prefixLength)], at: CHAOS_VIF_IPV6_PREFIX, from: entry)
      page.put(ipv6.address.octets, at: CHAOS_VIF_IPV6, from: entry)
    }
    if let ipv6Gateway {
      given |= CHAOS_ADDRESS_IPV6_GATEWAY
      page.put(ipv6Gateway.octets, at: CHAOS_VIF_IPV6_GATEWAY, from: entry)
    }
    page.put([UInt8(given)], at: CHAOS_VIF_ADDRESSES, from: entry)
  }

  fileprivate init(_ page: PageReader, at entry: Int) throws(DevicePageError) {
    guard let mac = MACAddress(octets: page.bytes(CHAOS_VIF_MAC, 6, from: entry)) else {
      throw DevicePageError("vif MAC address")
    }
    let rings = VifRings(
      receiveSize: page.half(CHAOS_VIF_RX_SIZE, from: entry),
      transmitSize: page.half(CHAOS_VIF_TX_SIZE, from: entry),
      receiveDescriptors: page.word(CHAOS_VIF_RX_DESCRIPTORS, from: entry),
      receiveAvailable: page.word(CHAOS_VIF_RX_AVAILABLE, from: entry),
      receiveUsed: page.word(CHAOS_VIF_RX_USED, from: entry),
      transmitDescriptors: page.word(CHAOS_VIF_TX_DESCRIPTORS, from: entry),
      transmitAvailable: page.word(CHAOS_VIF_TX_AVAILABLE, from: entry),
      transmitUsed: page.word(CHAOS_VIF_TX_USED, from: entry),
      buffers: page.word(CHAOS_VIF_BUFFERS, from: entry))
    self.init(
      mac: mac, mtu: page.half(CHAOS_VIF_MTU, from: entry),
      features: page.long(CHAOS_VIF_FEATURES, from: entry), rings: rings)
    try decodeAddresses(page, at: entry)
  }

  private mutating func decodeAddresses(_ page: PageReader, at entry: Int) throws(DevicePageError) {
    let given = Int32(page.bytes(CHAOS_VIF_ADDRESSES, 1, from: entry)[0])
    if given & CHAOS_ADDRESS_IPV4 != 0 {
      let prefix = Int(page.bytes(CHAOS_VIF_IPV4_PREFIX, 1, from: entry)[0])
      let address = IPv4Address(octets: page.bytes(CHAOS_VIF_IPV4, 4, from: entry))!
      ipv4 = IPv4Interface(address: address, prefixLength: prefix)
      if ipv4 == nil { throw DevicePageError("vif IPv4 prefix: \(prefix)") }
    }
    if given & CHAOS_ADDRESS_IPV4_GATEWAY != 0 {
      ipv4Gateway = IPv4Address(octets: page.bytes(CHAOS_VIF_IPV4_GATEWAY, 4, from: entry))
    }
    if given & CHAOS_ADDRESS_IPV6 != 0 {
      let prefix = Int(page.bytes(CHAOS_VIF_IPV6_PREFIX, 1, from: entry)[0])
      let address = IPv6Address(octets: page.bytes(CHAOS_VIF_IPV6, 16, from: entry))!
      ipv6 = IPv6Interface(address: address, prefixLength: prefix)
      if ipv6 == nil { throw DevicePageError("vif IPv6 prefix: \(prefix)") }
    }
    if given & CHAOS_ADDRESS_IPV6_GATEWAY != 0 {
      ipv6Gateway = IPv6Address(octets: page.bytes(CHAOS_VIF_IPV6_GATEWAY, 16, from: entry))
    }
  }
}

// MARK: - Bytes

/// Stores fixed-width little-endian fields into a page of zeroes. Offsets are the ABI's constants.
private struct PageWriter {
  private(set) var bytes = [UInt8](repeating: 0, count: DevicePage.size)

  mutating func put(_ value: some FixedWidthInteger, at offset: Int32, from entry: Int = 0) {
    let start = entry + Int(offset)
    withUnsafeBytes(of: value.littleEndian) { raw in
      for (index, byte) in raw.enumerated() { bytes[start + index] = byte }
    }
  }

  mutating func put(_ value: [UInt8], at offset: Int32, from entry: Int = 0) {
    let start = entry + Int(offset)
    bytes.replaceSubrange(start..<start + value.count, with: value)
  }
}

/// Reads fixed-width little-endian fields of a page that is 4,096 bytes long. Offsets are the ABI's constants.
private struct PageReader {
  let bytes: [UInt8]

  func half(_ offset: Int32, from entry: Int = 0) -> UInt16 { load(entry + Int(offset)) }
  func word(_ offset: Int32, from entry: Int = 0) -> UInt32 { load(entry + Int(offset)) }
  func long(_ offset: Int32, from entry: Int = 0) -> UInt64 { load(entry + Int(offset)) }

  func bytes(_ offset: Int32, _ count: Int, from entry: Int = 0) -> [UInt8] {
    let start = entry + Int(offset)
    return Array(bytes[start..<start + count])
  }

  private func load<Value: FixedWidthInteger & BitwiseCopyable>(_ start: Int) -> Value {
    bytes.span.bytes.unsafeLoadUnaligned(fromByteOffset: start, as: Value.self).littleEndianValue
  }
}

extension FixedWidthInteger {
  fileprivate var littleEndianValue: Self { Self(littleEndian: self) }
}
