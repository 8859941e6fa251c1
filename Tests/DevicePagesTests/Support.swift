import DevicePages
import NetworkAddresses

/// A page with every kind of device and every optional field: vif 0 with all addresses, vif 2 with none.
let samplePage = DevicePage(
  generation: 6, clockOffset: -2,
  identity: DevicePage.Identity(
    uuid: Array(0xa0...0xaf), created: 0x0102_0304_0506_0708, imageDigest: Array(0x10...0x2f),
    name: "fw-1", commandLine: "role=é", vcpus: 2, memoryKiB: 8192),
  devices: [
    DevicePage.Device(
      kind: .console, index: 0, state: .connected, port: 1, firstFrame: Slots.consoleFrame, frameCount: 1),
    DevicePage.Device(
      kind: .powerctl, index: 0, state: .connected, port: 2, firstFrame: Slots.powerctlFrame, frameCount: 1),
    DevicePage.Device(
      kind: .vif, index: 0, state: .connected, port: 3, grant: 9, firstFrame: Slots.windowFrame(vif: 0),
      frameCount: 64,
      vif: DevicePage.Vif(
        mac: MACAddress("02:ca:fe:00:00:05")!, mtu: 1450, features: VifFeatures.inForce(declared: 3).rawValue,
        rings: VifRings(windowFrames: 64), ipv4: IPv4Interface("10.7.0.2/24"),
        ipv4Gateway: IPv4Address("10.7.0.1"), ipv6: IPv6Interface("fd00::2/64"),
        ipv6Gateway: IPv6Address("fd00::1"))),
    DevicePage.Device(
      kind: .vif, index: 2, state: .closing, port: 5, firstFrame: Slots.windowFrame(vif: 2), frameCount: 16,
      vif: DevicePage.Vif(
        mac: MACAddress("02:ca:fe:00:00:06")!, mtu: 1500, features: VifFeatures.always.rawValue,
        rings: VifRings(windowFrames: 16))),
  ])

/// The page 4,096 bytes long that has these bytes at these offsets and zeroes elsewhere.
func page(_ parts: [(offset: Int, bytes: [UInt8])]) -> [UInt8] {
  var page = [UInt8](repeating: 0, count: 4096)
  for (offset, bytes) in parts { page.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
  return page
}

/// Repeatable noise (splitmix64).
struct Noise: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
