import CDevicePage
import CHostile

/// Hypercalls of every number, with arguments that somebody could get wrong.
struct Hypercalls {
  private var noise: Noise
  /// What pointers point to: a page of noise, in the image, so that it is there whatever happens to the rest.
  private let page: UInt

  init(seed: Int) {
    noise = Noise(seed: seed)
    page = (guest_heap_start() + 4095) & ~4095
  }

  consuming func carryOut() -> Never {
    var calls: UInt64 = 0
    var round: UInt64 = 0
    while true {
      round &+= 1
      for number in 0..<UInt32(72) where Self.isSurvived(number) {
        fillPage()
        call(number)
        calls += 1
      }
      // Often at first, and then never so often that it would be a flood.
      if round & (round &- 1) == 0 { tell(calls) }
    }
  }

  private mutating func call(_ number: UInt32) {
    guard Int32(number) == __HYPERVISOR_multicall else {
      let operation = operation()
      _ = hostile_hypercall(number, operation, argument(), argument(), argument(), argument())
      return
    }
    // Its results are written into its list. A list somewhere, of any length, would be the image itself.
    let entry = UInt(MemoryLayout<multicall_entry>.stride)
    for place in 0..<UInt(4) {
      let number = UInt32(noise.next(below: 72))
      guest_store32(page + entry * place, Self.isSurvived(number) ? number : .max)
    }
    _ = hostile_hypercall(number, page, 4, argument(), argument(), argument())
  }

  /// Those that can only end or stop this guest, by Xen's rules, would end the test before it began.
  private static func isSurvived(_ number: UInt32) -> Bool {
    switch Int32(bitPattern: number) {
    case __HYPERVISOR_sched_op, __HYPERVISOR_sched_op_compat, __HYPERVISOR_vcpu_op: false
    default: true
    }
  }

  /// Mostly an operation that exists, or nearly.
  private mutating func operation() -> UInt {
    switch noise.next(below: 4) {
    case 0: argument()
    default: UInt(noise.next(below: 40))
    }
  }

  private mutating func argument() -> UInt {
    switch noise.next(below: 10) {
    case 0: 0
    case 1: 1
    case 2: .max
    case 3: UInt(hostile_self)
    case 4: page
    case 5: page + 4095
    case 6: UInt(CHAOS_DEVICE_PAGE_GFN) << 12
    case 7: 0xffff_8300_0000_0000
    case 8: UInt(noise.next(below: 32))
    default: UInt(noise.next())
    }
  }

  /// Structures of any kind: small numbers, domain IDs, special frames, pointers.
  private mutating func fillPage() {
    for offset in stride(from: UInt(0), to: 256, by: 8) {
      let value: UInt =
        switch noise.next(below: 6) {
        case 0: UInt(noise.next())
        case 1: UInt(CHAOS_START_INFO_GFN) + UInt(noise.next(below: 8))
        case 2: UInt(hostile_self)
        case 3: page
        default: UInt(noise.next(below: 16))
        }
      guest_store32(page + offset, UInt32(truncatingIfNeeded: value))
      guest_store32(page + offset + 4, UInt32(truncatingIfNeeded: value >> 32))
    }
  }

  private func tell(_ calls: UInt64) {
    var console = Console.shared
    console.write("hostile: ")
    console.writeDecimal(calls)
    console.write(" hypercalls\r\n")
    console.flush()
  }
}
