import ChaosAPI
import Glibc
import ShellPool
import StateFiles
import Threads
import Xen

extension Toolstack {
  /// Gives a guest another name, which every party learns of.
  public func rename(_ reference: String, to name: String, _ blocking: borrowing Blocking) throws(APIError)
    -> GuestInfo
  {
    try RenameRequest(name: name).validate()
    let guest = try registry.find(reference)
    try registry.reserve(names: [name])
    defer { registry.release(names: [name]) }
    do {
      return try guest.serially(blocking) {
        var record = guest.record
        let old = record.name
        record.name = name
        record.isUntold = record.bus == .noxs
        try commit(record, of: guest)
        registry.rename(guest, from: old)
        if record.bus == .noxs { tellNow(guest) }
        journal.note(.renamed, guest, message: "was '\(old)'")
        return try info(of: guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Changes what may be changed of a guest that runs.
  public func change(_ reference: String, _ change: GuestChange, _ blocking: borrowing Blocking) throws(APIError)
    -> GuestInfo
  {
    try change.validate()
    let guest = try registry.find(reference)
    do {
      return try guest.serially(blocking) {
        let record = guest.record.applying(change)
        if record.after.contains(record.name) {
          throw APIError.refused("after", "the guest's own name", record.name)
        }
        try hypervisor.schedule(guest.shell, record.scheduling, from: guest.record.scheduling)
        do {
          try commit(record, of: guest)
        } catch {
          try hypervisor.schedule(guest.shell, guest.record.scheduling, from: record.scheduling)
          throw error
        }
        return try info(of: guest)
      }
    } catch {
      throw APIError(error)
    }
  }

  /// Writes a changed record, and the note of a guest that starts with the host.
  private func commit(_ record: GuestRecord, of guest: Guest) throws {
    if record.autostart || guest.record.autostart { try setWanted(record, guest.shell) }
    do {
      try write(record, of: guest)
    } catch {
      if record.autostart || guest.record.autostart { try setWanted(guest.record, guest.shell) }
      throw error
    }
  }

  /// Writes a changed record of a guest that is there, and nothing else.
  func write(_ record: GuestRecord, of guest: Guest) throws(StateFile.Failure) {
    try records.write(guest.domainRecord(.guest, record))
    guest.replace(record: record)
  }
}

extension GuestRecord {
  fileprivate func applying(_ change: GuestChange) -> GuestRecord {
    var record = self
    if let policy = change.onPoweroff { record.policies.onPoweroff = policy }
    if let policy = change.onReboot { record.policies.onReboot = policy }
    if let policy = change.onCrash { record.policies.onCrash = policy }
    if let autostart = change.autostart { record.autostart = autostart }
    if let after = change.after { record.after = after }
    if let cpus = change.cpus { record.scheduling.cpus = cpus == "all" ? nil : cpus }
    if let weight = change.weight { record.scheduling.weight = weight }
    if let cap = change.cap { record.scheduling.cap = cap }
    return record
  }
}

extension Hypervisor {
  /// Brings a domain's place under the scheduler from one setting to another.
  func schedule(_ shell: DomainShell, _ wanted: Scheduling, from present: Scheduling) throws {
    if wanted.weight != present.weight || wanted.cap != present.cap {
      try setCredit2(
        shell.domain, weight: UInt16(clamping: wanted.weight ?? Self.defaultWeight),
        cap: UInt16(clamping: wanted.cap ?? 0))
    }
    if wanted.cpus != present.cpus {
      let list = try wanted.cpus.map { text throws(APIError) in try CPUList(text, field: "cpus") }
      let online = try hostMemory().cpus
      if let highest = list?.numbers?.last, highest >= online {
        throw APIError.refused("cpus", "the host has processors 0-\(online - 1)", wanted.cpus ?? "")
      }
      for vcpu in 0..<shell.flavour.vcpus {
        try setAffinity(shell.domain, vcpu: vcpu, cpus: list?.numbers ?? Array(0..<online))
      }
    }
  }
}
