extension CoreFile {
  /// What `xl dump-core` writes of a PVH guest (tools/libs/guest/xg_core.c; docs/misc/dump-core-format.txt).
  ///
  /// - Parameters:
  ///   - memory: guest frame numbers, ascending.
  ///   - contexts: a vcpu_guest_context_t for each vCPU (xen/include/public/arch-x86/xen.h), at least one.
  ///   - sharedInfo: a page; nil where the guest does not see it.
  ///   - version: what Xen says of itself, struct xen_dumpcore_elfnote_xen_version_desc.
  public static func xen(
    memory: [Range<UInt64>], contexts: [[UInt8]], sharedInfo: [UInt8]?, version: [UInt8]
  ) -> CoreFile {
    let frames = memory.reduce(0) { $0 + $1.count }
    let notes = xenNotes(vcpus: contexts.count, frames: frames, version: version)
    var sections = [
      Section(".note.Xen", type: 7, notes.bytes),  // SHT_NOTE
      Section(".xen_prstatus", Array(contexts.joined()), align: 8, entry: contexts[0].count),
    ]
    if let sharedInfo { sections.append(Section(".xen_shared_info", sharedInfo, align: 8, entry: frameBytes)) }
    let names = ["", ".shstrtab"] + sections.map(\.name) + [".xen_pages", ".xen_pfn"]

    var headers = FileBytes()
    headers.zeros(ELFHeader.sectionHeaderBytes)
    var contents = FileBytes()
    let contentsAt = ELFHeader.bytes + names.count * ELFHeader.sectionHeaderBytes
    var nameAt = 1
    func header(_ section: Section, at offset: Int, size: Int) {
      section.putHeader(in: &headers, nameAt: nameAt, at: offset, size: size)
      nameAt += section.name.utf8.count + 1
    }
    let used = contentsAt + sections.reduce(0) { $0 + $1.content.count }
    let pagesAt = (used + frameBytes - 1) / frameBytes * frameBytes
    let numbersAt = pagesAt + frames * frameBytes
    let namesBytes: [UInt8] = names.flatMap { Array($0.utf8) + [0] }
    header(Section(".shstrtab", type: 3, []), at: numbersAt + frames * 8, size: namesBytes.count)  // SHT_STRTAB
    for section in sections {
      header(section, at: contentsAt + contents.count, size: section.content.count)
      contents.put(section.content)
    }
    header(Section(".xen_pages", [], align: frameBytes, entry: frameBytes), at: pagesAt, size: frames * frameBytes)
    header(Section(".xen_pfn", [], align: 8, entry: 8), at: numbersAt, size: frames * 8)

    var file = FileBytes()
    ELFHeader(sectionHeaders: UInt16(names.count), namesSection: 1).put(in: &file)
    file.put(headers.bytes)
    file.put(contents.bytes)
    file.align(to: frameBytes)
    return CoreFile(
      head: file.bytes, frames: memory, tailBytes: frames * 8 + namesBytes.count, leavesOutWhatIsMissing: true
    ) { there in
      var tail = FileBytes()
      for number in there { tail.put(number) }
      for _ in there.count..<frames { tail.put(UInt64.max) }  // XC_CORE_INVALID_PFN
      tail.put(namesBytes)
      return tail.bytes
    }
  }

  private struct Section {
    let name: String
    let type: UInt32
    let content: [UInt8]
    let align, entry: Int

    /// - Parameter type: SHT_PROGBITS unless said.
    init(_ name: String, type: UInt32 = 1, _ content: [UInt8], align: Int = 0, entry: Int = 0) {
      self.name = name
      self.type = type
      self.content = content
      self.align = align
      self.entry = entry
    }

    func putHeader(in file: inout FileBytes, nameAt: Int, at offset: Int, size: Int) {
      file.put(UInt32(nameAt))
      file.put(type)
      file.zeros(16)
      file.put(UInt64(offset))
      file.put(UInt64(size))
      file.zeros(8)
      file.put(UInt64(align))
      file.put(UInt64(entry))
    }
  }

  /// XEN_ELFNOTE_DUMPCORE_* (xen/include/public/elfnote.h).
  private static func xenNotes(vcpus: Int, frames: Int, version: [UInt8]) -> FileBytes {
    var header = FileBytes()
    header.put(UInt64(0xf00f_ebee))  // XC_CORE_MAGIC_HVM
    for value in [vcpus, frames, frameBytes] { header.put(UInt64(value)) }
    var format = FileBytes()
    format.put(UInt64(1))  // 0.1
    var notes = FileBytes()
    let contents: [[UInt8]] = [[], header.bytes, version, format.bytes]
    for (type, content) in contents.enumerated() {
      notes.put(UInt32(4))
      notes.put(UInt32(content.count))
      notes.put(0x200_0000 + UInt32(type))
      notes.put(Array("Xen\0".utf8))
      notes.put(content)
    }
    return notes
  }
}
