import Backends
import DevicePages
import DomainBuilder
import Glibc
import ImageStore
import VirtualLAN
import Xen

/// Makes shells, the prepare phase, and takes over those that another chaosd made.
public final class ShellBuilder: Sendable {
  private let hypervisor: Hypervisor
  private let records: RecordStore
  private let attachment: BackendAttachment
  private let wiring: DomainWiring
  private let loader: ImageLoader
  public let teardown: Teardown

  public init(hypervisor: Hypervisor, attachment: BackendAttachment, records: RecordStore) {
    self.hypervisor = hypervisor
    self.records = records
    self.attachment = attachment
    wiring = DomainWiring(hypervisor: hypervisor)
    loader = ImageLoader(hypervisor: hypervisor)
    teardown = Teardown(hypervisor: hypervisor, attachment: attachment, records: records)
  }

  // MARK: Prepare

  /// Makes a shell under a handle of its own, which no other domain can have; on failure nothing of it is left, or
  /// what is left is written down and nobody's, for the reconciler to finish.
  ///
  /// - Parameters:
  ///   - images: present exactly when the flavour is hot.
  ///   - observe: called before each step.
  public func build(_ flavour: Flavour, images: BootImages?, observe: StepObserver?) throws -> DomainShell {
    let handle = DomainHandle.random()
    var procedure = Procedure<PrepareStep>(observe: observe)
    records.claim(handle)
    let parts: Parts
    do {
      try procedure.step(.record) {
        try records.write(DomainRecord(handle: handle, phase: .building, flavour: flavour))
      }
      parts = Parts(
        try procedure.step(.createDomain) {
          try hypervisor.createDomain(handle: handle, maxVCPUs: flavour.vcpus)
        })
    } catch {
      records.remove(handle)
      throw error
    }
    do {
      return try prepare(flavour, handle, images, parts, &procedure)
    } catch {
      abandon(parts.shell(handle, flavour))
      throw error
    }
  }

  /// What was made so far of a shell.
  private final class Parts {
    let domain: DomainID
    var taps: [GuestTap] = []

    init(_ domain: DomainID) { self.domain = domain }

    func shell(_ handle: DomainHandle, _ flavour: Flavour) -> DomainShell {
      DomainShell(
        identity: DomainIdentity(domain: domain, handle: handle), flavour: flavour, taps: taps, pages: nil)
    }
  }

  private func prepare(
    _ flavour: Flavour, _ handle: DomainHandle, _ images: BootImages?, _ parts: Parts,
    _ procedure: inout Procedure<PrepareStep>
  ) throws -> DomainShell {
    let domain = parts.domain
    try procedure.step(.limit) { try wiring.setLimits(domain, flavour) }
    try procedure.step(.populate) { try wiring.populate(domain, flavour) }
    try procedure.step(.wire) { try wiring.wire(domain, flavour) }
    var queues: [VifQueue] = []
    for slot in 0..<flavour.vifs {
      try procedure.step(.createTap) {
        let made = try attachment.createTap(domain, slot: slot)
        parts.taps.append(made.tap)
        queues.append(made.queue)
      }
    }
    let shell = parts.shell(handle, flavour)
    do {
      try procedure.step(.mapPages) { try wiring.layPages(shell) }
      try procedure.step(.attachBackend) {
        try attachment.attach(shell, features: images?.vifFeatures ?? .always, queues: queues)
      }
      if let images { try procedure.step(.loadImage) { try load(images, into: shell, commandLine: "") } }
      try procedure.step(.recordShell) { try records.write(shell.record) }
      return shell
    } catch {
      shell.unmap()
      throw error
    }
  }

  /// Copies kernel and ramdisk into a shell, lays its start info and points its vCPU at the entry.
  public func load(_ images: BootImages, into shell: DomainShell, commandLine: String) throws {
    try loader.load(images, into: shell, commandLine: commandLine)
  }

  // MARK: Giving up

  /// Unmakes a domain that nobody wants. What cannot be unmade now stays written down, as nobody's: the reconciler
  /// goes on with it.
  ///
  /// - Returns: why it could not be unmade yet; nil when nothing of it is left.
  @discardableResult
  public func abandon(_ shell: DomainShell, observe: StepObserver? = nil) -> (any Error)? {
    abandon([shell], observe: observe).first
  }

  /// The same for many, together.
  @discardableResult
  public func abandon(_ shells: [DomainShell], observe: StepObserver? = nil) -> [any Error] {
    let candidates = shells.map { Teardown.Candidate($0, ending: $0.record(.ending)) }
    let failed: [DomainIdentity: any Error]
    do {
      failed = try teardown.run(candidates, observe: observe)
    } catch {
      for shell in shells { leave(shell) }
      return [error]
    }
    for shell in shells where failed[shell.identity] != nil { leave(shell) }
    return Array(failed.values)
  }

  /// Leaves a domain that nobody wants to the reconciler, at once.
  public func leave(_ shell: DomainShell) {
    shell.unmap()
    records.release(shell.handle)
  }

  /// Takes away what is left of a domain that is gone: its taps, its log, its record.
  public func forget(_ record: DomainRecord) throws {
    try attachment.deleteTaps(record.taps ?? [])
    attachment.removeLog(record.handle)
    records.remove(record.handle)
  }

  // MARK: Adopt and rename

  /// Takes over a domain that another chaosd made.
  public func adopt(_ record: DomainRecord, _ identity: DomainIdentity) throws -> DomainShell {
    let taps = try taps(of: record, identity.domain)
    let mapping = try wiring.mapPages(identity.domain, startInfo: record.startInfoFrame ?? Slots.startInfoFrame)
    records.claim(record.handle)
    return DomainShell(
      identity: identity, flavour: record.flavour, taps: taps, pages: .some(mapping),
      startInfoFrame: record.startInfoFrame)
  }

  /// Stands for a domain whose pages are not mapped: one found half-made, or that is to be torn down.
  public func remains(_ record: DomainRecord, _ identity: DomainIdentity) throws -> DomainShell {
    DomainShell(
      identity: identity, flavour: record.flavour, taps: try taps(of: record, identity.domain), pages: nil,
      startInfoFrame: record.startInfoFrame)
  }

  /// Stands for a guest whose pages cannot be mapped, but whose it is.
  public func claimed(_ record: DomainRecord, _ identity: DomainIdentity) -> DomainShell {
    records.claim(record.handle)
    return DomainShell(
      identity: identity, flavour: record.flavour, taps: record.taps ?? [], pages: nil,
      startInfoFrame: record.startInfoFrame)
  }

  /// The taps that a record speaks of. Version 1 did not: there they are the taps called as that version called them.
  private func taps(of record: DomainRecord, _ domain: DomainID) throws -> [GuestTap] {
    if let taps = record.taps { return taps }
    let slots = record.guest.map { $0.vifs.map(\.slot) } ?? Array(0..<record.flavour.vifs)
    return try slots.compactMap { slot in
      let name = DomainShell.name(ofTap: slot, of: domain)
      guard let link = try attachment.network.link(named: name), link.kind == .tun else { return nil }
      try attachment.network.perform([
        .changeLink(.index(link.index), LinkChange(group: HostNetwork.tapGroup))
      ])
      return GuestTap(slot: slot, name: name, index: link.index)
    }
  }

  /// Gives a shell the handle its guest was asked to have, and tells every party: the record, the hypervisor, the
  /// back-end. The new record comes first and the old one goes last, so that the domain always has one; when a party
  /// refuses, the shell is as it was.
  ///
  /// - Parameter guest: who the shell becomes.
  public func rename(
    _ shell: DomainShell, to handle: DomainHandle, phase: DomainRecord.Phase, guest: GuestRecord
  ) throws -> DomainShell {
    var record = shell.record(phase, guest: guest)
    record.handle = handle
    records.claim(handle)
    do {
      try records.write(record)
      try hypervisor.setHandle(shell.domain, handle)
      try attachment.rename(
        shell, to: handle, features: VifFeatures(rawValue: guest.vifs.first?.features ?? 0))
    } catch {
      // The one that refused is not known to have: the old handle is set again, whatever the new one came to.
      try hypervisor.setHandle(shell.domain, shell.handle)
      records.remove(handle)
      throw error
    }
    records.remove(shell.handle)
    return shell.renamed(to: handle)
  }

  // MARK: Vifs of a running guest

  /// Gives a guest the window, the tap and the back-end of one more vif. On failure none of it is left but the
  /// window's memory, which the next vif in the slot takes.
  ///
  /// The port has been there since the domain was made.
  public func addVif(
    _ shell: DomainShell, slot: Int, features: VifFeatures, _ procedure: inout Procedure<AddVifStep>
  ) throws {
    try procedure.step(.populateWindow) { try wiring.makeWindow(shell, slot) }
    let queue = try procedure.step(.createTap) {
      let made = try attachment.createTap(shell.domain, slot: slot)
      shell.add(made.tap)
      return made.queue
    } undo: { _ in
      // A tap that stays after all is in no record: after a restart the reconciler deletes it.
      if let tap = shell.tap(slot: slot) { try? self.attachment.deleteTaps([tap]) }
      shell.removeTap(slot: slot)
    }
    try procedure.step(.attachVif) {
      try attachment.attachVif(shell, slot: slot, features: features, queue: queue)
    } undo: { _ in
      try? self.attachment.detachVif(shell, slot: slot)
    }
  }

  /// Takes a vif's back-end and tap away. Safe to repeat. The tap goes even where the back-end does not answer: the
  /// reconciler has it let go of what the guest lacks.
  public func removeVif(_ shell: DomainShell, slot: Int) throws {
    try? attachment.detachVif(shell, slot: slot)
    if let tap = shell.tap(slot: slot) { try attachment.deleteTaps([tap]) }
    shell.removeTap(slot: slot)
  }
}
