/// The ACPI tables of a PVH guest: RSDP, XSDT, FADT, MADT and DSDT, one after another in a region of their own.
///
/// Linux and others learn of their vCPUs from the MADT alone. They are what libxl gives (Xen, tools/libs/light/
/// libxl_x86_acpi.c and tools/libacpi) in this: FADT revision 5 that says no VGA, no CMOS RTC, no 8042, no buttons;
/// a MADT without I/O APIC, with APIC ID 2 n for vCPU n, as CPUID gives it, and processor ID n; processors named PRnn in
/// the DSDT, with the _UID n, and no \_S5. They differ in this:
/// - The FADT says that the hardware is reduced, and names no PM registers, for there are none: a guest powers off by
///   hypercall.
/// - The MADT does not say that there are 8259s (PCAT_COMPAT).
/// - Processors are devices without methods, as ACPI 6 has them: none is plugged in later, so that nothing in the AML
///   reads memory (libxl's page at 0xFC000000), and what reads tables only need keep none of it.
/// - There is no RSDT, no FACS and no FADT of ACPI 1.0.
/// - They lie at the end of the RAM below 4 GiB, as a BIOS would have it, and not at 0xFC001000: the guest's memory is
///   populated before it is known what it will run. All of Linux that has PVH without the old limits of Xen's
///   linux_rsdp_unrestricted finds them by `hvm_start_info` (5.0 and later).
///
/// Source of layouts and constants: ACPI 5.0, chapter 5.2 (tables) and 20.2 (AML).
public struct ACPITables: Equatable, Sendable {
  /// vCPUs that can be told of: APIC IDs reach to 254.
  public static let vcpuRange = 1...128
  /// What the tables take at most, in bytes, so that the region does not depend on the number of vCPUs.
  public static let regionSize: UInt64 = 0x2000

  /// Guest-physical address of the region, and of the RSDP, with which it starts.
  public let address: UInt64
  /// The region's bytes; zeroes up to ``regionSize`` follow.
  public let bytes: [UInt8]

  /// - Parameters:
  ///   - vcpus: how many there are; traps outside ``vcpuRange``.
  ///   - address: a page's guest-physical address, below 4 GiB.
  public init(vcpus: Int, at address: UInt64) {
    precondition(Self.vcpuRange.contains(vcpus) && address % 4096 == 0 && address < 1 << 32)
    self.address = address
    // The RSDP comes first and points at what is only known later.
    var bytes = [UInt8](repeating: 0, count: 64)
    func append(_ table: [UInt8]) -> UInt64 {
      defer { bytes += table + [UInt8](repeating: 0, count: -table.count & 15) }
      return address + UInt64(bytes.count)
    }
    let dsdt = append(Self.table("DSDT", revision: 2, AML.processors(vcpus)))
    let fadt = append(Self.table("FACP", revision: 5, Self.fadt(dsdt: dsdt)))
    let madt = append(Self.table("APIC", revision: 3, Self.madt(vcpus: vcpus)))
    let xsdt = append(Self.table("XSDT", revision: 1, little(fadt) + little(madt)))
    let rsdp = Self.rsdp(xsdt: xsdt)
    bytes.replaceSubrange(0..<rsdp.count, with: rsdp)
    self.bytes = bytes
  }

  private static let oem = Array("chaos\0".utf8)

  private static func rsdp(xsdt: UInt64) -> [UInt8] {
    var bytes = Array("RSD PTR ".utf8) + [0] + oem + [2]  // ACPI 2.0 and later
    bytes += little(UInt32(0)) + little(UInt32(36)) + little(xsdt) + [0, 0, 0, 0]
    // The first checksum is that of the 20 bytes that ACPI 1.0 knows.
    bytes[8] = checksum(bytes[..<20])
    bytes[32] = checksum(bytes[...])
    return bytes
  }

  /// A table with the header that all have.
  private static func table(_ signature: String, revision: UInt8, _ body: [UInt8]) -> [UInt8] {
    var bytes = Array(signature.utf8) + little(UInt32(36 + body.count)) + [revision, 0] + oem
    bytes += Array("PVH\0\0\0\0\0".utf8) + little(UInt32(0))
    bytes += Array("CHAS".utf8) + little(UInt32(0)) + body
    bytes[9] = checksum(bytes[...])
    return bytes
  }

  /// What makes the sum of all bytes zero.
  private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt8 { 0 &- bytes.reduce(0, &+) }

  /// The FADT's 232 bytes behind its header.
  private static func fadt(dsdt: UInt64) -> [UInt8] {
    var body = [UInt8](repeating: 0, count: 268 - 36)
    /// Offsets are those of the specification, from the table's start.
    func put(_ value: some FixedWidthInteger, _ offset: Int) {
      let bytes = little(value)
      body.replaceSubrange(offset - 36..<offset - 36 + bytes.count, with: bytes)
    }
    put(UInt32(dsdt), 40)
    // C2 and C3 take longer than any that is there would (P_LVL2_LAT, P_LVL3_LAT).
    put(UInt16(0x0fff), 96)
    put(UInt16(0x0fff), 98)
    // IAPC_BOOT_ARCH: bit 2, no VGA; bit 5, no CMOS RTC; no 8042 and no legacy devices.
    put(0x24 as UInt16, 109)
    // WBINVD (0), PROC_C1 (2), PWR_BUTTON and SLP_BUTTON (4, 5: there are none), FIX_RTC (6), HW_REDUCED_ACPI (20).
    put(0x0010_0075 as UInt32, 112)
    put(dsdt, 140)  // X_DSDT
    return body
  }

  private static func madt(vcpus: Int) -> [UInt8] {
    var body = little(UInt32(0xfee0_0000)) + little(UInt32(0))
    for vcpu in 0..<vcpus {
      // Processor Local APIC, 8 bytes: processor and APIC ID, enabled.
      body += [0, 8, UInt8(vcpu), UInt8(2 * vcpu)] + little(UInt32(1))
    }
    return body
  }
}

/// The byte code of the DSDT (ACPI 5.0, chapter 20.2).
private enum AML {
  /// Scope (\_SB) { Device (PR00) { Name (_HID, "ACPI0007") Name (_UID, 0) } ... }
  static func processors(_ count: Int) -> [UInt8] {
    let devices = (0..<count).flatMap { number in
      let digits = Array("0123456789ABCDEF".utf8)
      let name = Array("PR".utf8) + [digits[number >> 4], digits[number & 15]]
      let body = name + value("_HID", [0x0d] + Array("ACPI0007\0".utf8)) + value("_UID", integer(UInt8(number)))
      return [0x5b, 0x82] + package(body)  // DeviceOp
    }
    return [0x10] + package(Array("\\_SB_".utf8) + devices)  // ScopeOp
  }

  /// NameOp, a name of four letters, what it is.
  private static func value(_ name: String, _ data: [UInt8]) -> [UInt8] { [0x08] + Array(name.utf8) + data }

  /// ZeroOp, OneOp, or BytePrefix and the byte.
  private static func integer(_ value: UInt8) -> [UInt8] { value < 2 ? [value] : [0x0a, value] }

  /// PkgLength, which counts its own bytes: six bits of it in one byte, or four and as many bytes as are needed.
  private static func package(_ body: [UInt8]) -> [UInt8] {
    if body.count + 1 < 1 << 6 { return [UInt8(body.count + 1)] + body }
    let following = body.count + 2 < 1 << 12 ? 1 : 2
    let length = body.count + 1 + following
    let lead = UInt8(following << 6 | length & 0xf)
    return [lead] + (0..<following).map { UInt8(truncatingIfNeeded: length >> (4 + 8 * $0)) } + body
  }
}

/// A value's bytes, the lowest first.
private func little(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
