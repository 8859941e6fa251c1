import Glibc
import ShellPool
import Threads
import VirtualLAN

/// Hears of the host's interfaces from the kernel, and has the world compared when something concerns guests: a bridge
/// or a LAN's device that somebody deletes and makes again gets its guests back at once.
final class LinkWatch: Sendable {
  func start(_ toolstack: Toolstack) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-links") { [self] in
      while true {
        follow(toolstack)
        sleep(1)
      }
    }
  }

  /// Follows the kernel's word until it ends or makes no sense; what is missed then, the next look at everything finds.
  private func follow(_ toolstack: Toolstack) {
    do throws(NetlinkError) {
      let monitor = try LinkMonitor()
      // Whatever happened before the first notice.
      toolstack.reconciler.lookNow(.links)
      while let notices = try monitor.next() {
        if notices.contains(where: { toolstack.concerns($0) }) { toolstack.reconciler.lookNow(.links) }
      }
    } catch {
      toolstack.report("changes of interfaces are not heard of for a moment: \(error)")
    }
  }
}

extension Toolstack {
  /// Whether what the kernel tells may mean that a guest or a LAN is not where it belongs. Most of what it tells is
  /// chaos's own doing.
  fileprivate func concerns(_ notice: LinkChangeNotice) -> Bool {
    if lansConcern(notice) { return true }
    guard case .link(let link) = notice else { return false }
    if let (guest, slot) = registry.owner(ofTap: link.index) {
      return guest.record.vifs.contains { $0.slot == slot && $0.lan == nil } && link.master == nil
    }
    // A bridge that was made, or got another name: guests may wait for it.
    return link.isBridge && registry.isBridgeWanted(link.name)
  }
}
