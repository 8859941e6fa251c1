import DomainBuilder
import Glibc
import Synchronization
import Testing

@testable import ImageStore

@Suite final class ImageStoreTests {
  private let root: String
  private var named: String { root + "/lib/images" }
  private var anonymous: String { root + "/run/images" }
  private let store: ImageStore

  init() throws {
    var template = Array("/tmp/chaos-images.XXXXXX".utf8CString)
    root = String(cString: mkdtemp(&template)!)
    store = try ImageStore(named: root + "/lib/images", anonymous: root + "/run/images")
  }

  deinit {
    for folder in [named, anonymous] {
      for name in files(folder) { unlink("\(folder)/\(name)") }
    }
    for folder in ["/lib/images", "/run/images", "/lib", "/run"] { rmdir(root + folder) }
    for name in files(root) { unlink("\(root)/\(name)") }
    rmdir(root)
  }

  private func files(_ folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// A PVH kernel whose one segment holds `filling`: ELF64, a program header for it, one for its entry note.
  private func kernel(_ filling: UInt8) -> [UInt8] {
    func little(_ value: some FixedWidthInteger) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    func program(_ type: UInt32, _ offset: UInt64, _ address: UInt64, _ size: UInt64) -> [UInt8] {
      little(type) + little(UInt32(7)) + little(offset) + little(UInt64(0)) + little(address) + little(size)
        + little(size) + little(UInt64(4))
    }
    var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]
    file += little(UInt64(0)) + little(UInt64(64)) + little(UInt64(0)) + little(UInt32(0))
    file += [64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]
    file += program(1, 176, 0x10_0000, 8) + program(4, 184, 0, 24)
    file += [UInt8](repeating: filling, count: 8)
    file += little(UInt32(4)) + little(UInt32(8)) + little(UInt32(18)) + Array("Xen\0".utf8)
    file += little(UInt64(0x10_0000))
    return file
  }

  @discardableResult
  private func add(_ bytes: [UInt8], name: String?, isKernel: Bool = true) throws -> StoredImage {
    let upload = try store.beginUpload(isNamed: name != nil)
    try bytes.withUnsafeBytes { bytes in
      // In two pieces, as it comes over a socket.
      try upload.append(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]))
      try upload.append(UnsafeRawBufferPointer(rebasing: bytes[(bytes.count / 2)...]))
    }
    return try store.commit(upload, name: name, isKernel: isKernel)
  }

  private func bytes(_ image: StoredImage) throws -> [UInt8] {
    try image.withBytes { file in
      var bytes = [UInt8](repeating: 0, count: file.byteCount)
      try bytes.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
      return bytes
    }
  }

  private func expectUnknown(_ reference: String, isKernel: Bool = true) {
    let error = #expect(throws: ImageStoreError.self) { try self.store.find(reference, isKernel: isKernel) }
    #expect(error?.description == "no such image: '\(reference)'")
  }

  // MARK: Named images

  @Test func aNamedImageIsFoundByNameAndDigest() throws {
    let added = try add(kernel(1), name: "web")
    #expect(added.size == kernel(1).count && added.kernel?.entry == 0x10_0000)
    #expect(try store.find("web").digest == added.digest)
    #expect(try store.find(added.digest.description).digest == added.digest)
    #expect(try bytes(added) == kernel(1))
    #expect(files(named) == [added.digest.hexadecimal, "web"].sorted())
    #expect(files(anonymous) == [])
  }

  @Test func imagesOutliveTheDaemon() throws {
    let added = try add(kernel(1), name: "web")
    let next = try ImageStore(named: named, anonymous: anonymous)
    #expect(try next.find("web").digest == added.digest)
    #expect(try next.list().map(\.name) == ["web"])
  }

  @Test func imagesAreListedByName() throws {
    try add(kernel(2), name: "web")
    try add(kernel(1), name: "dns")
    try add(kernel(3), name: nil)
    let entries = try store.list()
    #expect(entries.map(\.name) == ["dns", "web"])
    #expect(try entries.map { try bytes($0.image)[176] } == [1, 2])
    #expect(entries.allSatisfy { abs($0.added - time(nil)) < 60 })
  }

  @Test func theSameBytesUnderTwoNamesAreKeptOnce() throws {
    let digest = try add(kernel(1), name: "one").digest
    try add(kernel(1), name: "two")
    #expect(files(named) == [digest.hexadecimal, "one", "two"].sorted())
    try store.remove("one")
    expectUnknown("one")
    #expect(try store.find("two").digest == digest)
    try store.remove("two")
    expectUnknown("two")
    expectUnknown(digest.description)
    #expect(files(named) == [])
  }

  @Test func aNameIsGivenAnotherImage() throws {
    let old = try add(kernel(1), name: "web")
    let new = try add(kernel(2), name: "web")
    #expect(try store.find("web").digest == new.digest)
    #expect(files(named) == [new.digest.hexadecimal, "web"].sorted())
    expectUnknown(old.digest.description)
    // Who still holds the old one may go on reading it.
    #expect(try bytes(old)[176] == 1)
  }

  @Test func unknownNamesAreSaid() throws {
    expectUnknown("web")
    expectUnknown("")
    expectUnknown("sha256:")
    expectUnknown("sha256:" + String(repeating: "0", count: 64))
    let error = #expect(throws: ImageStoreError.self) { try self.store.remove("web") }
    #expect(error?.description == "no such image: 'web'")
  }

  // MARK: What is no image

  @Test func whatIsNoKernelLeavesNothing() throws {
    let error = #expect(throws: ImageStoreError.self) { try self.add(Array("#!/bin/sh\n".utf8), name: "web") }
    #expect(error?.description == "not an ELF file")
    #expect(throws: ImageStoreError.self) { try self.add([], name: nil) }
    #expect(files(named) == [] && files(anonymous) == [])
    expectUnknown("web")
  }

  @Test func aRefusedImageDoesNotTakeTheNamesOldOneAway() throws {
    let old = try add(kernel(1), name: "web")
    #expect(throws: ImageStoreError.self) { try self.add([1, 2, 3], name: "web") }
    #expect(try store.find("web").digest == old.digest)
  }

  @Test func anUploadThatIsGivenUpLeavesNothing() throws {
    do {
      let upload = try store.beginUpload(isNamed: true)
      try [UInt8](repeating: 1, count: 100).withUnsafeBytes { bytes in
        try upload.append(bytes)
      }
      #expect(files(named).count == 1)
      #expect(try store.list().isEmpty)
    }
    #expect(files(named) == [])
  }

  @Test func uploadsThatAKillInterruptedAreSwept() throws {
    let kept = try add(kernel(1), name: "web")
    for folder in [named, anonymous] { close(open("\(folder)/.upload-1-1", O_CREAT | O_WRONLY, 0o600)) }
    #expect(symlink(kept.digest.hexadecimal, "\(named)/.upload-link-1-1") == 0)
    _ = try ImageStore(named: named, anonymous: anonymous)
    #expect(files(named) == [kept.digest.hexadecimal, "web"].sorted())
    #expect(files(anonymous) == [])
  }

  @Test func aSizeBeyondTheLimitIsRefused() throws {
    let upload = try store.beginUpload(isNamed: false)
    // Never read: the size is checked first.
    let huge = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 4096), count: ImageStore.maxSize + 1)
    let error = #expect(throws: ImageStoreError.self) { try upload.append(huge) }
    #expect(error?.description == "larger than 1024 MiB")
  }

  // MARK: Anonymous images

  @Test func anAnonymousImageIsFoundByItsDigestOnly() throws {
    let image = try add(kernel(1), name: nil)
    #expect(files(anonymous) == [image.digest.hexadecimal] && files(named) == [])
    #expect(try store.find(image.digest.description).digest == image.digest)
    expectUnknown(image.digest.hexadecimal)
    #expect(try store.list().isEmpty)
  }

  @Test func aRamdiskIsTakenAsItIs() throws {
    let image = try add(Array("cpio".utf8), name: nil, isKernel: false)
    #expect(image.kernel == nil && image.size == 4)
    #expect(try bytes(store.find(image.digest.description, isKernel: false)) == Array("cpio".utf8))
    let error = #expect(throws: ImageStoreError.self) { try self.store.find(image.digest.description) }
    #expect(error?.description == "not an ELF file")
    let empty = try add([], name: nil, isKernel: false)
    #expect(try empty.size == 0 && bytes(empty).isEmpty)
  }

  @Test func anonymousImagesGoWhenNothingUsesThem() throws {
    let used = try add(kernel(1), name: nil)
    let fresh = try add(kernel(2), name: nil)
    store.removeUnused(inUse: [used.digest])
    // Asked for within the last minute: a create may be about to name it.
    #expect(files(anonymous) == [used.digest.hexadecimal, fresh.digest.hexadecimal].sorted())
    // A store that starts knows of no such create.
    let next = try ImageStore(named: named, anonymous: anonymous)
    next.removeUnused(inUse: [used.digest])
    #expect(files(anonymous) == [used.digest.hexadecimal])
    #expect(throws: ImageStoreError.self) { try next.find(fresh.digest.description) }
    #expect(try next.find(used.digest.description).digest == used.digest)
  }

  @Test func anonymousImagesOfAFormerFolderAreFoundAndRemoved() throws {
    let image = try add(kernel(1), name: nil)
    let moved = try ImageStore(named: named, anonymous: root + "/lib/images/anonymous", former: anonymous)
    defer { rmdir(root + "/lib/images/anonymous") }
    #expect(try bytes(moved.find(image.digest.description)) == kernel(1))
    moved.removeUnused(inUse: [image.digest])
    #expect(files(anonymous) == [image.digest.hexadecimal])
    moved.removeUnused(inUse: [])
    #expect(files(anonymous) == [])
  }

  // MARK: Limits

  @Test func anAnnouncedSizeIsRefusedBeforeAnythingComes() throws {
    let error = #expect(throws: ImageStoreError.self) {
      _ = try self.store.beginUpload(isNamed: true, size: ImageStore.maxSize + 1)
    }
    #expect(error?.description == "larger than 1024 MiB")
    let small = try ImageStore(named: named, anonymous: anonymous, quota: 1 << 20)
    #expect(throws: ImageStoreError.self) { _ = try small.beginUpload(isNamed: false, size: 2 << 20) }
    #expect(files(named) == [] && files(anonymous) == [])
    _ = try small.beginUpload(isNamed: true, size: 2 << 20)
  }

  @Test func anonymousImagesTakeNoMoreThanTheirQuota() throws {
    let one = kernel(1)
    let small = try ImageStore(named: named, anonymous: anonymous, quota: 2 * one.count)
    func upload(_ bytes: [UInt8], to store: ImageStore) throws -> ImageStore.Upload {
      let upload = try store.beginUpload(isNamed: false)
      try bytes.withUnsafeBytes { try upload.append($0) }
      return upload
    }
    func expectRefused(_ bytes: [UInt8], by store: ImageStore) {
      let error = #expect(throws: ImageStoreError.self) { _ = try upload(bytes, to: store) }
      #expect(error?.description == "images without a name would take more than 0 MiB together")
    }
    let first = try small.commit(try upload(one, to: small), name: nil, isKernel: true)
    // What is given up, or the same again, takes nothing.
    for _ in 0..<3 { _ = try upload(kernel(2), to: small) }
    for _ in 0..<3 { _ = try small.commit(try upload(one, to: small), name: nil, isKernel: true) }
    do {
      let second = try upload(kernel(2), to: small)
      expectRefused([0], by: small)
      _ = try small.commit(second, name: nil, isKernel: true)
    }
    expectRefused(kernel(3), by: small)
    // A store that starts counts what is there; what is removed makes room.
    let next = try ImageStore(named: named, anonymous: anonymous, quota: 2 * one.count)
    expectRefused(kernel(3), by: next)
    next.removeUnused(inUse: [first.digest])
    _ = try next.commit(try upload(kernel(3), to: next), name: nil, isKernel: true)
    expectRefused([0], by: next)
  }

  @Test(.enabled(if: getuid() == 0, "mounting needs root"))
  func aDiskIsNotFilledToItsEnd() throws {
    let disk = root + "/disk"
    mkdir(disk, 0o755)
    try #require(mount("tmpfs", disk, "tmpfs", 0, "size=1m") == 0)
    defer {
      umount2(disk, Int32(MNT_DETACH))
      rmdir(disk)
    }
    let store = try ImageStore(named: disk + "/named", anonymous: disk + "/anonymous")
    for isNamed in [true, false] {
      #expect(throws: ImageStoreError.self) { _ = try store.beginUpload(isNamed: isNamed, size: 1 << 20) }
      let upload = try store.beginUpload(isNamed: isNamed)
      let piece = [UInt8](repeating: 1, count: 100 << 10)
      var taken = 0
      let error = #expect(throws: ImageStoreError.self) {
        while taken < 20 {
          try piece.withUnsafeBytes { try upload.append($0) }
          taken += 1
        }
      }
      #expect(
        error?.description == "too little room is left on the disk of \(disk)/\(isNamed ? "named" : "anonymous")")
      #expect(taken == 9)
    }
    _ = try store.beginUpload(isNamed: false, size: 900 << 10)
  }

  // MARK: Packed kernels

  /// A kernel packed by gzip, and what it holds: Fuzz/corpus/unpack.
  private func corpus(_ name: String) throws -> [UInt8] {
    let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let file = try #require(fopen("/\(folder)/Fuzz/corpus/unpack/\(name)", "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes[..<count])
  }

  @Test(arguments: ["gzip", "bzimage-lz4"], ["linux", nil])
  func aPackedKernelIsKeptAsItCameAndReadUnpacked(packing: String, name: String?) throws {
    let packed = try corpus(packing)
    let image = try add(packed, name: name)
    #expect(image.size == packed.count && image.kernel?.entry == 0x10_0010)
    #expect(try bytes(image) == corpus("uncompressed"))
    // Beside it there is nothing to be seen.
    let digest = image.digest.hexadecimal
    #expect(
      files(named) == (name == nil ? [] : [digest, "linux"]) && files(anonymous) == (name == nil ? [digest] : []))
    #expect(try add(packed, name: nil).digest == image.digest)
    let next = try ImageStore(named: named, anonymous: anonymous)
    let found = try next.find(image.digest.description)
    #expect(try bytes(found) == corpus("uncompressed") && found.kernel == image.kernel)
    // Unpacked once, however often it is asked for.
    #expect(try next.find(image.digest.description) === found)
  }

  @Test func packedKernelsAreListedWithoutUnpackingThem() throws {
    let image = try add(try corpus("gzip"), name: "linux")
    #expect(try store.list().map(\.image.kernel) == [image.kernel])
    let next = try ImageStore(named: named, anonymous: anonymous)
    #expect(try next.list().map(\.name) == ["linux"] && next.list().map(\.image.kernel) == [nil])
    _ = try next.find("linux")
    #expect(try next.list().map(\.image.kernel) == [image.kernel])
  }

  @Test func whatIsPackedMustBeAKernel() throws {
    let text: [UInt8] = [
      0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xd7, 0x51, 0xf0,
      0x54, 0x48, 0xcc, 0x55, 0xc8, 0xcb, 0x57, 0xc8, 0x4e, 0x2d, 0xca, 0x4b, 0xcd, 0xe1, 0x02, 0x00, 0x7c, 0x5f,
      0x7f, 0xbe, 0x16, 0x00, 0x00, 0x00,
    ]
    let packed = try corpus("gzip")
    let refused = [
      (text, "not an ELF file"), (Array(packed.dropLast(9)), "cannot unpack gzip data: cut short"),
      (packed + [0], "cannot unpack gzip data: there is more behind its end"),
    ]
    for (bytes, problem) in refused {
      for name in ["linux", nil] {
        let error = #expect(throws: ImageStoreError.self) { try self.add(bytes, name: name) }
        #expect(error?.description == problem)
      }
    }
    #expect(files(named) == [] && files(anonymous) == [])
    // A ramdisk is nobody's to unpack.
    #expect(try bytes(add(packed, name: nil, isKernel: false)) == packed)
  }

  @Test func whatAKernelUnpacksToIsBoundedAndCounted() throws {
    let packed = try corpus("gzip")
    let whole = try corpus("uncompressed").count
    func commit(to store: ImageStore, name: String? = nil) throws -> StoredImage {
      let upload = try store.beginUpload(isNamed: name != nil)
      try packed.withUnsafeBytes { try upload.append($0) }
      return try store.commit(upload, name: name, isKernel: true)
    }
    let strict = try ImageStore(named: named, anonymous: anonymous, mostUnpacked: whole - 1) { fsync($0) }
    for name in ["linux", nil] {
      let error = #expect(throws: ImageStoreError.self) { _ = try commit(to: strict, name: name) }
      #expect(error?.description == "unpacks to more than 0 MiB")
    }
    let full = try ImageStore(named: named, anonymous: anonymous, quota: packed.count + whole - 1)
    let error = #expect(throws: ImageStoreError.self) { _ = try commit(to: full) }
    #expect(error?.description == "images without a name would take more than 0 MiB together")
    #expect(files(named) == [] && files(anonymous) == [])
    // Under a name only the disk limits it. What goes, goes with all it took.
    _ = try commit(to: full, name: "linux")
    try full.remove("linux")
    let exact = try ImageStore(named: named, anonymous: anonymous, quota: packed.count + whole)
    _ = try commit(to: exact)
    #expect(throws: ImageStoreError.self) { _ = try exact.beginUpload(isNamed: false, size: 1) }
    let next = try ImageStore(named: named, anonymous: anonymous, quota: packed.count + whole)
    next.removeUnused(inUse: [])
    _ = try commit(to: next)
  }

  @Test func aDamagedPackedKernelIsRefusedAndStillListed() throws {
    let packed = try corpus("gzip")
    let digest = try add(packed, name: "linux").digest
    overwrite("\(named)/\(digest.hexadecimal)", with: packed.map { $0 ^ ($0 == packed[100] ? 1 : 0) })
    for store in [store, try ImageStore(named: named, anonymous: anonymous)] {
      let error = #expect(throws: ImageStoreError.self) { _ = try self.bytes(store.find("linux")) }
      #expect(error?.description == "the stored image \(digest) is damaged: add it again")
      #expect(try store.list().map(\.name) == ["linux"])
    }
  }

  // MARK: Damage

  /// Writes over a file as it is, as a failing disk or a careless administrator would.
  private func overwrite(_ path: String, with bytes: [UInt8], isCut: Bool = false) {
    let file = open(path, O_WRONLY | (isCut ? O_TRUNC : 0))
    _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    close(file)
  }

  @Test(arguments: [true, false])
  func aDamagedImageIsRefusedAndMendedByAddingItAgain(isOpen: Bool) throws {
    let digest = try add(kernel(1), name: "web").digest
    let path = "\(named)/\(digest.hexadecimal)"
    overwrite(path, with: kernel(2))
    let store = isOpen ? store : try ImageStore(named: named, anonymous: anonymous)
    let problem = "the stored image \(digest) is damaged: add it again"
    for reference in ["web", digest.description] {
      let error = #expect(throws: ImageStoreError.self) { _ = try self.bytes(store.find(reference)) }
      #expect(error?.description == problem)
    }
    // It still has its name, to be seen and removed by.
    #expect(try store.list().map(\.name) == ["web"])
    let upload = try store.beginUpload(isNamed: true)
    try kernel(1).withUnsafeBytes { try upload.append($0) }
    _ = try store.commit(upload, name: "web", isKernel: true)
    for reference in ["web", digest.description] { #expect(try bytes(store.find(reference)) == kernel(1)) }
  }

  @Test func aSoundAnonymousCopyStandsInForADamagedNamedOne() throws {
    let digest = try add(kernel(1), name: "web").digest
    try add(kernel(1), name: nil)
    overwrite("\(named)/\(digest.hexadecimal)", with: [])
    overwrite("\(named)/\(digest.hexadecimal)", with: kernel(2))
    let next = try ImageStore(named: named, anonymous: anonymous)
    #expect(try bytes(next.find(digest.description)) == kernel(1))
  }

  @Test(arguments: [true, false])
  func anImageCutShortWhileItIsReadIsAnError(isInTheMiddle: Bool) throws {
    let image = try add(kernel(1), name: "web")
    let path = "\(named)/\(image.digest.hexadecimal)"
    if !isInTheMiddle { overwrite(path, with: [1, 2, 3], isCut: true) }
    let error = #expect(throws: ImageStoreError.self) {
      try image.withBytes { file in
        if isInTheMiddle { self.overwrite(path, with: [1, 2, 3], isCut: true) }
        var bytes = [UInt8](repeating: 0, count: file.byteCount)
        try bytes.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
      }
    }
    #expect(error?.description == "the stored image \(image.digest) is damaged: add it again")
  }

  @Test func anImageChangedWhileItIsReadIsAnError() throws {
    let image = try add(kernel(1), name: "web")
    #expect(throws: ImageStoreError.self) {
      try image.withBytes { _ in self.overwrite("\(self.named)/\(image.digest.hexadecimal)", with: self.kernel(2)) }
    }
  }

  @Test(arguments: ["web", nil])
  func anImageThatComesInAgainWhileItIsReadIsNotDamaged(name: String?) throws {
    let image = try add(kernel(1), name: name)
    // The second copy takes the place of the first, which loses its name.
    try image.withBytes { _ in _ = try self.add(self.kernel(1), name: name) }
    #expect(try bytes(image) == kernel(1))
  }

  @Test func aStatusThatChangedIsNoDamageByItself() throws {
    let image = try add(kernel(1), name: "web")
    #expect(chmod("\(named)/\(image.digest.hexadecimal)", 0o600) == 0)
    #expect(try bytes(image) == kernel(1))
  }

  @Test func aNamedImageIsOnTheDiskBeforeItIsTaken() throws {
    let flushed = Mutex<[String]>([])
    let flush: @Sendable (Int32) -> Int32 = { descriptor in
      var status = stat()
      fstat(descriptor, &status)
      let isFolder = status.st_mode & S_IFMT == S_IFDIR
      return flushed.withLock { flushed in
        flushed.append(isFolder ? "folder" : "\(status.st_size) bytes")
        return 0
      }
    }
    let store = try ImageStore(named: named, anonymous: anonymous, flush: flush)
    for name in ["web", nil] {
      let upload = try store.beginUpload(isNamed: name != nil)
      try kernel(1).withUnsafeBytes { try upload.append($0) }
      _ = try store.commit(upload, name: name, isKernel: true)
    }
    #expect(flushed.withLock { $0 } == ["\(kernel(1).count) bytes", "folder", "folder"])
  }

  @Test func anImageThatTheDiskDoesNotTakeIsRefused() throws {
    let old = try add(kernel(1), name: "web")
    let store = try ImageStore(named: named, anonymous: anonymous) { _ in
      errno = EIO
      return -1
    }
    let upload = try store.beginUpload(isNamed: true)
    try kernel(2).withUnsafeBytes { try upload.append($0) }
    let error = #expect(throws: ImageStoreError.self) {
      _ = try store.commit(upload, name: "web", isKernel: true)
    }
    #expect(error?.description.hasPrefix("write to the disk ") == true)
    #expect(try store.find("web").digest == old.digest)
  }

  // MARK: Names from outside

  @Test(arguments: [
    "../escaped", "/etc/passwd", "..", ".", "a/b", "", ".hidden", ".upload-1", "nul\0",
    String(repeating: "0", count: 64),
  ])
  func noNameLeavesTheFolder(name: String) throws {
    // Something to find there, were the name followed.
    #expect(symlink(String(repeating: "0", count: 64), "\(root)/lib/escaped") == 0)
    defer { unlink("\(root)/lib/escaped") }
    #expect(throws: ImageStoreError.self) { try self.store.find(name) }
    #expect(throws: ImageStoreError.self) { try self.store.remove(name) }
    #expect(throws: ImageStoreError.self) { try self.add(self.kernel(1), name: name) }
    #expect(files(named) == [] && files(anonymous) == [])
    #expect(files("\(root)/lib") == ["escaped", "images"])
    var target = [CChar](repeating: 0, count: 128)
    #expect(readlink("\(root)/lib/escaped", &target, 128) == 64 && target[0] == 0x30)
  }
}
