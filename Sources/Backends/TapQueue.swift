import CBackends
import DevicePages

/// A queue of a tap: what a vif's frames come from and go to.
struct TapQueue: ~Copyable {
  private let descriptor: Descriptor

  init(adopting descriptor: consuming Descriptor) { self.descriptor = descriptor }

  var raw: Int32 { descriptor.raw }

  /// Sets what the tap may leave to the guest: checksums and segmentation (TUN_F_*, linux/if_tun.h).
  func setOffloads(_ features: VifFeatures) throws(BackendError) {
    var flags: UInt32 = 0
    if features.contains(.guestChecksum) { flags |= UInt32(TUN_F_CSUM) }
    if features.contains(.guestTSO4) { flags |= UInt32(TUN_F_TSO4) }
    if features.contains(.guestTSO6) { flags |= UInt32(TUN_F_TSO6) }
    if features.contains(.guestECN) { flags |= UInt32(TUN_F_TSO_ECN) }
    if cbackends_tap_set_offload(raw, UInt(flags)) < 0 { throw BackendError.last("TUNSETOFFLOAD") }
  }
}
