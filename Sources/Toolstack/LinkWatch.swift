import Glibc
import ShellPool
import Threads
import VirtualLAN

/// Hears of the host's interfaces from the kernel, and has the world compared when something concerns guests: a bridge
/// or a LAN's device that somebody deletes and makes again gets its guests back at once.
final class LinkWatch: Sendable {
  /// A guest's start alone is told of in some eight notices. Taken one by one they would cost the guest more of the
  /// processor than its create does.
  private static let gathering = Duration.milliseconds(20)

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
      // A socket of its own: no create waits for it, and what creates cost is counted without it.
      let network = try HostNetwork()
      // Whatever happened before the first notice.
      toolstack.reconciler.lookNow(.links)
      var bridges = SeenBridges()
      while let all = try monitor.next(gathering: Self.gathering) {
        let notices = all.withoutOutdated
        toolstack.setUpPorts(among: notices, network)
        // Each is noted, also after one that is reason enough.
        let reasons = notices.filter { toolstack.concerns($0, &bridges) }
        if !reasons.isEmpty { toolstack.reconciler.lookNow(.links) }
      }
    } catch {
      toolstack.report("changes of interfaces are not heard of for a moment: \(error)")
    }
  }
}

/// The bridges heard of so far that guests belong on: the kernel mentions a bridge whenever a port joins or leaves it, and
/// only one that is new is a reason to look at all guests.
private struct SeenBridges {
  private var indexes: [InterfaceName: InterfaceIndex] = [:]

  mutating func note(_ bridge: Link) { indexes[bridge.name] = bridge.index }

  func knows(_ bridge: Link) -> Bool { indexes[bridge.name] == bridge.index }

  mutating func forget(_ link: Link) { if knows(link) { indexes[link.name] = nil } }

  mutating func forgetAll() { indexes = [:] }
}

extension [LinkChangeNotice] {
  /// The notices, of each interface the last alone: a guest's tap was without a bridge a moment before its guest was known.
  fileprivate var withoutOutdated: [LinkChangeNotice] {
    var seen: Set<InterfaceIndex> = []
    let kept = reversed().filter { notice in
      guard case .link(let link) = notice else { return true }
      return seen.insert(link.index).inserted
    }
    return kept.reversed()
  }
}

extension Toolstack {
  /// Makes the settings of taps that just joined their bridges, each once however often the kernel mentions it.
  fileprivate func setUpPorts(among notices: [LinkChangeNotice], _ network: HostNetwork) {
    for case .link(let link) in notices where link.port?.isMulticastRouter == false {
      // LANs have no use for it.
      guard let (guest, slot) = registry.owner(ofTap: link.index),
        guest.record.vifs.contains(where: { $0.slot == slot && $0.lan == nil })
      else { continue }
      do {
        try network.setUpPort(link.index)
      } catch {
        // Where it stays undone the reconciler says so.
        reconciler.lookNow(.links)
      }
    }
  }

  /// Whether what the kernel tells may mean that a guest or a LAN is not where it belongs. Most of what it tells is
  /// chaos's own doing.
  fileprivate func concerns(_ notice: LinkChangeNotice, _ bridges: inout SeenBridges) -> Bool {
    switch notice {
    case .lookAtEverything: bridges.forgetAll()
    case .linkRemoved(let link): bridges.forget(link)
    default: break
    }
    if lansConcern(notice) { return true }
    guard case .link(let link) = notice else { return false }
    if let (guest, slot) = registry.owner(ofTap: link.index) {
      // A tap leaves its bridge when its guest ends, too.
      return link.master == nil && !guest.isEnding
        && guest.record.vifs.contains { $0.slot == slot && $0.lan == nil }
    }
    // A bridge that was made, or got another name: guests may wait for it.
    guard link.isBridge, !bridges.knows(link), registry.isBridgeWanted(link.name) else { return false }
    bridges.note(link)
    return true
  }
}
