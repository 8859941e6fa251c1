/// How a guest learns of its devices: a property of the guest, written down with it.
public enum DeviceBus: String, Sendable, CaseIterable {
  /// By its device page (docs/device-page.md), whose version the record names.
  case noxs
  /// Not at all: a kernel that looks at no device page has the console that PVH announces, and nothing else.
  case none
}
