import CXen

// Owners of the Xen libraries' handles. Each opens in its initialiser, closes when it is dropped and is never
// copied. The libraries take their own locks (libxencall's buffer cache, the kernel's ioctls), so that the
// pointers may be used from any thread: that is what `@unchecked Sendable` stands for here.

/// Makes domctls and sysctls through a ``CallHandle``, which has to outlive it.
struct ControlHandle: ~Copyable, @unchecked Sendable {
  let raw: OpaquePointer

  init(_ call: borrowing CallHandle) throws(XenError) {
    guard let opened = cxen_control_new(call.raw) else { throw XenError.last("open the Xen control interface") }
    raw = opened
  }

  deinit { cxen_control_free(raw) }
}

struct DeviceModelHandle: ~Copyable, @unchecked Sendable {
  let raw: OpaquePointer

  init() throws(XenError) {
    guard let opened = cxen_devicemodel_open() else { throw XenError.last("open the Xen device model") }
    raw = opened
  }

  deinit { xendevicemodel_close(raw) }
}

struct CallHandle: ~Copyable, @unchecked Sendable {
  let raw: OpaquePointer

  init() throws(XenError) {
    guard let opened = cxen_call_open() else { throw XenError.last("open the Xen hypercall device") }
    raw = opened
  }

  deinit { xencall_close(raw) }
}

/// A class because every ``ForeignMapping`` keeps it alive.
final class ForeignMemoryHandle: @unchecked Sendable {
  let raw: OpaquePointer

  init() throws(XenError) {
    guard let opened = cxen_foreignmemory_open() else { throw XenError.last("open Xen foreign memory") }
    raw = opened
  }

  deinit { xenforeignmemory_close(raw) }
}
