import Backends
import CDevicePage
import ChaosAPI
import Glibc
import Threads
import Xen

/// Follows chaos-backend: takes what guests say through it, and has the world compared when a back-end appears, since
/// it may lack every domain.
final class BackendWatch: Sendable {
  /// How long the kernel may take to clear away a dead back-end, before what it served is taken up one by one.
  private static let longestEnd = Duration.seconds(5)

  func start(_ toolstack: Toolstack) throws(BackgroundThread.Failure) {
    try BackgroundThread.start(name: "chaos-events") { [self] in
      while true {
        follow(toolstack)
        usleep(50_000)
      }
    }
  }

  /// Serves one back-end's lifetime.
  private func follow(_ toolstack: Toolstack) {
    do {
      // Makes sure that one runs.
      _ = try toolstack.attachment.served()
      let events = try BackendEvents(path: toolstack.attachment.socket)
      toolstack.reconciler.lookNow(.everything)
      while let event = events.next() { take(event, toolstack) }
      toolstack.report("chaos-backend ended; a new one is started")
      // What it still has open it would close one by one, each after a grace period, while it is the last to have it. One
      // that lives all the same goes on with what it serves.
      if events.awaitEnd(within: Self.longestEnd) {
        toolstack.attachment.letGoOfDead { toolstack.reconciler.onAllWorkers($0) }
      }
    } catch {
      toolstack.report("chaos-backend: \(error)")
      sleep(1)
    }
  }

  private func take(_ event: ControlProtocol.Event, _ toolstack: Toolstack) {
    guard let guest = toolstack.registry[event.key.handle], guest.identity == event.key else { return }
    toolstack.note(event, of: guest)
    let ends = UInt32(CHAOS_REQUEST_POWEROFF | CHAOS_REQUEST_REBOOT)
    if event.acknowledged & ends != 0 { toolstack.reconciler.lookNow() }
  }
}
