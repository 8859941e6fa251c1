import DomainBuilder
import Testing

/// Tables read back as an operating system finds them, from the RSDP on.
private struct Reader {
  let tables: ACPITables

  func integer<Value: FixedWidthInteger>(_ at: Int, as type: Value.Type) -> Value {
    (0..<MemoryLayout<Value>.size).reduce(0) { $0 | Value(tables.bytes[at + $1]) << (8 * $1) }
  }

  /// Where in the bytes a guest-physical address is.
  func offset(_ address: UInt64) throws -> Int {
    let offset = try #require(Int(exactly: address - tables.address))
    try #require(offset + 36 <= tables.bytes.count && offset % 16 == 0)
    return offset
  }

  /// A table's bytes, its header and checksum having been looked at.
  func table(_ address: UInt64, _ signature: String) throws -> [UInt8] {
    let at = try offset(address)
    let length = Int(integer(at + 4, as: UInt32.self))
    try #require(length >= 36 && at + length <= tables.bytes.count)
    let bytes = Array(tables.bytes[at..<at + length])
    #expect(String(decoding: bytes[..<4], as: UTF8.self) == signature)
    #expect(bytes.reduce(0, &+) == 0, "\(signature)'s checksum")
    return bytes
  }

  func tablesOfXSDT() throws -> [UInt64] {
    let address = integer(24, as: UInt64.self)
    let xsdt = try table(address, "XSDT")
    let start = try offset(address)
    return stride(from: 36, to: xsdt.count, by: 8).map { integer(start + $0, as: UInt64.self) }
  }
}

@Suite struct ACPITablesTests {
  @Test(arguments: [1, 2, 3, 15, 16, 17, 64, 127, 128], [UInt64(0x7f_a000), 0xdfff_e000])
  func theTablesAreFoundFromTheRSDPOn(vcpus: Int, address: UInt64) throws {
    let tables = ACPITables(vcpus: vcpus, at: address)
    #expect(UInt64(tables.bytes.count) <= ACPITables.regionSize)
    let bytes = tables.bytes
    #expect(String(decoding: bytes[..<8], as: UTF8.self) == "RSD PTR ")
    #expect(bytes[..<20].reduce(0, &+) == 0 && bytes[..<36].reduce(0, &+) == 0)
    let reader = Reader(tables: tables)
    #expect(bytes[15] == 2 && reader.integer(16, as: UInt32.self) == 0 && reader.integer(20, as: UInt32.self) == 36)
    let found = try reader.tablesOfXSDT()
    try #require(found.count == 2)
    let fadt = try reader.table(found[0], "FACP")
    #expect(fadt.count == 268 && fadt[8] == 5)
    let at = try reader.offset(found[0])
    // HW_REDUCED_ACPI and no reset register; IAPC_BOOT_ARCH: no VGA, no RTC, no 8042, no legacy devices.
    #expect(reader.integer(at + 112, as: UInt32.self) == 0x10_0075)
    #expect(reader.integer(at + 109, as: UInt16.self) == 0x24)
    let dsdt = reader.integer(at + 140, as: UInt64.self)
    #expect(UInt64(reader.integer(at + 40, as: UInt32.self)) == dsdt)
    _ = try reader.table(dsdt, "DSDT")
    let madt = try reader.table(found[1], "APIC")
    #expect(Array(madt[36..<44]) == little(UInt32(0xfee0_0000)) + little(UInt32(0)))
    let expected = (0..<vcpus).flatMap { [0, 8, UInt8($0), UInt8(2 * $0), 1, 0, 0, 0] as [UInt8] }
    #expect(Array(madt[44...]) == expected)
  }

  @Test func aDSDTIsThisByteCode() throws {
    let tables = ACPITables(vcpus: 3, at: 0x1000)
    let reader = Reader(tables: tables)
    let fadt = try reader.offset(try reader.tablesOfXSDT()[0])
    let dsdt = try reader.table(reader.integer(fadt + 140, as: UInt64.self), "DSDT")
    func device(_ number: String, _ uid: [UInt8]) -> [UInt8] {
      [0x5b, 0x82, UInt8(25 + uid.count)] + Array("PR\(number)".utf8) + [0x08] + Array("_HID".utf8)
        + [0x0d] + Array("ACPI0007\0".utf8) + [0x08] + Array("_UID".utf8) + uid
    }
    let devices = device("00", [0]) + device("01", [1]) + device("02", [0x0a, 2])
    // Two bytes of length, which count themselves: 5 of the name, devices of 28, 28 and 29 bytes.
    let length = 2 + 5 + devices.count
    let scope: [UInt8] = [0x10, 0x40 | UInt8(length & 0xf), UInt8(length >> 4)] + Array("\\_SB_".utf8)
    #expect(Array(dsdt[36...]) == scope + devices)
  }
}
