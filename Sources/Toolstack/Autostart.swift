import ChaosAPI
import Glibc
import ShellPool
import StateFiles
import Xen

extension Toolstack {
  /// Has the wanted guests started, once a boot of the host: what ended since then by itself stays ended, also when
  /// chaosd is started again.
  func startWanted() throws(StateFile.Failure) {
    if try StateFile.read(bootMark) != nil { return }
    for note in wanted.all where registry[note.handle] == nil {
      do {
        try pending.write(note)
      } catch {
        report("guest '\(note.request.name ?? note.handle.uuid)' is not started: \(error)")
      }
    }
    try StateFile.replace(bootMark, with: Array("started\n".utf8), mode: 0o600, durability: .processDeath)
  }

  /// Turns a guest's start with the host on or off.
  ///
  /// - Parameter record: what its record will say.
  func setWanted(_ record: GuestRecord, _ shell: DomainShell) throws {
    guard record.autostart else { return try wanted.remove(shell.handle) }
    let stored = Set(try images.list().map(\.image.digest))
    guard stored.isSuperset(of: [record.kernel, record.ramdisk].compactMap { $0 }) else {
      throw APIError(
        .wrongState,
        "autostart: the image of guest '\(record.name)' is not stored under a name; see 'chaos image add'",
        field: "autostart")
    }
    let note = StartNote(record, handle: shell.handle, flavour: shell.flavour)
    if wanted[shell.handle] != note { try wanted.write(note) }
  }
}
