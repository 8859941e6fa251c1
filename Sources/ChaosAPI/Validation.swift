import NetworkAddresses

extension CreateRequest {
  public static let vcpuRange = 1...128
  /// In MiB; the upper end is the 16 TiB that Xen can give one guest.
  public static let memoryRange = 1...16_777_216
  public static let countRange = 1...10_000
  public static let mtuRange = 68...65_535
  public static let windowRange = 64...16_384
  public static let longestCmdline = 1024
  public static let mostVifs = 15
  /// Guests that one may name in `after`.
  public static let mostPredecessors = 64

  /// Checks every value that can be checked without the host, so that client and daemon refuse the same
  /// things in the same words. Whether the image, the bridge and the memory are there is the daemon's to say.
  public func validate() throws(APIError) {
    guard type == Self.defaultType else {
      throw .refused("type", "expected '\(Self.defaultType)', the only kind of guest that chaos makes", type)
    }
    guard !image.isEmpty else {
      throw APIError(.invalidArgument, "kernel: missing: the image to boot", field: "kernel")
    }
    try Names.checkImageReference(image, field: "kernel")
    if let ramdisk { try Names.checkImageReference(ramdisk, field: "ramdisk") }
    try check(count, in: Self.countRange, field: "count")
    try validateIdentity()
    try validateCmdline()
    try check(memoryMiB, in: Self.memoryRange, field: "memory", unit: "MiB")
    try check(vcpus, in: Self.vcpuRange, field: "vcpus")
    try checkWindow(windowKiB, field: "window")
    guard vifs.count <= Self.mostVifs else {
      throw .refused("vifs", "more than \(Self.mostVifs)", "\(vifs.count)")
    }
    for (index, vif) in vifs.enumerated() {
      try vif.validate(count: count, field: "vifs[\(index)]")
    }
    try refuseSharedMACs()
    try checkPredecessors(after, of: name)
    try scheduling.validate()
  }

  private func validateIdentity() throws(APIError) {
    if let uuid {
      guard count == nil else { throw .refused("uuid", "not together with 'count'", uuid) }
      guard Names.isUUID(uuid) else {
        throw .refused("uuid", "expected 8-4-4-4-12 hex digits", uuid)
      }
      guard uuid.utf8.contains(where: { $0 != UInt8(ascii: "0") && $0 != UInt8(ascii: "-") }) else {
        throw .refused("uuid", "all zeroes, which is dom0's", uuid)
      }
    }
    guard let name else { return }
    try Names.checkGuestName(name)
    guard let last = Self.name(name, number: count ?? 1, of: count) else { return }
    guard last.utf8.count <= Names.longestName else {
      throw .refused("name", "longer than \(Names.longestName) characters with its number", last)
    }
  }

  private func validateCmdline() throws(APIError) {
    guard cmdline.utf8.count <= Self.longestCmdline else {
      throw .refused("cmdline", "longer than \(Self.longestCmdline) bytes", cmdline)
    }
    guard !cmdline.utf8.contains(0) else {
      throw .refused("cmdline", "contains a NUL byte", cmdline)
    }
  }

  private func refuseSharedMACs() throws(APIError) {
    let ranges = vifs.map { $0.mac.flatMap(AddressRange<MACAddress>.init(mac:)) }
    for (index, range) in ranges.enumerated() {
      guard let range, let text = vifs[index].mac else { continue }
      for earlier in 0..<index where ranges[earlier]?.overlaps(range) == true {
        throw .refused("vifs[\(index)].mac", "also given to vifs[\(earlier)]", text)
      }
    }
  }

  /// The name of the `number`th of `count` guests; one alone has the name as it is. Nil: none was asked for.
  private static func name(_ name: String?, number: Int, of count: Int?) -> String? {
    guard let name, let count, count > 1 else { return name }
    return "\(name)-\(number)"
  }

  /// The requests for single guests that one with a count stands for; one without stands for itself.
  /// Of a request that `validate()` refuses the result means nothing.
  public func expanded() -> [CreateRequest] {
    guard let count else { return [self] }
    var result: [CreateRequest] = []
    for number in stride(from: 1, through: count, by: 1) {
      var single = self
      single.count = nil
      single.name = Self.name(name, number: number, of: count)
      single.vifs = vifs.map { $0.numbered(number) }
      result.append(single)
    }
    return result
  }
}

extension VifRequest {
  /// Checks a vif that is a request of its own, as `CreateRequest.validate()` does those of a guest to be made.
  public func validate() throws(APIError) {
    try validate(count: nil, field: "")
  }

  /// `field` is the vif's path in the request; empty where it is all of it.
  fileprivate func validate(count: Int?, field: String) throws(APIError) {
    try validatePlace(field: field)
    try check(mtu, in: CreateRequest.mtuRange, field: path("mtu", field))
    if let mac { try validateMAC(mac, count: count, field: path("mac", field)) }
    if let ip {
      try validate(ip: ip, count: count, field: field)
    } else if let gateway {
      throw .refused(path("gateway", field), "given without 'ip'", gateway)
    }
    if let ip6 {
      try validate(ip6: ip6, count: count, field: field)
    } else if let gateway6 {
      throw .refused(path("gateway6", field), "given without 'ip6'", gateway6)
    }
  }

  private func validatePlace(field: String) throws(APIError) {
    switch (bridge, lan) {
    case (let bridge?, nil): try checkDeviceName(bridge, field: path("bridge", field))
    case (nil, let lan?): try Names.checkLANName(lan, field: path("lan", field))
    case (_?, let lan?): throw .refused(path("lan", field), "given together with 'bridge'", lan)
    case (nil, nil):
      throw APIError(
        .invalidArgument, "\(path("bridge", field)): missing, and 'lan' too: one of them is needed",
        field: path("bridge", field))
    }
  }

  private func validateMAC(_ mac: String, count: Int?, field: String) throws(APIError) {
    guard let range = AddressRange<MACAddress>(mac: mac) else {
      throw .refused(field, notMAC, mac)
    }
    for address in [range.first, range.last ?? range.first] {
      try checkStation(address, field: field, text: mac)
    }
    try range.check(against: count, field: field, text: mac)
  }

  private func validate(ip: String, count: Int?, field: String) throws(APIError) {
    let place = path("ip", field)
    guard let (range, prefix) = AddressRange<IPv4Address>.withPrefix(ip) else {
      throw .refused(place, "not an address and prefix, as 10.1.0.2/24", ip)
    }
    guard let network = IPv4Interface(address: range.first, prefixLength: prefix) else {
      throw .refused(place, "prefix longer than 32", ip)
    }
    for address in [range.first, range.last ?? range.first] {
      guard !address.isMulticast else { throw .refused(place, "multicast address", ip) }
      // 127.0.0.0/8 and 0.0.0.0/8 (RFC 1122) stay inside a host.
      guard address.rawValue >> 24 != 127, address.rawValue >> 24 != 0 else {
        throw .refused(place, "not an address for an interface", ip)
      }
      guard network.contains(address) else { throw .refused(place, "range leaves its subnet", ip) }
      // Networks of 31 and 32 bits have only hosts (RFC 3021).
      guard prefix >= 31 || (address != network.network && address != network.broadcast) else {
        throw .refused(place, "the subnet's network or broadcast address", ip)
      }
    }
    try range.check(against: count, field: place, text: ip)
    guard let gateway else { return }
    let gatewayPlace = path("gateway", field)
    guard let address = IPv4Address(gateway) else {
      throw .refused(gatewayPlace, "not an address, as 10.1.0.1", gateway)
    }
    guard network.contains(address) else {
      throw .refused(gatewayPlace, "outside the subnet of \(ip)", gateway)
    }
    guard !range.contains(address) else {
      throw .refused(gatewayPlace, "the guest's own address", gateway)
    }
  }

  private func validate(ip6: String, count: Int?, field: String) throws(APIError) {
    let place = path("ip6", field)
    guard let (range, prefix) = AddressRange<IPv6Address>.withPrefix(ip6) else {
      throw .refused(place, "not an address and prefix, as fd00::2/64", ip6)
    }
    guard let network = IPv6Interface(address: range.first, prefixLength: prefix) else {
      throw .refused(place, "prefix longer than 128", ip6)
    }
    for address in [range.first, range.last ?? range.first] {
      guard !address.isMulticast else { throw .refused(place, "multicast address", ip6) }
      // :: and ::1 (RFC 4291).
      guard address.rawValue > 1 else {
        throw .refused(place, "not an address for an interface", ip6)
      }
      guard network.contains(address) else { throw .refused(place, "range leaves its subnet", ip6) }
    }
    try range.check(against: count, field: place, text: ip6)
    // The smallest MTU that IPv6 works over (RFC 8200, section 5).
    if let mtu, mtu < 1280 { throw .refused(path("mtu", field), "below IPv6's 1280", "\(mtu)") }
    guard let gateway6 else { return }
    let gatewayPlace = path("gateway6", field)
    guard let address = IPv6Address(gateway6) else {
      throw .refused(gatewayPlace, "not an address, as fd00::1", gateway6)
    }
    guard network.contains(address) || address.isLinkLocal else {
      throw .refused(gatewayPlace, "outside the subnet of \(ip6), and not link-local", gateway6)
    }
    guard !range.contains(address) else {
      throw .refused(gatewayPlace, "the guest's own address", gateway6)
    }
  }

  /// The same vif with the `number`th address (from 1) of each range.
  fileprivate func numbered(_ number: Int) -> VifRequest {
    var single = self
    single.mac = mac.map { text in
      AddressRange<MACAddress>(mac: text)?.address(number)?.description ?? text
    }
    single.ip = ip.map { text in
      guard let (range, prefix) = AddressRange<IPv4Address>.withPrefix(text),
        let address = range.address(number)
      else { return text }
      return "\(address)/\(prefix)"
    }
    single.ip6 = ip6.map { text in
      guard let (range, prefix) = AddressRange<IPv6Address>.withPrefix(text),
        let address = range.address(number)
      else { return text }
      return "\(address)/\(prefix)"
    }
    return single
  }
}

extension PoolSetRequest {
  public static let watermarkRange = 0...10_000

  public func validate() throws(APIError) {
    if let image { try Names.checkImageReference(image, field: "image") }
    if let ramdisk {
      guard image != nil else { throw .refused("ramdisk", "given without 'image'", ramdisk) }
      try Names.checkImageReference(ramdisk, field: "ramdisk")
    }
    try check(memoryMiB, in: CreateRequest.memoryRange, field: "memoryMiB", unit: "MiB")
    try check(vcpus, in: CreateRequest.vcpuRange, field: "vcpus")
    try check(vifs, in: 0...CreateRequest.mostVifs, field: "vifs")
    try checkWindow(windowKiB, field: "windowKiB")
    try check(low, in: Self.watermarkRange, field: "low")
    try check(high, in: Self.watermarkRange, field: "high")
    guard low <= high else { throw .refused("low", "above 'high', which is \(high)", "\(low)") }
    try check(budgetMiB, in: 0...CreateRequest.memoryRange.upperBound, field: "budgetMiB")
  }
}

/// Where `key` of the object at `field` stands.
private func path(_ key: String, _ field: String) -> String {
  field.isEmpty ? key : "\(field).\(key)"
}

let notMAC = "not a MAC address, as 52:54:00:12:34:56"

/// Refuses what no station has.
func checkStation(_ address: MACAddress, field: String, text: String) throws(APIError) {
  guard !address.isMulticast else { throw .refused(field, "multicast address", text) }
  guard !address.isZero else { throw .refused(field, "all zeroes", text) }
}

/// One address, or several that follow one another.
private struct AddressRange<Address: CountedAddress> {
  let first: Address
  /// Nil for a single address; never below `first`.
  let last: Address?

  private init?(first: Address?, last: Address?, isRange: Bool) {
    guard let first else { return nil }
    self.first = first
    self.last = last
    guard isRange else { return }
    guard let last, first <= last else { return nil }
  }

  /// Refuses a range where one address is wanted, and the other way round.
  func check(against count: Int?, field: String, text: String) throws(APIError) {
    switch (count, last) {
    case (nil, nil), (1, nil): break
    case (nil, _?): throw .refused(field, "a range, given without 'count'", text)
    case (let count?, nil):
      throw .refused(field, "one address for \(count) guests, expected a range FIRST-LAST", text)
    case (let count?, let last?):
      guard let needed = first.advanced(by: count - 1), needed <= last else {
        throw .refused(field, "range has fewer than \(count) addresses", text)
      }
    }
  }

  /// The `number`th address, from 1.
  func address(_ number: Int) -> Address? { first.advanced(by: number - 1) }

  func contains(_ address: Address) -> Bool { first <= address && address <= last ?? first }

  func overlaps(_ other: AddressRange) -> Bool {
    first <= other.last ?? other.first && other.first <= last ?? first
  }
}

extension AddressRange<MACAddress> {
  /// Reads `MAC` or `MAC-MAC`.
  init?(mac text: String) {
    let (first, last) = split(text, at: UInt8(ascii: "-"))
    self.init(
      first: MACAddress(first), last: last.flatMap(MACAddress.init), isRange: last != nil)
  }
}

extension AddressRange {
  /// Reads `ADDRESS/PREFIX` or `ADDRESS-ADDRESS/PREFIX`. The prefix is only known to be a small number.
  static func withPrefix(_ text: String) -> (range: AddressRange, prefix: Int)? {
    let (addresses, prefix) = split(text, at: UInt8(ascii: "/"))
    let (first, last) = split(addresses, at: UInt8(ascii: "-"))
    guard let prefix, 1...3 ~= prefix.utf8.count, prefix.utf8.allSatisfy(isDigit),
      prefix == "0" || prefix.utf8.first != UInt8(ascii: "0"), let length = Int(prefix),
      let range = AddressRange(
        first: Address(first), last: last.flatMap { Address($0) }, isRange: last != nil)
    else { return nil }
    return (range, length)
  }
}

private protocol CountedAddress: Comparable, LosslessStringConvertible {
  func advanced(by count: Int) -> Self?
}

extension MACAddress: CountedAddress {}
extension IPv4Address: CountedAddress {}
extension IPv6Address: CountedAddress {}

/// What stands before and after the first `mark`; nil after it when there is none.
private func split(_ text: String, at mark: UInt8) -> (before: String, after: String?) {
  guard let position = text.utf8.firstIndex(of: mark) else { return (text, nil) }
  return (String(text[..<position]), String(text[text.utf8.index(after: position)...]))
}

func check(_ value: Int?, in range: ClosedRange<Int>, field: String, unit: String? = nil) throws(APIError) {
  guard let value, !range.contains(value) else { return }
  let unit = unit.map { " \($0)" } ?? ""
  throw .refused(field, "must be \(range.lowerBound) to \(range.upperBound)\(unit)", "\(value)")
}

private func checkWindow(_ windowKiB: Int?, field: String) throws(APIError) {
  guard let windowKiB else { return }
  let range = CreateRequest.windowRange
  guard range.contains(windowKiB), windowKiB & (windowKiB - 1) == 0 else {
    throw .refused(
      field, "must be a power of two, \(range.lowerBound) to \(range.upperBound) KiB",
      "\(windowKiB)")
  }
}

/// The kernel's rule for device names (dev_valid_name, net/core/dev.c), and printable characters only; a
/// percent sign would ask it to make up a name.
func checkDeviceName(_ name: String, field: String) throws(APIError) {
  let allowed = name.utf8.allSatisfy { byte in
    0x21...0x7e ~= byte && byte != UInt8(ascii: "/") && byte != UInt8(ascii: ":")
      && byte != UInt8(ascii: "%")
  }
  guard allowed, 1...15 ~= name.utf8.count, name != ".", name != ".." else {
    throw .refused(field, "not a device name (1 to 15 characters, no blank, '/', ':' or '%')", name)
  }
}
